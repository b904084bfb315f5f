"""A state directory in which a pipeline has run, for the tests of the commands that look at one."""

from __future__ import annotations

import threading
from pathlib import Path

from typer.testing import CliRunner, Result

from tailrace.checkpoint import Checkpoint, State
from tailrace.cli import app
from tailrace.context import Context
from tailrace.durable import Disk
from tailrace.pipeline import Pipeline
from tailrace_plugins.sinks.file import File
from tailrace_plugins.sources.tail import Tail

EVENTS = [b'{"n":%d,"stageTimestamp":"2026-11-23T0%d:00:00Z"}' % (n, n % 3) for n in range(30)]


class Stored:
    """The pipeline `audit` with a log, outputs of every compression, and a dead letter."""

    def __init__(self, directory: Path, disk: Disk | None = None, *, idle_close: float = 3600.0) -> None:
        self.idle_close = idle_close
        directory.mkdir(exist_ok=True)
        self.state_dir = directory / "state"
        self.directory = self.state_dir / "audit"
        self.checkpoint = self.directory / "checkpoint.json"
        self.previous = self.directory / "checkpoint.previous.json"
        self.dead_letter = self.directory / "dead-letter.jsonl"
        self.log = directory / "audit.log"
        self.out = directory / "out"
        self.gzip = self.out / "01.log.gz"
        self.zstd = self.out / "all.log.zst"
        self.plain = self.out / "all.log"
        self.write(EVENTS[:20])
        self.run(disk)
        self.write([*EVENTS[20:], b"broken"])
        self.run(disk)

    def write(self, lines: list[bytes]) -> None:
        with self.log.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))

    def run(self, disk: Disk | None = None) -> None:
        pipeline = Pipeline(
            Context(pipeline="audit", state_dir=self.directory, disk=disk or Disk()),
            Tail(paths=[str(self.log)], tag="audit", watch=False),
            [],
            {
                f"file {self.out}/{name}": File(path=f"{self.out}/{name}", idle_close=self.idle_close)
                for name in ("%H.log.gz", "all.log.zst", "all.log")
            },
        )
        pipeline.run(threading.Event(), once=True)

    def load(self) -> State:
        state = Checkpoint(Context(pipeline="audit", state_dir=self.directory)).load()
        assert state is not None
        return state

    def save(self, state: State) -> None:
        state.generation += 1
        Checkpoint(Context(pipeline="audit", state_dir=self.directory)).save(state)

    def recorded(self, path: Path) -> int:
        (length,) = [sink[str(path)] for sink in self.load().sinks.values() if str(path) in sink]
        assert isinstance(length, int)
        return length


def tailrace(*arguments: object) -> Result:
    """Call the command in this process."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def files_of(directory: Path) -> dict[Path, tuple[bytes, int]]:
    """Give what is in all files but Python's own, and when they were changed."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
