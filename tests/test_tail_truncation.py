"""The source `tail` and files that are truncated: copytruncate, holes, NUL bytes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from test_tail import Follower, append, details
from test_tail_rotation import Lumberjack


def test_truncated_file_is_read_from_its_beginning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "audit.log"
    append(path, b"first\nsecond\n")
    follower = Follower(tmp_path)
    follower.drain()
    path.write_bytes(b"new\n")
    assert follower.drain() == [b"new"]
    assert follower.source.reports.truncations == 1
    [record] = caplog.records
    assert (details(record, "path"), details(record, "offset")) == (str(path), 13)


def test_truncated_and_regrown_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"first\n")
    follower = Follower(tmp_path)
    follower.drain()
    path.write_bytes(b"new and longer\n")
    assert follower.drain() == [b"new and longer"]
    follower.source.close()
    path.write_bytes(b"once more, while nobody looked\n")
    follower.start()
    assert follower.drain() == [b"once more, while nobody looked"]


def test_file_that_is_truncated_while_it_is_read_in_blocks_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"old\n" * 10)
    follower = Follower(tmp_path, block_bytes=8)
    follower.step()
    path.write_bytes(b"new\n" * 20)
    assert follower.drain() == [b"new"] * 20


def test_copytruncate_takes_the_unread_rest_from_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\nb\n")
    follower = Follower(tmp_path)
    follower.drain()
    append(path, b"c\n")
    copy = tmp_path / "audit.log.1"
    copy.write_bytes(path.read_bytes())
    os.truncate(path, 0)
    append(path, b"d\n")
    assert follower.drain() == [b"c", b"d"]
    assert follower.later() == []
    follower.restart()
    assert follower.later() == []


def test_copy_of_a_live_file_is_not_read_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\nb\n")
    follower = Follower(tmp_path, "audit.log*")
    follower.drain()
    copy = tmp_path / "audit.log.1"
    copy.write_bytes(path.read_bytes())
    assert follower.later() == []
    follower.restart()
    assert follower.later() == []
    append(path, b"c\n")
    assert follower.later() == [b"c"]


def test_nuls_in_front_of_a_line_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "audit.log"
    append(path, b"first\nsecond\n")
    follower = Follower(tmp_path)
    follower.drain()
    with path.open("r+b", buffering=0) as writer:  # not O_APPEND: it goes on where it was
        writer.seek(13)
        writer.truncate(0)
        writer.write(b"third\n")
    batch = follower.step()
    assert batch is not None
    assert (batch.lines, batch.offset) == ([b"third"], 13)
    assert follower.drain() == []
    nuls = [record for record in caplog.records if record.getMessage().startswith("NUL")]
    assert [(details(record, "offset"), details(record, "count")) for record in nuls] == [(0, 13)]


def test_hole_of_a_gigabyte_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with path.open("wb", buffering=0) as file:
        file.seek(1 << 30)
        file.write(b"after\n")
    follower = Follower(tmp_path)
    began = time.process_time()
    batch = follower.step()
    assert time.process_time() - began < 0.5
    assert batch is not None
    assert (batch.lines, batch.offset) == ([b"after"], 1 << 30)


def test_nuls_between_lines_are_skipped_and_offsets_stay_true(tmp_path: Path) -> None:
    data = b"a\n" + b"\0" * 3_000_000 + b"b\nc\0c\n\0\0d\n"
    (tmp_path / "audit.log").write_bytes(data)
    follower = Follower(tmp_path)
    while (batch := follower.step()) is not None:
        assert data[batch.offset :].startswith(batch.lines[0])
    assert follower.lines == [b"a", b"b", b"c\0c", b"d"]
    assert follower.source.reports.nul_bytes == 3_000_002


def test_nuls_at_the_end_wait_for_the_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\n" + b"\0" * 10)
    follower = Follower(tmp_path)
    assert follower.drain() == [b"a"]
    assert follower.source.reports.nul_bytes == 0
    append(path, b"b")
    assert follower.drain() == []
    assert follower.source.reports.nul_bytes == 10
    append(path, b"\n")
    assert follower.drain() == [b"b"]


def test_nuls_at_the_end_of_a_rotated_file_are_no_line(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    append(log.path, b"a\n" + b"\0" * 10)
    follower = Follower(tmp_path)
    log.rotate()
    log.write(b"b")
    follower.drain()
    follower.later()
    assert follower.lines == [b"a", b"b"]
    assert follower.source.reports.nul_bytes == 10
    assert len(follower.source._logs[str(log.path)].position()["queue"]) == 1


def test_nul_inside_a_line_is_part_of_it(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", b"a\0b\nc\n")
    assert Follower(tmp_path).drain() == [b"a\0b", b"c"]


def test_copy_that_is_being_made_is_not_read_beside_the_live_file(tmp_path: Path) -> None:
    path, copy = tmp_path / "audit.log", tmp_path / "audit.log.1"
    lines = [b"line %d" % number for number in range(300)]
    append(path, b"".join(line + b"\n" for line in lines))
    follower = Follower(tmp_path)
    follower.drain()
    for size in (0, 500, 2000, path.stat().st_size):
        copy.write_bytes(path.read_bytes()[:size])
        follower.later()
        follower.restart()
    append(path, b"last\n")
    follower.later()
    assert follower.lines == [*lines, b"last"]


def test_copy_that_ends_before_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"".join(b"line %d\n" % number for number in range(200)))
    follower = Follower(tmp_path)
    (tmp_path / "audit.log.1").write_bytes(path.read_bytes())
    append(path, b"written between copying and truncating\n")
    assert len(follower.drain()) == 201
    os.truncate(path, 0)
    assert follower.later() == []
    follower.restart()
    assert follower.later() == []
    append(path, b"new\n")
    assert follower.drain() == [b"new"]


def test_renamed_file_that_is_the_beginning_of_the_live_one_is_no_copy(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a")
    follower = Follower(tmp_path)
    follower.drain()
    follower.source.close()
    header = b"the same header " * 100
    for _ in range(2):
        log.rotate()
        log.write(header)
    log.write(b"c")
    follower.start()
    assert follower.later() == [header, header, b"c"]


@pytest.mark.parametrize("restart", [False, True])
def test_truncated_file_that_begins_as_before_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, restart: bool
) -> None:
    path = tmp_path / "audit.log"
    header = b"the same header " * 100 + b"\n"
    append(path, header + b"old\n")
    follower = Follower(tmp_path)
    follower.drain()
    path.write_bytes(header + b"new, and longer\n")
    if restart:
        follower.restart()
    assert follower.drain() == [header[:-1], b"new, and longer"]
    [record] = caplog.records
    assert (details(record, "path"), details(record, "offset")) == (str(path), len(header) + 4)


def test_truncation_while_we_were_down_is_reported_even_where_a_copy_has_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\nb\n")
    follower = Follower(tmp_path, block_bytes=2)
    follower.step()
    follower.source.close()
    (tmp_path / "audit.log.1").write_bytes(path.read_bytes())
    append(path, b"lost\n")
    path.write_bytes(b"c\n")
    follower.start()
    assert follower.later() == [b"b", b"c"]
    [record] = caplog.records
    assert (details(record, "path"), details(record, "offset")) == (str(path), 2)


def test_truncation_of_a_file_that_is_not_open_is_reported(tmp_path: Path) -> None:
    for name in "ab":
        append(tmp_path / f"{name}.log", b"a line of %s\n" % name.encode())
    follower = Follower(tmp_path, "?.log", max_open_files=1)
    follower.drain()
    for name in "ab":
        (tmp_path / f"{name}.log").write_bytes(b"new\n")
    assert follower.later() == [b"new", b"new"]
    assert follower.source.reports.truncations == 2
