"""A webhook pipeline that runs in this process, on a port of its own, and a client for it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from posting import Answer
from waiting import wait_until

from tailrace.context import Context
from tailrace.durable import Disk
from tailrace.pipeline import Pipeline
from tailrace.stage import Sink
from tailrace.testing import ListSink
from tailrace_plugins.sources.webhook import Webhook

LIMIT = 20.0  # seconds that anything may take
HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['


def event_list(items: Iterable[bytes]) -> bytes:
    """Make a body as the API server does."""
    return HEAD + b",".join(items) + b"]}\n"


class Running:
    """A pipeline from a webhook to a sink in memory, or to `sink`, while the `with` block lasts."""

    def __init__(self, state_dir: Path, sink: Sink | None = None, *, disk: Disk | None = None, **options: Any) -> None:
        self.source = Webhook(**{"listen": "127.0.0.1:0"} | options)
        self.memory = ListSink()
        context = Context(pipeline="test", state_dir=state_dir, disk=disk or Disk())
        self.pipeline = Pipeline(context, self.source, [], {"sink": sink or self.memory}, commit_interval=0.05)
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.pipeline.run(self._stop)
        except BaseException as error:
            self._failure = error

    def __enter__(self) -> Running:
        self._thread.start()
        wait_until(lambda: self.source.address.port != 0 or not self._thread.is_alive())
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self.source.wake()
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()
        if self._failure is not None and error is None:
            raise self._failure

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection of one's own."""
        return http.client.HTTPConnection(self.source.address.host, self.source.address.port, timeout=LIMIT)

    def request(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, headers: Mapping[str, str] = {}
    ) -> Answer:
        """Send one request over a connection of its own; a body in pieces goes in chunks."""
        connection = self.connect()
        try:
            chunked = body is not None and not isinstance(body, bytes)
            connection.request(method, path, body, dict(headers), encode_chunked=chunked)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def post(self, body: bytes | Iterable[bytes], path: str = "/k8s/audit?timeout=30s", **headers: str) -> Answer:
        """Post a body as the API server does; `Content_Type="..."` sets a header."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given.setdefault("Content-Type", "application/json")
        if not isinstance(body, bytes):
            given.setdefault("Transfer-Encoding", "chunked")
        return self.request("POST", path, body, given)

    def lines(self, count: int) -> list[bytes]:
        """Wait until so many events have come through, and give them."""
        wait_until(lambda: self.pipeline.counts.events_out + self.pipeline.counts.rejected >= count)
        counts = self.pipeline.counts
        wait_until(lambda: self.source.lag() == 0 and counts.uncommitted_since is None)
        wait_until(lambda: len(self.memory.written) >= counts.events_out)
        return self.memory.written

    def dead_letter(self) -> list[dict[str, Any]]:
        """Give the envelopes of the dead letter."""
        path = self.pipeline.context.state_dir / "dead-letter.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
