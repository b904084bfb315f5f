"""A source of spans in memory files, and stages that misbehave in a worker; workers import them from here."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tailrace import Batch, EndOfInput, Filter, Note, Position, Retry, Source, Span, SpanUnread


@dataclass
class FileStretch:
    """A file, whole, as one batch; `unreadable` says that it cannot be read."""

    path: str
    unreadable: bool

    def batches(self, descriptor: int, note: Note) -> Iterator[Batch]:
        if self.unreadable:
            raise SpanUnread(f"{self.path}: input/output error")
        note("read", self.path)
        data = os.pread(descriptor, 1 << 20, 0)
        yield Batch(data.splitlines(), tag="test", origin={"path": self.path})


class Files(Source, kw_only=True):
    """Gives each file of a list as a span, or, if its name ends in `.batch` or it was refused, as a batch."""

    gives_spans: ClassVar[bool] = True

    paths: list[str]
    unreadable: list[str] = []
    fields: list[str] = []

    def reads(self) -> Iterable[str]:
        return self.fields

    def open(self, position: Position | None) -> None:
        self._next = position["next"] if position else 0
        if not hasattr(self, "refused"):
            self.refused: list[str] = []
            self.notes: list[tuple[Any, ...]] = []
            self.opened = 0
        self.opened += 1

    def read(self, timeout: float) -> Batch | None:
        if self._next == len(self.paths):
            raise EndOfInput
        path = self.paths[self._next]
        self._next += 1
        return Batch(
            Path(path).read_bytes().splitlines(), tag="test", position={"next": self._next}, origin={"path": path}
        )

    def find(self, timeout: float, span_bytes: int) -> Batch | Span | None:
        if self._next == len(self.paths):
            raise EndOfInput
        path = self.paths[self._next]
        if path in self.refused or path.endswith(".batch"):
            return self.read(timeout)
        self._next += 1
        stretch = FileStretch(path, path in self.unreadable)
        return Span({"next": self._next}, os.stat(path).st_size, os.open(path, os.O_RDONLY), stretch)

    def refuse(self, span: Span) -> None:
        assert isinstance(span.stretch, FileStretch)
        self.refused.append(span.stretch.path)

    def take_note(self, name: str, *values: Any) -> None:
        self.notes.append((name, *values))


class Misbehave(Filter, kw_only=True):
    """Does something bad in a process of the crew, once: as long as `flag` is there."""

    flag: str
    deed: str
    pid: int  # of the test, which is spared

    def apply(self, batch: Batch) -> None:
        if os.getpid() == self.pid or not os.path.exists(self.flag):
            return
        os.unlink(self.flag)
        if self.deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.deed == "retry":
            raise Retry("the registry does not answer")
        raise ZeroDivisionError("a slip")


class Alone(Filter, kw_only=True):
    """Needs to see all events."""

    one_worker: ClassVar[bool] = True

    def apply(self, batch: Batch) -> None:
        return
