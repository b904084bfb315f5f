"""The source `tail` and everything that rotation does to files."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from test_tail import Follower, append


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


def test_reading_from_the_live_file_leaves_the_rotated_ones_alone(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"old")
    compress(log.rotate())
    log.write(b"old too")
    log.rotate()
    log.write(b"a")
    follower = Follower(tmp_path, read_from="live")
    assert follower.later() == [b"a"]
    follower.restart()
    assert follower.later() == []
    assert len(follower.state()["done"]) == 2


def test_the_first_start_reads_the_rotated_files_too_oldest_first(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    for number in range(5):
        log.write(b"%d" % number)
        rotated = log.rotate()
        if number < 2:
            compress(rotated)
    assert Follower(tmp_path).drain() == [b"0", b"1", b"2", b"3", b"4"]


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
    """As kube-apiserver with --audit-log-compress, only faster, and a reader that is restarted."""
    program = """
import gzip, os, sys
path = sys.argv[1]
file = open(path, "ab", buffering=0)
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


def test_rotated_file_that_is_moved_back_is_followed_again(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a")
    follower = Follower(tmp_path)
    follower.drain()
    rotated = log.rotate()
    log.write(b"b")
    assert follower.later() == [b"b"]
    rotated.replace(log.path)
    follower.later()
    log.write(b"c")
    assert follower.drain() == [b"c"]
    assert follower.later() == []
