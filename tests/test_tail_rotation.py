"""The source `tail` and everything that rotation does to files."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_tail import Follower, append, details

from tailrace_plugins.tailing.file import File, Replaced
from tailrace_plugins.tailing.files import Files
from tailrace_plugins.tailing.history import Sighting
from tailrace_plugins.tailing.survey import View, survey


class Lumberjack:
    """Writes and rotates as kube-apiserver does: rename to a timestamped name, create, no late byte."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rotations = 0
        path.touch()

    def write(self, *lines: bytes) -> None:
        append(self.path, b"".join(line + b"\n" for line in lines))

    def rotate(self) -> Path:
        self.rotations += 1
        when = f"2026-11-23T07-{self.rotations // 60:02}-{self.rotations % 60:02}.411"
        rotated = self.path.with_name(f"{self.path.stem}-{when}{self.path.suffix}")
        self.path.rename(rotated)
        self.path.touch()
        return rotated


def shift(path: Path) -> Path:
    """Rotate as logrotate does: `.1` becomes `.2`, the live file `.1`, compressed ones too."""
    for number in range(20, 0, -1):
        for end in ("", ".gz"):
            older = path.with_name(f"{path.name}.{number}{end}")
            if older.exists():
                older.rename(path.with_name(f"{path.name}.{number + 1}{end}"))
    rotated = path.with_name(f"{path.name}.1")
    path.rename(rotated)
    path.touch()
    return rotated


def compress(path: Path) -> Path:
    compressed = path.with_name(path.name + ".gz")
    compressed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return compressed


def zst(path: Path) -> Path:
    # through smart_open too: it finds the library for zstd that this Python has
    from smart_open import open as smart_open

    compressed = path.with_name(path.name + ".zst")
    with smart_open(str(compressed), "wb") as file:
        file.write(path.read_bytes())
    path.unlink()
    return compressed


