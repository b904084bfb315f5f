"""The elasticsearch sink at work in a pipeline of its own, in this process."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bulk_server import BulkServer
from running import Said

from tailrace.context import Clock, Context
from tailrace.durable import Disk
from tailrace.pipeline import Pipeline
from tailrace.stage import Filter
from tailrace.testing import ListSource
from tailrace_plugins.sinks.elasticsearch import Elasticsearch

NAME = "to-index"


class Racing(Clock):
    """A clock on which each look takes seconds, so that no wait takes any."""

    now = 1000.0

    def monotonic(self) -> float:
        self.now += 100.0
        return self.now


def events(count: int, **more: Any) -> list[bytes]:
    """Make events that differ."""
    return [
        json.dumps({"auditID": f"{number}", "stageTimestamp": f"2026-11-23T06:51:{number % 60:02}.0Z", **more}).encode()
        for number in range(count)
    ]


class Indexing:
    """A pipeline from lines in memory to a server."""

    def __init__(
        self,
        directory: Path,
        lines: Sequence[bytes],
        *servers: BulkServer,
        filters: Sequence[Filter] = (),
        clock: Clock | None = None,
        disk: Disk | None = None,
        batch_size: int = 10,
        commit_bytes: int = 64 << 20,
        **options: Any,
    ) -> None:
        given: dict[str, Any] = {"hosts": [server.url for server in servers]} | options
        if "data_stream" not in given:
            given.setdefault("index", "audit")
        self.sink = Elasticsearch(**given)
        self.directory = directory
        self.context = Context(NAME, directory / "state", disk or Disk(), clock or Clock())
        source = ListSource(lines=list(lines), batch_size=batch_size)
        self.pipeline = Pipeline(self.context, source, filters, {"sink": self.sink}, commit_bytes=commit_bytes)
        self.said = Said()

    def run(self, *, once: bool = True) -> None:
        """Run to the end of the lines; with `once` not, failures are recovered from."""
        self.context.log.setLevel(logging.INFO)
        self.context.log.addHandler(self.said)
        try:
            self.pipeline.run(threading.Event(), once=once)
        finally:
            self.context.log.removeHandler(self.said)

    @property
    def figures(self) -> dict[str, float]:
        """The figures of the sink, by the middle of their names."""
        return {
            measure.name.removeprefix("elasticsearch_").removesuffix("_total"): measure.value
            for measure in self.sink.measures()
        }

    def letters(self) -> list[dict[str, Any]]:
        """What is in the dead letter."""
        path = self.context.state_dir / "dead-letter.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
