"""A log that is written and rotated as the programs of this world do it, and what was written."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    """A line, and where it was written."""

    text: bytes
    file: int  # number of the file, in the order in which they were begun
    offset: int


class Writer:
    """Writes numbered lines into a log, and remembers them; rotates as the programs of this world do."""

    def __init__(self, path: Path, *, times: int = 1) -> None:
        self.path = path
        self._times = times  # so many lines for each one that a behaviour writes
        self.lines: list[Line] = []
        self._file = -1
        self._sizes: list[int] = []
        self._rotations = 0
        self.create()

    def create(self, path: Path | None = None) -> int:
        """Begin a file, under the live name unless told otherwise; gives its number."""
        (path or self.path).touch()
        self._sizes.append(0)
        self._file = len(self._sizes) - 1
        return self._file

    def go_on_in(self, file: int) -> None:
        """Regard a file that was begun before as the live one."""
        self._file = file

    def truncate(self) -> None:
        """Empty the live file; what it holds from now on counts as another file."""
        os.truncate(self.path, 0)
        self.create()

    def write(self, count: int = 1) -> None:
        """Append lines."""
        first = len(self.lines)
        self.write_as(*(b"line %d %s" % (n, b"x" * (n * 7 % 40)) for n in range(first, first + count * self._times)))

    def write_as(self, *texts: bytes, path: Path | None = None, file: int | None = None) -> None:
        """Append these lines, to the live file unless told otherwise."""
        number = self._file if file is None else file
        with (path or self.path).open("ab") as opened:
            opened.write(b"".join(text + b"\n" for text in texts))
        for text in texts:
            self.lines.append(Line(text, number, self._sizes[number]))
            self._sizes[number] += len(text) + 1

    def rename(self) -> Path:
        """Give the live file its name of the past, as kube-apiserver does, and leave none behind."""
        self._rotations += 1
        when = f"2026-11-23T07-{self._rotations // 60:02}-{self._rotations % 60:02}.411"
        return self.path.rename(self.path.with_name(f"{self.path.stem}-{when}{self.path.suffix}"))

    def rotate(self) -> Path:
        """Rename the live file and begin another."""
        rotated = self.rename()
        self.create()
        return rotated

    def shift(self) -> Path:
        """Rotate as logrotate does: `.1` becomes `.2`, the live file `.1`, compressed ones too."""
        shift_older(self.path)
        rotated = self.path.rename(self.path.with_name(f"{self.path.name}.1"))
        self.create()
        return rotated


def shift_older(path: Path) -> None:
    """Give each numbered file of a log the next number."""
    for number in range(30, 0, -1):
        for end in ("", ".gz"):
            older = path.with_name(f"{path.name}.{number}{end}")
            if older.exists():
                older.rename(path.with_name(f"{path.name}.{number + 1}{end}"))


def compress(path: Path) -> Path:
    """Compress as gzip does: the plain file goes when the compressed one is whole."""
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return packed
