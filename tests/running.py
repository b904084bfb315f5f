"""A webhook source at work in a pipeline of its own, in this process."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from waiting import wait_until

from tailrace.context import Context
from tailrace.logs import JsonFormatter
from tailrace.pipeline import Pipeline
from tailrace.stage import Sink
from tailrace.testing import ListSink
from tailrace_plugins.sources.webhook import Webhook

LOUD = ("uvicorn", "asyncio", "py.warnings")
"""Loggers of others, which could say something too."""


class Said(logging.Handler):
    """Keeps what is logged, as the lines of a log file."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def all(self, text: str) -> list[Any]:
        """Give the events in whose line this stands."""
        return [json.loads(line) for line in self.lines if text in line]

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in list(self.lines))


class Receiver:
    """A pipeline from a webhook source to a sink, by default one in memory."""

    def __init__(self, state_dir: Path, source: Webhook, sink: Sink | None = None) -> None:
        self.source = source
        self.kept = ListSink()
        self.said = Said()
        self.name = f"audit-{uuid4().hex}"
        self._stop = threading.Event()
        pipeline = Pipeline(Context(pipeline=self.name, state_dir=state_dir), source, [], {"sink": sink or self.kept})
        self._thread = threading.Thread(target=pipeline.run, args=(self._stop,), name=self.name)

    @property
    def port(self) -> int:
        """Give the port, waiting until it is open."""
        wait_until(lambda: '"listening"' in self.said)
        return self.source.address.port

    def end(self) -> None:
        """Stop the pipeline as a signal would, and wait for it."""
        self._stop.set()
        self.source.wake()
        self._thread.join(30)
        assert not self._thread.is_alive()

    @contextlib.contextmanager
    def running(self) -> Iterator[Receiver]:
        """Run until the end of the block."""
        loggers = [logging.getLogger(name) for name in (f"tailrace.{self.name}", *LOUD)]
        for logger in loggers:
            logger.addHandler(self.said)
        loggers[0].setLevel(logging.DEBUG)
        self._thread.start()
        try:
            yield self
        finally:
            self.end()
            for logger in loggers:
                logger.removeHandler(self.said)


def receiving(state_dir: Path, sink: Sink | None = None, **options: Any) -> contextlib.AbstractContextManager[Receiver]:
    """Run a webhook source with these options on a free port."""
    return Receiver(state_dir, Webhook(**({"listen": "127.0.0.1:0"} | options)), sink).running()
