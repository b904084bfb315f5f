"""The source `tail` and compressed files."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest
from test_tail import Follower, append, details
from test_tail_rotation import Lumberjack, compress, shift


def test_restart_in_the_middle_of_a_file_goes_on_inside_its_compressed_copy(tmp_path: Path) -> None:
    lines = [b"line %d %s" % (number, b"x" * 30) for number in range(200)]
    log = Lumberjack(tmp_path / "audit.log")
    log.write(*lines)
    follower = Follower(tmp_path, block_bytes=500)
    for _ in range(5):
        follower.step()
    follower.source.close()
    rotated = compress(log.rotate())
    follower.start()
    batch = follower.step()
    assert batch is not None
    assert batch.origin == {"path": str(rotated)}
    assert gzip.decompress(rotated.read_bytes())[batch.offset :].startswith(batch.lines[0])
    while follower.step() is not None:
        follower.restart()
    assert follower.lines == lines


def test_file_that_is_compressed_while_it_is_read_is_read_once(tmp_path: Path) -> None:
    lines = [b"line %d" % number for number in range(100)]
    log = Lumberjack(tmp_path / "audit.log")
    log.write(*lines)
    follower = Follower(tmp_path, block_bytes=64)
    follower.step()
    compress(log.rotate())
    log.write(b"next")
    follower.drain()
    assert follower.lines == [*lines, b"next"]
    assert follower.later() == []


def test_finished_file_is_not_read_again_when_it_is_compressed(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a")
    follower = Follower(tmp_path, "audit*")
    follower.drain()
    rotated = log.rotate()
    log.write(b"b")
    assert follower.later() == [b"b"]
    partly = gzip.compress(rotated.read_bytes())
    rotated.with_name(rotated.name + ".gz").write_bytes(partly[:5])
    assert follower.later() == []
    compress(rotated)
    assert follower.later() == []
    follower.restart()
    assert follower.later() == []
    log.write(b"c")
    assert follower.drain() == [b"c"]


def test_file_and_its_compressed_copy_are_one_file(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a")
    rotated = log.rotate()
    rotated.with_name(rotated.name + ".gz").write_bytes(gzip.compress(b"a\n"))
    follower = Follower(tmp_path)
    assert follower.drain() == [b"a"]
    rotated.unlink()
    assert follower.later() == []


def test_nuls_in_a_compressed_file_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "audit.log.1.gz").write_bytes(gzip.compress(b"\0" * 2_000_000 + b"a\n"))
    (tmp_path / "audit.log").touch()
    assert Follower(tmp_path).drain() == [b"a"]


def test_nuls_at_the_end_of_a_compressed_file_are_no_line(tmp_path: Path) -> None:
    (tmp_path / "audit.log.1.gz").write_bytes(gzip.compress(b"a\n" + b"\0" * 3_000_000))
    append(tmp_path / "audit.log", b"b\n")
    follower = Follower(tmp_path)
    assert follower.later() == [b"a", b"b"]
    assert follower.source.reports.nul_bytes == 3_000_000


def test_compressed_file_of_many_members_is_read_whole(tmp_path: Path) -> None:
    lines = [b"%d %s" % (number, b"x" * 500) for number in range(2_000)]
    members = [gzip.compress(b"\n".join(lines[at : at + 100]) + b"\n") for at in range(0, 2_000, 100)]
    (tmp_path / "audit.log.1.gz").write_bytes(b"".join(members))
    follower = Follower(tmp_path, block_bytes=4096)
    turns = 0
    while follower.step() is not None:
        turns += 1
        if turns % 50 == 0:
            follower.restart()
    assert follower.lines == lines


def test_last_line_of_a_compressed_file_needs_no_newline(tmp_path: Path) -> None:
    (tmp_path / "audit.log.1.gz").write_bytes(gzip.compress(b"a\nb"))
    (tmp_path / "audit.log").write_bytes(b"c\n")
    assert Follower(tmp_path).drain() == [b"a", b"b", b"c"]


@pytest.mark.parametrize("keep", [0.5, -4])
def test_damaged_compressed_file_gives_what_can_be_decoded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, keep: float
) -> None:
    source = random.Random(1)
    lines = [source.randbytes(40).hex().encode() for _ in range(500)]
    whole = gzip.compress(b"\n".join(lines) + b"\n")
    damaged = tmp_path / "audit.log.1.gz"
    damaged.write_bytes(whole[: int(len(whole) * keep) if keep > 0 else int(keep)])
    (tmp_path / "audit.log").write_bytes(b"next\n")
    follower = Follower(tmp_path)
    follower.drain()
    follower.later()
    given = [line for line in follower.lines if line != b"next"]
    assert len(given) > 100
    assert given[:-1] == lines[: len(given) - 1]
    assert b"next" in follower.lines
    assert follower.source.reports.damaged_files == 1
    assert [details(record, "path") for record in caplog.records] == [str(damaged)]
    follower.restart()
    assert follower.later() == []


def test_compressed_file_that_is_still_copied_is_read_to_its_end(tmp_path: Path) -> None:
    source = random.Random(1)
    lines = [source.randbytes(40).hex().encode() for _ in range(500)]
    whole = gzip.compress(b"\n".join(lines) + b"\n")
    copied = tmp_path / "audit.log.1.gz"
    copied.write_bytes(whole[:5_000])
    (tmp_path / "audit.log").touch()
    follower = Follower(tmp_path, rotate_wait=3.0)
    follower.drain()
    assert 50 < len(follower.lines) < 500
    append(copied, whole[5_000:])
    follower.later()
    assert follower.lines == lines
    assert follower.source.reports.damaged_files == 0


def test_file_that_was_given_up_as_damaged_is_read_on_when_it_changes(tmp_path: Path) -> None:
    whole = gzip.compress(b"a\nb\n", mtime=0)
    copied = tmp_path / "audit.log.1.gz"
    copied.write_bytes(whole[:3])
    (tmp_path / "audit.log").touch()
    follower = Follower(tmp_path)
    assert follower.drain() == []
    assert follower.later() == []
    assert follower.source.reports.damaged_files == 1
    copied.write_bytes(whole)
    assert follower.later() == [b"a", b"b"]


def test_compressed_copy_that_is_shorter_than_what_was_read_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    head = b"x" * 2000
    append(path, head + b"\na\nb\n")
    follower = Follower(tmp_path)
    follower.drain()
    follower.source.close()
    rotated = shift(path)
    rotated.with_name(rotated.name + ".gz").write_bytes(gzip.compress(head + b"\n"))
    rotated.unlink()  # "a" and "b" came late
    append(path, b"c\n")
    follower.start()
    assert follower.later() == [b"c"]


def test_lag_does_not_count_compressed_files(tmp_path: Path) -> None:
    (tmp_path / "audit.log.1.gz").write_bytes(gzip.compress(b"a\nb\n"))
    (tmp_path / "audit.log").write_bytes(b"c\n")
    follower = Follower(tmp_path, block_bytes=2)
    follower.step()
    assert follower.source.lag() == 2
    assert follower.drain() == [b"b", b"c"]


def test_reading_from_the_end_reads_nothing_of_a_compressed_file(tmp_path: Path) -> None:
    (tmp_path / "old.gz").write_bytes(gzip.compress(b"a\nb\n"))
    follower = Follower(tmp_path, "*.gz", read_from="end")
    assert follower.later() == []
    (tmp_path / "new.gz").write_bytes(gzip.compress(b"c\n"))
    assert follower.later() == [b"c"]


def test_line_that_came_late_is_found_in_the_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\n")
    follower = Follower(tmp_path)
    follower.drain()
    rotated = shift(path)
    follower.later()
    append(rotated, b"late\n")
    compress(rotated)
    append(path, b"b\n")
    assert sorted(follower.later()) == [b"b", b"late"]


def test_lines_that_came_too_late_to_be_compressed_do_not_make_the_compressed_file_new(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a" * 2000 + b"\n")
    follower = Follower(tmp_path, rotate_wait=1000)
    follower.drain()
    rotated = shift(path)
    follower.later()
    packed = gzip.compress(rotated.read_bytes())
    append(rotated, b"late\n")
    assert follower.drain() == [b"late"]
    rotated.with_name(rotated.name + ".gz").write_bytes(packed)
    rotated.unlink()
    assert follower.later() == []
    assert follower.source.reports.lost_files == 0


def test_compressed_file_is_no_copy_of_a_live_one_of_which_nothing_was_read(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\n")
    follower = Follower(tmp_path)
    (tmp_path / "audit.log.1.gz").write_bytes(gzip.compress(b"older\n"))
    assert follower.later() == [b"older", b"a"]
