"""The source `tail` and a disk that cannot read all of a file: the others go on, it is said once, and resumed."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest
from test_tail import Follower, append, details
from test_tail_rotation import Lumberjack

PAGE = 4096
LINES = [b"line %d %s" % (number, b"." * 80) for number in range(200)]
READABLE = sum(1 for number in range(200) if sum(len(line) + 1 for line in LINES[: number + 1]) <= 2 * PAGE)


class BadPage:
    """The third page of a file cannot be read: as with the kernel, a read ends before it, or fails where it begins."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        status = path.stat()
        self._key = status.st_dev, status.st_ino
        self._pread = os.pread
        self.is_bad = True
        patch.setattr(os, "pread", self.pread)

    def pread(self, descriptor: int, size: int, offset: int, /) -> bytes:
        status = os.fstat(descriptor)
        if self.is_bad and (status.st_dev, status.st_ino) == self._key and offset < 3 * PAGE:
            if offset >= 2 * PAGE:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            size = min(size, 2 * PAGE - offset)
        return self._pread(descriptor, size, offset)


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    return [
        (record.levelname, record.getMessage().split(";")[0], os.path.basename(details(record, "path")))
        for record in caplog.records
    ]


@pytest.mark.parametrize("block_bytes", [500, PAGE, 1 << 20])
def test_bad_page_in_the_middle_of_a_file_costs_only_what_lies_behind_it_and_only_until_it_can_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "audit.log"
    append(path, b"".join(line + b"\n" for line in LINES))
    append(tmp_path / "b.log", b"b\n")
    disk = BadPage(path, monkeypatch)
    follower = Follower(tmp_path, "audit.log", "b.log", block_bytes=block_bytes)
    follower.drain()
    for _ in range(5):
        assert follower.later() == []
    follower.restart()
    follower.later()
    append(tmp_path / "b.log", b"c\n")
    append(path, b"last\n")
    follower.later()
    assert [line for line in follower.lines if line in LINES] == LINES[:READABLE]
    assert [line for line in follower.lines if line not in LINES] == [b"b", b"c"]
    assert said(caplog) == [("WARNING", "file is unreadable", "audit.log")] * 2  # once by each life
    assert follower.source.incomplete() == [f"{path}: cannot be read: Input/output error"]
    disk.is_bad = False
    follower.later()
    assert [line for line in follower.lines if line not in (b"b", b"c")] == [*LINES, b"last"]
    assert said(caplog)[2:] == [("INFO", "file can be read now", "audit.log")]
    assert follower.source.incomplete() == []


def test_bad_page_in_a_rotated_file_does_not_hold_up_the_live_one_nor_cut_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    follower = Follower(tmp_path)
    log.write(*LINES)
    disk = BadPage(log.path, monkeypatch)
    rotated = log.rotate()
    log.write(b"live")
    follower.later()
    follower.later(100)
    assert follower.lines == [*LINES[:READABLE], b"live"]
    assert said(caplog) == [("WARNING", "file is unreadable", rotated.name)]
    disk.is_bad = False
    assert follower.later() == LINES[READABLE:]
    assert follower.later(100) == []


def test_file_that_becomes_a_directory_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name in ("a.log", "b.log"):
        append(tmp_path / name, name.encode() + b"\n")
    follower = Follower(tmp_path, "a.log", "b.log")
    follower.drain()
    (tmp_path / "a.log").unlink()
    (tmp_path / "a.log").mkdir()
    append(tmp_path / "b.log", b"b again\n")
    assert follower.later() == [b"b again"]
    assert follower.later() == []
    (tmp_path / "a.log").rmdir()
    append(tmp_path / "a.log", b"a again\n")
    assert follower.later() == [b"a again"]
    assert said(caplog) == [("ERROR", "path is not a file", "a.log"), ("INFO", "file can be read now", "a.log")]
