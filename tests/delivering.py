"""A pipeline from lines in memory to a sink that sends them away."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tailrace.checkpoint import Checkpoint
from tailrace.context import Clock, Context
from tailrace.durable import Disk
from tailrace.pipeline import Pipeline
from tailrace.stage import Filter, Sink
from tailrace.testing import ListSource


class Flying(Clock):
    """A clock on which each look takes some seconds."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 1000.0, step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now

    def time(self) -> float:
        return self.now


def made(
    directory: Path,
    sink: Sink,
    lines: Sequence[bytes],
    *,
    filters: Sequence[Filter] = (),
    batch_size: int = 100,
    clock: Clock | None = None,
    disk: Disk | None = None,
    commit_bytes: int = 64 << 20,
    source: ListSource | None = None,
) -> Pipeline:
    """Make the pipeline; its state lies in the directory."""
    context = Context("test", directory / "state", disk or Disk(), clock or Clock())
    source = source or ListSource(lines=list(lines), batch_size=batch_size)
    return Pipeline(context, source, filters, {"webhook": sink}, commit_bytes=commit_bytes)


def deliver(directory: Path, sink: Sink, lines: Sequence[bytes], **options: Any) -> Pipeline:
    """Run it until all lines are through."""
    pipeline = made(directory, sink, lines, **options)
    pipeline.run(threading.Event(), once=True)
    return pipeline


def letters(directory: Path) -> list[dict[str, Any]]:
    """Give the dead letter."""
    path = directory / "state" / "dead-letter.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def recorded(pipeline: Pipeline) -> dict[str, Any]:
    """Give what the checkpoint holds of the sink."""
    state = Checkpoint(pipeline.context).load()
    assert state is not None
    return state.sinks["webhook"]
