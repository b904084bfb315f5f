"""The source `tail` with thousands of files: each line once, few descriptors, little to do while nothing happens."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from test_tail import Follower, append
from test_tail_rotation import compress, shift
from waiting import wait_until

from tailrace_plugins.tailing.listings import Listings

FILES = 2000
CAP = 256


class Directory:
    """Many logs in one directory, and those of the process's descriptors that lead there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = [path / f"{number:04}.log" for number in range(FILES)]
        self.lines: list[bytes] = []

    def write(self, *numbers: int) -> None:
        for number in numbers or range(FILES):
            line = b"line %d of %d" % (len(self.lines), number)
            append(self.logs[number], line + b"\n")
            self.lines.append(line)

    def open_files(self) -> int:
        descriptors = Path("/proc/self/fd")
        links = [os.readlink(descriptors / name) for name in os.listdir(descriptors) if (descriptors / name).exists()]
        return sum(link.startswith(f"{self.path}/") for link in links)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


def test_each_line_of_2000_files_is_given_once_with_few_descriptors(directory: Directory) -> None:
    directory.write()
    follower = Follower(directory.path, "*.log", max_open_files=CAP)
    most = 0
    follower.clock.moved += 1
    for number in range(2):
        while follower.step() is not None:
            if len(follower.lines) % 500 == 0:
                most = max(most, directory.open_files())
        if number == 0:
            for log in range(0, FILES, 50):
                shift(directory.logs[log])
                if log % 100:
                    compress(directory.logs[log].with_name(f"{directory.logs[log].name}.1"))
        if number == 1:
            follower.restart()
        directory.write()
        follower.clock.moved += 2
    follower.later()
    most = max(most, directory.open_files())
    assert sorted(follower.lines) == sorted(directory.lines)
    assert CAP / 2 < most <= CAP
    assert follower.source.reports.lost_files == 0


def test_idle_look_at_2000_files_lists_nothing_and_a_rotation_of_one_costs_the_others_nothing(
    directory: Directory,
) -> None:
    directory.write()
    aged(directory.path)
    follower = Follower(directory.path, *(path.name for path in directory.logs), max_open_files=CAP)
    follower.drain()
    listing = follower.source._reading.listings._listings[str(directory.path)]
    idle = cost(follower)
    assert follower.source._reading.listings._listings[str(directory.path)] is listing
    shift(directory.logs[7])
    directory.write(7)
    rotated = cost(follower)
    assert follower.lines[-1] == directory.lines[-1]
    assert follower.source._reading.listings._listings[str(directory.path)] is not listing
    assert rotated < 10 * idle + 0.1


def aged(path: Path) -> None:
    """Wait until another change of a directory would bear another time."""

    def is_sure() -> bool:
        listings = Listings()
        listings.seen(str(path), "audit.log")
        return listings._listings[str(path)].sure

    wait_until(is_sure)


def cost(follower: Follower) -> float:
    """Give the CPU seconds of one look at all files."""
    began = time.process_time()
    follower.later()
    return time.process_time() - began
