"""A log with its writer, a reader that is killed now and then, and what must come out of it."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rotating_log import shift_older
from test_tail import Follower, append


@dataclass(eq=False)
class Line:
    """A line, and what may happen to it."""

    text: bytes
    cut: bool = False  # it has no newline, so it may come late
    late: bool = False  # it may come after those of younger files
    may_be_lost: bool = False


@dataclass(eq=False)
class Written:
    """A file, whatever its name is by now."""

    lines: list[Line] = field(default_factory=list)
    late: bool = False  # what is written from now on may come late
    copied: bool = False  # it lives on in a copy

    def give_up(self) -> None:
        """Whoever has not read it by now cannot read it any more."""
        for line in self.lines:
            line.may_be_lost = True

    def make_late(self) -> None:
        """Its lines may come after those of younger files."""
        self.late = True
        for line in self.lines:
            line.late = True


class Model:
    """Does to a log what happens to logs, keeps account, and compares in the end."""

    def __init__(self, directory: Path, *, numbered: bool, rotate_wait: float, pad: int, max_open: int = 256) -> None:
        self.path = directory / "log" / "audit.log"
        self.elsewhere = directory / "elsewhere"
        self.path.parent.mkdir()
        self.elsewhere.mkdir()
        self.numbered = numbered
        self.in_order = rotate_wait == 0
        self.knows_all = max_open > 1
        self.pad = pad
        self.files: list[Written] = []
        self.live = self.begin()
        self.path.touch()
        self.partial = b""
        self.count = 0  # of lines
        self.named = 0  # files that were given a name
        self.rotated: list[tuple[Path, Written]] = []  # the youngest last; the names are those of the plain files
        self.packing: Path | None = None  # is being compressed
        self.aside: tuple[str, Written] | None = None  # what lies in the live path instead, and the log that did
        self.copies_unseen = False
        self.losses = 0  # that were reported
        self.up = True
        self.follower = Follower(self.path.parent, block_bytes=40, rotate_wait=rotate_wait, max_open_files=max_open)
        self.committed: tuple[dict[str, Any] | None, int] = (None, 0)

    def begin(self) -> Written:
        self.files.append(Written())
        return self.files[-1]

    # The writer

    def text(self) -> bytes:
        self.count += 1
        return b"line %d %s" % (self.count, b"x" * (self.count * 7 % (self.pad + 1)))

    def lines(self, number: int) -> None:
        for _ in range(number):
            text = self.text()
            append(self.path, text + b"\n")
            self.live.lines.append(Line(self.partial + text, late=self.live.late))
            self.partial = b""

    def half(self) -> None:
        text = self.text() + b" and"
        append(self.path, text)
        self.partial += text

    def _end_live(self) -> None:
        if self.partial:
            self.live.lines.append(Line(self.partial, cut=True, late=self.live.late))
            self.partial = b""

    def _next_name(self) -> Path:
        if self.numbered:
            shift_older(self.path)
            self.rotated = [(self._older(path), file) for path, file in self.rotated]
            self.packing = self.packing and self._older(self.packing)
            return self.path.with_name(f"{self.path.name}.1")
        self.named += 1
        return self.path.with_name(f"audit-2026-11-23T07-{self.named // 60:02}-{self.named % 60:02}.411.log")

    def _older(self, path: Path) -> Path:
        return path.with_name(f"{self.path.name}.{int(path.suffix[1:]) + 1}")

    def rotate(self) -> None:
        self._end_live()
        name = self._next_name()
        self.path.rename(name)
        self.rotated.append((name, self.live))
        self.path.touch()
        self.live = self.begin()

    def late(self) -> None:
        """A writer that was not told of the rotation."""
        path, file = self.rotated[-1]
        if path.exists() and path != self.packing and not file.copied and not (file.lines and file.lines[-1].cut):
            text = self.text()
            append(path, text + b"\n")
            file.lines.append(Line(text, late=True))

    def compress(self) -> None:
        """Compress the oldest file that is not; what was begun is ended."""
        if self.packing is not None:
            packed = self.packing.with_name(self.packing.name + ".gz")
            packed.write_bytes(gzip.compress(self.packing.read_bytes()))
            self.packing.unlink()
            self.packing = None
        elif plain := [path for path, _ in self.rotated if path.exists()]:
            self.packing = plain[0]
            self.compress()

    def begin_to_compress(self) -> None:
        plain = [path for path, _ in self.rotated if path.exists()]
        if self.packing is None and plain:
            self.packing = plain[0]
            data = gzip.compress(self.packing.read_bytes())
            self.packing.with_name(self.packing.name + ".gz").write_bytes(data[: len(data) // 2])

    def copytruncate(self, gap: int) -> None:
        """`gap`: so many lines are written between copying and truncating."""
        self._end_live()
        if not any(line.text in self.follower.lines for line in self.live.lines):
            self.live.make_late()  # nothing was read, so nothing tells that it was truncated
        name = self._next_name()
        name.write_bytes(self.path.read_bytes())
        self.rotated.append((name, self.live))
        before = len(self.live.lines)
        self.lines(gap)
        for line in self.live.lines[before:]:
            line.may_be_lost = True
        os.truncate(self.path, 0)
        self.live.copied = True
        self.copies_unseen = True
        self.live = self.begin()

    def remove_oldest(self) -> None:
        path, file = self.rotated.pop(0)
        file.give_up()
        for each in (path, path.with_name(path.name + ".gz")):
            each.unlink(missing_ok=True)
        if self.packing == path:
            self.packing = None

    def remove_live(self, taken: int = 0) -> None:
        """Delete the live file and begin another; with `taken`, others take its inode meanwhile."""
        self._end_live()
        self.live.give_up()
        if self.copies_unseen:
            self.live.make_late()  # nobody knows whether the copy was made before
        self.path.unlink()
        for number in range(taken):
            (self.elsewhere / f"taken-{self.count}-{number}").touch()
        self.path.touch()
        self.live = self.begin()

    def put_aside(self, kind: str) -> None:
        """Move the live file away; `kind` says what lies in its place."""
        self._end_partial_line()
        self.path.rename(self.elsewhere / "aside")
        self.aside = (kind, self.live)
        self.live.make_late()
        if kind == "directory":
            self.path.mkdir()
        elif kind == "link":
            target = self.elsewhere / f"other-{self.count}"
            target.touch()
            self.path.symlink_to(target)
            self.live = self.begin()
        elif kind == "file":
            self.path.touch()
            self.live = self.begin()

    def put_back(self) -> None:
        assert self.aside is not None
        kind, file = self.aside
        if kind == "directory":
            self.path.rmdir()
        elif kind == "link":
            self._end_partial_line()
            self.path.unlink()
            self.live.give_up()
            self.live.make_late()
        elif kind == "file":
            self.rotate()
            self.files.remove(self.live)
            self.path.unlink()
        (self.elsewhere / "aside").rename(self.path)
        self.live = file
        self.aside = None

    def _end_partial_line(self) -> None:
        if self.partial:
            self.lines(1)

    # The reader

    def read(self, number: int = 1) -> None:
        self.start()
        for _ in range(number):
            self.follower.step()

    def drain(self) -> None:
        self.start()
        self.follower.drain()
        self.copies_unseen = False

    def commit(self) -> None:
        position = self.follower.position
        self.committed = (None if position is None else dict(position), len(self.follower.lines))

    def crash(self) -> None:
        self.stop()
        self.follower.position, count = self.committed
        del self.follower.lines[count:]

    def stop(self) -> None:
        if self.up:
            reports = self.follower.source.reports
            self.losses += reports.truncations + reports.lost_files
            self.follower.source.close()
            self.up = False

    def start(self) -> None:
        if not self.up:
            self.follower.start()
            self.up = True

    def wait(self) -> None:
        self.follower.clock.moved += 0.7

    # The account

    def check(self) -> None:
        """Read to the end and compare."""
        if self.aside is not None:
            self.put_back()
        self.start()
        self.follower.later(10)
        self.follower.later(10)
        self.stop()
        given = self.follower.lines
        lines = [line for file in self.files for line in file.lines]
        assert not [text for text, count in Counter(given).items() if count > 1], "given twice"
        place = {text: index for index, text in enumerate(given)}
        lost = [line for line in lines if line.text not in place]
        assert not [line for line in lost if not line.may_be_lost], "lost"
        assert len(place) + len(lost) == len(lines), "made up"
        for file in self.files:
            self._check_order([line for line in file.lines if not line.cut], place)
            is_known = any(line.text in place for line in file.lines) and file.lines[-1].may_be_lost
            if self.knows_all and is_known and not (file.copied or file.late) and file.lines[-1] in lost:
                assert self.losses, "lost without a word"
        self._check_order([line for line in lines if not line.late and (self.in_order or not line.cut)], place)

    def _check_order(self, lines: list[Line], place: dict[bytes, int]) -> None:
        places = [place[line.text] for line in lines if line.text in place]
        assert places == sorted(places), "out of order"