def test_rotated_file_is_read_to_its_end(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a")
    follower = Follower(tmp_path)
    assert follower.drain() == [b"a"]
    log.write(b"b")
    log.rotate()
    log.write(b"c")
    assert follower.drain() == [b"b", b"c"]


def test_several_rotations_between_two_looks_are_walked_in_order(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    follower = Follower(tmp_path)
    follower.drain()
    for number in range(10):
        log.write(b"%d" % number)
        log.rotate()
    log.write(b"10")
    assert follower.drain() == [b"%d" % number for number in range(11)]


def test_several_shifts_between_two_looks_are_walked_in_order(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"0\n")
    follower = Follower(tmp_path)
    follower.drain()
    for number in range(1, 13):
        append(path, b"%d\n" % number)
        shift(path)
    assert follower.drain() == [b"%d" % number for number in range(1, 13)]


@pytest.mark.parametrize("pack", [None, compress, zst])
def test_rotations_while_we_were_down_are_caught_up_with(tmp_path: Path, pack: object) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"0", b"1")
    follower = Follower(tmp_path)
    follower.drain()
    follower.source.close()
    for number in range(2, 8):
        log.write(b"%d" % number)
        rotated = log.rotate()
        if callable(pack):
            pack(rotated)
    log.write(b"8")
    follower.restart()
    assert follower.drain() == [b"%d" % number for number in range(2, 9)]
    follower.restart()
    assert follower.later() == []


def test_shifts_and_compression_while_we_were_down_are_caught_up_with(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"0\n1\n")
    follower = Follower(tmp_path)
    follower.drain()
    for number in range(2, 8):
        append(path, b"%d\n" % number)
        compress(shift(path))
    follower.restart()
    assert follower.drain() == [b"%d" % number for number in range(2, 8)]


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


@pytest.mark.parametrize("glob", ["kube-audit*", "*"])
def test_rotated_files_that_a_glob_matches_are_history_and_never_logs(tmp_path: Path, glob: str) -> None:
    log = Lumberjack(tmp_path / "kube-audit")
    for number in range(4):
        log.write(b"%d" % number)
        log.rotate()
    log.write(b"4")
    follower = Follower(tmp_path, glob)
    assert follower.drain() == [b"0", b"1", b"2", b"3", b"4"]
    assert list(follower.position or {}) == [str(tmp_path / "kube-audit")]
    for number in range(5, 9):
        log.rotate()
        log.write(b"%d" % number)
        assert follower.later() == [b"%d" % number]
    follower.restart()
    assert follower.later() == []


def test_history_is_recognised_even_if_the_live_file_does_not_exist(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    for number in range(3):
        log.write(b"%d" % number)
        log.rotate()
    log.path.unlink()
    follower = Follower(tmp_path, "audit*.log")
    assert follower.drain() == [b"0", b"1", b"2"]
    log.write(b"3")
    assert follower.later() == [b"3"]
    assert list(follower.position or {}) == [str(log.path)]


def test_rotated_name_whose_live_name_is_not_wanted_is_a_log_of_its_own(tmp_path: Path) -> None:
    append(tmp_path / "audit.log.1", b"a\n")
    follower = Follower(tmp_path, "audit.log.*")
    assert follower.drain() == [b"a"]
    append(tmp_path / "audit.log.1", b"b\n")
    assert follower.drain() == [b"b"]
    assert list(follower.position or {}) == [str(tmp_path / "audit.log.1")]


def test_history_of_a_named_path_is_left_alone_at_the_first_start(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"old")
    compress(log.rotate())
    log.write(b"old too")
    log.rotate()
    log.write(b"a")
    follower = Follower(tmp_path)
    assert follower.later() == [b"a"]
    follower.restart()
    assert follower.later() == []
    assert len(follower.state()["done"]) == 2


def test_backfill_reads_the_history_of_a_named_path_oldest_first(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    for number in range(5):
        log.write(b"%d" % number)
        rotated = log.rotate()
        if number < 2:
            compress(rotated)
    assert Follower(tmp_path, backfill=True).drain() == [b"0", b"1", b"2", b"3", b"4"]


def test_file_and_its_compressed_copy_are_one_file(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a")
    rotated = log.rotate()
    rotated.with_name(rotated.name + ".gz").write_bytes(gzip.compress(b"a\n"))
    follower = Follower(tmp_path, backfill=True)
    assert follower.drain() == [b"a"]
    rotated.unlink()
    assert follower.later() == []


def test_lines_that_come_late_into_a_rotated_file_are_given(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\n")
    with path.open("ab", buffering=0) as writer:
        follower = Follower(tmp_path)
        follower.drain()
        shift(path)
        append(path, b"b\n")
        assert follower.drain() == [b"b"]
        writer.write(b"late\n")
        assert follower.drain() == [b"late"]
        follower.later(100)
        writer.write(b"very late\n")
        assert follower.later() == [b"very late"]
        assert follower.later() == []
        follower.restart()
        writer.write(b"after a restart\n")
        assert follower.later() == [b"after a restart"]


def test_writer_that_goes_on_in_a_renamed_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\n")
    follower = Follower(tmp_path)
    follower.drain()
    path.rename(tmp_path / "audit.log.1")
    for number in range(5):
        append(tmp_path / "audit.log.1", b"%d\n" % number)
        assert follower.later(100) == [b"%d" % number]
    append(path, b"b\n")
    append(tmp_path / "audit.log.1", b"5\n")
    assert follower.drain() == [b"5", b"b"]


def test_partial_last_line_of_a_rotated_file_is_given_when_it_was_quiet(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    append(log.path, b"a\npartial")
    follower = Follower(tmp_path, rotate_wait=2.0)
    follower.drain()
    log.rotate()
    log.write(b"b")
    assert follower.drain() == [b"b"]
    assert follower.later(1.0) == []
    assert follower.later(1.5) == [b"partial"]
    follower.restart()
    assert follower.later() == []


def test_partial_last_line_that_is_completed_in_time_is_one_line(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    append(log.path, b"a\npart")
    follower = Follower(tmp_path, rotate_wait=2.0)
    follower.drain()
    rotated = log.rotate()
    log.write(b"b")
    assert follower.later(1.0) == [b"b"]
    append(rotated, b"ial\nlast\n")
    assert follower.later(10) == [b"partial", b"last"]


def test_overlong_line_that_ends_with_its_file_says_which_part_is_the_last(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    append(log.path, b"abcdef")
    follower = Follower(tmp_path, max_line_bytes=4)
    log.rotate()
    assert follower.later() == [b"abcd", b"ef"]
    assert follower.rejects[1][1] == "line longer than 4 bytes (part 2, the last, at offset 4)"


def test_deleted_and_created_file_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    follower = Follower(tmp_path)
    for number in range(5):
        append(path, b"unread %d\n" % number)
        append(path, b"%d\n" % number)
        assert follower.drain() == [b"unread %d" % number, b"%d" % number]
        path.unlink()


def test_what_was_unread_of_a_deleted_file_is_still_read(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    follower = Follower(tmp_path, block_bytes=4)
    log.write(b"aaa", b"bbb", b"ccc")
    follower.step()
    first = log.rotate()
    log.write(b"ddd")
    follower.clock.moved += 1
    follower.step()
    second = log.rotate()
    first.unlink()
    second.unlink()
    log.write(b"eee")
    follower.drain()
    assert follower.lines == [b"aaa", b"bbb", b"ccc", b"ddd", b"eee"]


def test_deleted_log_of_a_glob_is_forgotten(tmp_path: Path) -> None:
    append(tmp_path / "a.log", b"a\n")
    append(tmp_path / "b.log", b"b\n")
    follower = Follower(tmp_path, "*.log")
    follower.drain()
    (tmp_path / "a.log").unlink()
    follower.later(1)
    follower.later(100)
    follower.later(5)
    append(tmp_path / "b.log", b"c\n")
    follower.drain()
    assert list(follower.position or {}) == [str(tmp_path / "b.log")]
    append(tmp_path / "a.log", b"again\n")
    assert follower.later() == [b"again"]
    assert follower.source.reports.lost_files == 0


def test_same_inode_with_another_head_is_another_file(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"first %d" % 1, b"unread")
    follower = Follower(tmp_path, block_bytes=8)
    follower.step()
    follower.source.close()
    rotated = log.rotate()
    rotated.with_name(rotated.name + ".gz").write_bytes(gzip.compress(rotated.read_bytes()))
    log.path.unlink()
    os.rename(rotated, log.path)  # the inode of the old file, as the file system would use it again
    log.path.write_bytes(b"second, and longer than the first\n")
    follower.start()
    assert follower.drain() == [b"unread", b"second, and longer than the first"]
    assert follower.source.reports.truncations == 0


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


def test_nuls_in_a_compressed_file_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "audit.log.1.gz").write_bytes(gzip.compress(b"\0" * 2_000_000 + b"a\n"))
    (tmp_path / "audit.log").touch()
    assert Follower(tmp_path, backfill=True).drain() == [b"a"]


def test_nuls_at_the_end_of_a_compressed_file_are_no_line(tmp_path: Path) -> None:
    (tmp_path / "audit.log.1.gz").write_bytes(gzip.compress(b"a\n" + b"\0" * 3_000_000))
    append(tmp_path / "audit.log", b"b\n")
    follower = Follower(tmp_path, backfill=True)
    assert follower.later() == [b"a", b"b"]
    assert follower.source.reports.nul_bytes == 3_000_000


def test_compressed_file_of_many_members_is_read_whole(tmp_path: Path) -> None:
    lines = [b"%d %s" % (number, b"x" * 500) for number in range(2_000)]
    members = [gzip.compress(b"\n".join(lines[at : at + 100]) + b"\n") for at in range(0, 2_000, 100)]
    (tmp_path / "audit.log.1.gz").write_bytes(b"".join(members))
    follower = Follower(tmp_path, backfill=True, block_bytes=4096)
    turns = 0
    while follower.step() is not None:
        turns += 1
        if turns % 50 == 0:
            follower.restart()
    assert follower.lines == lines


def test_last_line_of_a_compressed_file_needs_no_newline(tmp_path: Path) -> None:
    (tmp_path / "audit.log.1.gz").write_bytes(gzip.compress(b"a\nb"))
    (tmp_path / "audit.log").write_bytes(b"c\n")
    assert Follower(tmp_path, backfill=True).drain() == [b"a", b"b", b"c"]


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
    follower = Follower(tmp_path, backfill=True)
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
    follower = Follower(tmp_path, backfill=True, rotate_wait=3.0)
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
    follower = Follower(tmp_path, backfill=True)
    assert follower.drain() == []
    assert follower.later() == []
    assert follower.source.reports.damaged_files == 1
    copied.write_bytes(whole)
    assert follower.later() == [b"a", b"b"]


def test_unfinished_file_that_is_found_nowhere_is_reported_as_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a", b"b")
    follower = Follower(tmp_path, block_bytes=2)
    follower.step()
    follower.source.close()
    log.rotate().unlink()
    log.write(b"c")
    follower.start()
    assert follower.drain() == [b"c"]
    assert follower.source.reports.lost_files == 1
    [record] = caplog.records
    assert (record.levelname, details(record, "path"), details(record, "offset")) == ("ERROR", str(log.path), 2)


def test_files_are_recognised_when_the_device_has_a_new_number(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a")
    follower = Follower(tmp_path, "audit*")
    follower.drain()
    log.rotate()
    log.write(b"b")
    follower.later()
    append(log.path, b"c\n")
    follower.drain()
    for files in follower.state().values():
        for file in files:
            file["dev"] += 1
    log.write(b"d")
    follower.restart()
    assert follower.later() == [b"d"]


def test_symbolic_link_is_followed_and_history_found_beside_its_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    log = Lumberjack(tmp_path / "real" / "0.log")
    (tmp_path / "pod.log").symlink_to(log.path)
    log.write(b"a")
    follower = Follower(tmp_path, "pod.log")
    follower.drain()
    log.write(b"b")
    log.rotate()
    log.write(b"c")
    log.rotate()
    log.write(b"d")
    assert follower.drain() == [b"b", b"c", b"d"]
    other = tmp_path / "real" / "1.log"
    append(other, b"e\n")
    (tmp_path / "pod.log").unlink()
    (tmp_path / "pod.log").symlink_to(other)
    assert follower.later() == [b"e"]


def test_link_and_target_that_are_both_wanted_are_one_log(tmp_path: Path) -> None:
    append(tmp_path / "a.log", b"a\n")
    (tmp_path / "b.log").symlink_to(tmp_path / "a.log")
    assert Follower(tmp_path, "*.log").later() == [b"a"]


def test_real_writer_in_another_process_loses_nothing(tmp_path: Path) -> None:
    """As kube-apiserver with --audit-log-maxbackup=3 and --audit-log-compress, and a reader that is restarted."""
    program = """
import gzip, os, sys
path = sys.argv[1]
file = open(path, "ab", buffering=0)
kept = []
for number in range(6000):
    if number % 500 == 499:
        file.close()
        rotated = f"{path[:-4]}-2026-11-23T07-04-{number // 500:02}.411.log"
        os.rename(path, rotated)
        file = open(path, "wb", buffering=0)
        with open(rotated, "rb") as plain, open(rotated + ".gz", "wb") as packed:
            packed.write(gzip.compress(plain.read()))
        os.unlink(rotated)
    file.write(b"line %d\\n" % number)
"""
    path = tmp_path / "audit.log"
    path.touch()
    follower = Follower(tmp_path, "audit*", block_bytes=700)
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)])
    turns = 0
    while writer.poll() is None:
        follower.clock.moved += 0.2
        follower.step()
        turns += 1
        if turns % 100 == 0:
            follower.restart()
    assert writer.returncode == 0
    follower.later()
    assert follower.lines == [b"line %d" % number for number in range(6000)]


def test_compressed_copy_that_is_shorter_than_what_was_read_gives_nothing(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    head = b"x" * 2000
    log.write(head, b"a", b"b")
    follower = Follower(tmp_path)
    follower.drain()
    follower.source.close()
    rotated = log.rotate()
    rotated.with_name(rotated.name + ".gz").write_bytes(gzip.compress(head))
    rotated.unlink()
    log.write(b"c")
    follower.start()
    assert follower.later() == [b"c"]


def test_nul_inside_a_line_is_part_of_it(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", b"a\0b\nc\n")
    assert Follower(tmp_path).drain() == [b"a\0b", b"c"]


def test_lag_does_not_count_compressed_files(tmp_path: Path) -> None:
    (tmp_path / "audit.log.1.gz").write_bytes(gzip.compress(b"a\nb\n"))
    (tmp_path / "audit.log").write_bytes(b"c\n")
    follower = Follower(tmp_path, backfill=True, block_bytes=2)
    follower.step()
    assert follower.source.lag() == 2
    assert follower.drain() == [b"b", b"c"]


def test_rotated_file_without_a_descriptor_is_found_under_its_new_name(tmp_path: Path) -> None:
    logs = [Lumberjack(tmp_path / f"{name}.log") for name in "abc"]
    follower = Follower(tmp_path, "?.log", max_open_files=1)
    for number in range(4):
        for log in logs:
            log.write(b"%s %d" % (log.path.name.encode(), number))
            append(log.path, b"cut")
        follower.drain()
        for log in logs:
            shift(log.path)
    follower.later()
    expected = [b"%s %d" % (log.path.name.encode(), number) for log in logs for number in range(4)]
    assert sorted(line for line in follower.lines if line != b"cut") == expected
    assert follower.lines.count(b"cut") == 12


def test_position_of_a_path_that_is_not_wanted_any_more_is_left_alone(tmp_path: Path) -> None:
    append(tmp_path / "a.log", b"a\n")
    append(tmp_path / "b.log", b"b\n")
    follower = Follower(tmp_path, "a.log", "b.log")
    follower.drain()
    both = follower.options["paths"]
    follower.options["paths"] = both[1:]
    follower.restart()
    append(tmp_path / "a.log", b"a again\n")
    assert follower.later() == []
    follower.options["paths"] = both
    follower.restart()
    assert follower.later() == [b"a again"]


def test_listing_that_never_comes_to_rest_is_taken_as_it_is(tmp_path: Path) -> None:
    """Names come and go faster than they can be listed."""
    log = Lumberjack(tmp_path / "audit.log")
    log.rotate()
    wanted = []

    def rotate_meanwhile(path: str) -> bool:
        wanted.append(path)
        log.rotate()
        log.rotate()
        return True

    view = survey(str(log.path), rotate_meanwhile, expected={(0, 0)})
    assert not view.complete
    assert len(wanted) > 5


def test_file_that_is_compressed_between_two_steps_of_a_survey_is_not_taken_for_two(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a")
    rotated: list[Path] = []

    def rotate_once(path: str) -> bool:
        if not rotated:
            rotated.append(compress(log.rotate()))
        return True

    (tmp_path / "audit.log.1").touch()
    key = (log.path.stat().st_dev, log.path.stat().st_ino)
    view = survey(str(log.path), rotate_once, expected={key})
    assert view.complete
    assert key not in [sighting.key for sighting in view.sightings if sighting.path == str(log.path)]
    assert str(rotated[0]) in [sighting.path for sighting in view.sightings]


def test_new_file_that_is_renamed_between_two_steps_of_a_survey_is_seen_under_its_new_name(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"b\n")
    append(tmp_path / "audit.log.1", b"a\n")
    renamed: list[str] = []

    def rename_once(name: str) -> bool:
        if not renamed:
            renamed.append(name)
            (tmp_path / "audit.log.1").rename(tmp_path / "audit.log.2")
            append(tmp_path / "audit.log.1", b"another\n")
        return True

    view = survey(str(path), rename_once, expected=set())
    assert [sighting.path.rpartition(".")[2] for sighting in view.sightings] == ["2", "1", "log"]
    assert [sighting.probe() for sighting in view.sightings] == [b"a\n", b"another\n", b"b\n"]


def test_live_file_that_vanishes_during_a_survey_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"b\n")
    (tmp_path / "audit.log.1").touch()

    def unlink(name: str) -> bool:
        path.unlink(missing_ok=True)
        return True

    view = survey(str(path), unlink, expected=set())
    assert view.live is None
    assert view.complete


def test_file_that_vanishes_between_recognising_and_opening_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "audit.log.1"
    append(path, b"a\n")
    follower = Follower(tmp_path)
    sighting = Sighting(str(path), path.stat())
    assert sighting.probe() == b"a\n"
    path.unlink()
    files = Files(follower.source._reading, None, first_start=False)
    files.arrange(View([sighting], None, None, None, complete=True))
    files.arrange(View([], None, None, None, complete=True))
    assert not files
    assert follower.source.reports.lost_files == 1


def test_another_file_under_the_same_path_is_not_opened_for_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\n")
    file = File(Sighting(str(path), path.stat()).new_state())
    append(tmp_path / "other", b"b\n")
    (tmp_path / "other").rename(path)
    with pytest.raises(Replaced):
        file.open()
    assert not file.is_open


def test_links_that_lead_nowhere_are_no_history(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", b"a\n")
    (tmp_path / "audit.log.1").symlink_to(tmp_path / "nowhere")
    assert Follower(tmp_path, "audit.log*").drain() == [b"a"]


def test_file_that_vanishes_between_listing_and_opening_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.log.1"
    append(path, b"a\n")
    follower = Follower(tmp_path)
    sighting = Sighting(str(path), path.stat())
    path.unlink()
    files = Files(follower.source._reading, None, first_start=False)
    files.arrange(View([sighting], None, None, None, complete=True))
    assert not files
    assert files.unreadable == {}


def test_deletion_is_noticed_even_if_the_time_of_the_directory_does_not_tell(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a")
    follower = Follower(tmp_path)
    follower.drain()
    rotated = log.rotate()
    log.write(b"b")
    os.utime(tmp_path, (1, 1))
    follower.later()
    assert [done["path"] for done in follower.state()["done"]] == [str(rotated)]
    rotated.unlink()
    os.utime(tmp_path, (1, 1))
    follower.later()
    assert follower.state()["done"] == []
