"""The source `tail`: reading, framing, options. Its driver, `Follower`, serves the other tests of `tail` too."""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import os
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tailrace.batch import Batch
from tailrace.context import Clock, Context
from tailrace.stage import Damaged, OptionError
from tailrace_plugins.sources.tail import Tail


class HandClock(Clock):
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.moved = 0.0
        self._start = time.time()

    def monotonic(self) -> float:
        return 1000.0 + self.moved

    def time(self) -> float:
        return self._start + self.moved


class Follower:
    """Runs a `Tail`, keeps its merged position as a checkpoint would, and collects what it gives."""

    def __init__(self, directory: Path, *paths: str, **options: Any) -> None:
        self.directory = directory
        self.clock = HandClock()
        self.options: dict[str, Any] = {
            "paths": [str(directory / path) for path in paths or ("audit.log",)],
            "watch": False,
        } | options
        self.position: dict[str, Any] | None = None
        self.lines: list[bytes] = []
        self.rejects: list[tuple[int, str]] = []
        self.start()

    def start(self) -> None:
        self.source = Tail(**self.options)
        self.source.attach(Context(pipeline="t", state_dir=self.directory, clock=self.clock))
        position = None if self.position is None else json.loads(json.dumps(self.position))
        self.source.open(position)
        if position is None:
            introduction = self.step()
            assert introduction is not None
            assert introduction.lines == []

    def __del__(self) -> None:
        self.source.close()

    def restart(self) -> None:
        self.source.close()
        self.start()

    def step(self) -> Batch | None:
        batch = self.source.read(0)
        if batch is not None:
            self.lines += batch.lines
            merged = (self.position or {}) | dict(batch.position)
            self.position = {key: value for key, value in merged.items() if value is not None}
            self.rejects += [(reject.offset, reject.reason) for reject in batch.settle()]
        return batch

    def drain(self) -> list[bytes]:
        before = len(self.lines)
        while self.step() is not None:
            pass
        return self.lines[before:]

    def later(self, seconds: float = 5.0) -> list[bytes]:
        self.clock.moved += seconds
        return self.drain()

    def state(self, path: str = "audit.log") -> Any:
        assert self.position is not None
        return self.position[str(self.directory / path)]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def details(record: logging.LogRecord, key: str) -> Any:
    return record.__dict__[key]


def test_lines_are_given_verbatim_and_without_newline(tmp_path: Path) -> None:
    lines = [b'{"a":"\xff\xfe"}', b"", b'{"b":1.10}\r', b'\xef\xbb\xbf{"c":"\\ud800"}', b"not json"]
    append(tmp_path / "audit.log", b"\n".join(lines) + b"\n")
    assert Follower(tmp_path).drain() == lines


def test_batch_says_where_its_lines_come_from(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", b"first\nsecond\n")
    follower = Follower(tmp_path, tag="kube.audit")
    follower.step()
    append(tmp_path / "audit.log", b"third\n")
    batch = follower.step()
    assert batch is not None
    assert batch.offset == len(b"first\nsecond\n")
    assert batch.origin == {"path": str(tmp_path / "audit.log")}
    assert batch.tags == ["kube.audit"]


def test_offset_of_each_batch_is_where_its_first_line_begins(tmp_path: Path) -> None:
    data = b"".join(b"%d %s\n" % (n, b"x" * (n % 50)) for n in range(500))
    append(tmp_path / "audit.log", data)
    follower = Follower(tmp_path, block_bytes=300)
    batches = 0
    while (batch := follower.step()) is not None:
        batches += 1
        assert data[batch.offset :].startswith(batch.lines[0] + b"\n")
    assert batches > 20
    assert follower.lines == data.split(b"\n")[:-1]


def test_partial_last_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"whole\npar")
    follower = Follower(tmp_path)
    assert follower.drain() == [b"whole"]
    assert follower.later(1000) == []
    append(path, b"tial")
    assert follower.drain() == []
    append(path, b"\n")
    assert follower.drain() == [b"partial"]


def test_growth_is_found_at_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\n")
    follower = Follower(tmp_path)
    for number in range(20):
        follower.drain()
        append(path, b"%d\n" % number)
    follower.drain()
    assert follower.lines == [b"a", *(b"%d" % number for number in range(20))]


def test_restart_goes_on_right_after_any_batch(tmp_path: Path) -> None:
    lines = [b"line %d" % number for number in range(100)]
    append(tmp_path / "audit.log", b"\n".join(lines) + b"\n")
    follower = Follower(tmp_path, block_bytes=64)
    while follower.step() is not None:
        follower.restart()
    assert follower.lines == lines


def test_reopening_forgets_what_was_not_committed(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", b"a\nb\n")
    follower = Follower(tmp_path)
    follower.drain()
    follower.source.close()
    follower.source.close()
    follower.source.open(None)
    follower.source.read(0)
    assert follower.drain() == [b"a", b"b"]


def test_logs_take_turns(tmp_path: Path) -> None:
    for name in ("a.log", "b.log"):
        append(tmp_path / name, b"".join(b"%s %d\n" % (name.encode(), number) for number in range(50)))
    follower = Follower(tmp_path, "*.log", block_bytes=40)
    given = [batch.origin["path"] for batch in iter(follower.step, None) if batch.lines]
    assert all(one != other for one, other in pairwise(given))


def test_long_line_within_the_limit_is_one_event(tmp_path: Path) -> None:
    line = b"x" * 5_000
    append(tmp_path / "audit.log", b"a\n" + line + b"\nb\n")
    follower = Follower(tmp_path, block_bytes=64, max_line_bytes=5_000)
    assert follower.drain() == [b"a", line, b"b"]
    assert follower.rejects == []


def test_line_of_20_megabytes_is_put_aside_in_pieces(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", b"a\n" + b"x" * 20_000_000 + b"\nb\n")
    follower = Follower(tmp_path)
    assert [len(line) for line in follower.drain()] == [1, 16_777_216, 20_000_000 - 16_777_216, 1]
    assert follower.rejects == [
        (2, "line longer than 16777216 bytes (part 1, at offset 2)"),
        (2 + 16_777_216, "line longer than 16777216 bytes (part 2, the last, at offset 16777218)"),
    ]
    assert follower.source.reports.long_lines == 1


def test_restart_inside_an_overlong_line_counts_its_parts_on(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", b"abcdefghijk\nnext\n")
    follower = Follower(tmp_path, max_line_bytes=4)
    for _ in range(10):
        follower.step()
        follower.restart()
    assert follower.lines == [b"abcd", b"efgh", b"ijk", b"next"]
    assert [reason.split("(")[1] for _, reason in follower.rejects] == [
        "part 1, at offset 0)",
        "part 2, at offset 4)",
        "part 3, the last, at offset 8)",
    ]


def test_overlong_line_that_fills_its_pieces_exactly_has_no_empty_piece(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", b"abcdefgh\nabcd\n")
    follower = Follower(tmp_path, max_line_bytes=4)
    assert follower.drain() == [b"abcd", b"efgh", b"abcd"]
    assert len(follower.rejects) == 2


def test_overlong_line_is_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"abcdef")
    follower = Follower(tmp_path, max_line_bytes=4)
    assert follower.drain() == [b"abcd"]
    append(path, b"\n")
    assert follower.drain() == [b"ef"]


def test_reading_from_the_end_begins_with_the_unfinished_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"old\nbeg")
    append(tmp_path / "audit.log.1", b"older\n")
    follower = Follower(tmp_path, read_from="end")
    append(path, b"un\nnew\n")
    assert follower.drain() == [b"begun", b"new"]


def test_first_start_is_recorded_even_if_there_is_nothing_to_read(tmp_path: Path) -> None:
    follower = Follower(tmp_path, read_from="end")
    assert follower.step() is None
    follower.source.close()
    append(tmp_path / "audit.log", b"written while we were down\n")
    follower.start()
    assert follower.drain() == [b"written while we were down"]


def test_reading_from_the_end_holds_only_for_what_is_there_at_first(tmp_path: Path) -> None:
    append(tmp_path / "a.log", b"old\n")
    follower = Follower(tmp_path, "*.log", read_from="end")
    assert follower.drain() == []
    append(tmp_path / "a.log", b"new\n")
    append(tmp_path / "b.log", b"from its beginning\n")
    assert sorted(follower.later()) == [b"from its beginning", b"new"]


def test_lag_is_what_was_not_read_yet(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", b"abc\n" * 10)
    follower = Follower(tmp_path, block_bytes=8)
    follower.step()
    assert follower.source.lag() == 32
    follower.drain()
    assert follower.source.lag() == 0


def test_lag_does_not_fail_for_a_file_that_is_gone(tmp_path: Path) -> None:
    append(tmp_path / "a.log", b"a\n")
    append(tmp_path / "b.log", b"b\n")
    follower = Follower(tmp_path, "a.log", "b.log", max_open_files=1)
    follower.drain()
    (tmp_path / "a.log").unlink()
    (tmp_path / "b.log").unlink()
    assert follower.source.lag() == 0


def test_waiting_read_returns_lines_as_soon_as_they_are_there(tmp_path: Path) -> None:
    source = Tail(paths=[str(tmp_path / "audit.log")], watch=False, poll_interval=0.01)
    source.attach(Context(pipeline="t", state_dir=tmp_path))
    source.open(None)
    source.read(0)
    writer = threading.Timer(0.05, append, (tmp_path / "audit.log", b"late\n"))
    writer.start()
    batch = source.read(30)
    if batch is not None and not batch.lines:  # the file was created, and nothing written yet
        batch = source.read(30)
    writer.join()
    source.close()
    assert batch is not None
    assert batch.lines == [b"late"]


def test_waiting_read_gives_up_after_its_timeout(tmp_path: Path) -> None:
    source = Tail(paths=[str(tmp_path / "*.log")], watch=False)
    source.attach(Context(pipeline="t", state_dir=tmp_path))
    source.open(None)
    source.read(0)
    began = time.monotonic()
    assert source.read(0.15) is None
    assert 0.15 <= time.monotonic() - began < 5
    source.close()


@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_wake_ends_the_wait(tmp_path: Path, delay: float) -> None:
    source = Tail(paths=[str(tmp_path / "*.log")], watch=False, poll_interval=60)
    source.attach(Context(pipeline="t", state_dir=tmp_path))
    source.open(None)
    source.read(0)
    waker = threading.Timer(delay, source.wake)
    waker.start()
    assert source.read(60) is None
    waker.join()
    source.close()


def test_rotation_wakes_a_waiting_read(tmp_path: Path) -> None:
    source = Tail(paths=[str(tmp_path / "audit.log")], poll_interval=60, scan_interval=60)
    source.attach(Context(pipeline="t", state_dir=tmp_path))
    source.open(None)
    source.read(0)
    assert source.read(0) is None
    ready = tmp_path / "new"
    ready.write_bytes(b"after\n")
    writer = threading.Timer(0.05, os.rename, (ready, tmp_path / "audit.log"))
    writer.start()
    batch = source.read(50)
    writer.join()
    source.close()
    assert batch is not None
    assert batch.lines == [b"after"]


def test_without_inotify_polling_alone_does_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from watchdog.observers import inotify_c

    append(tmp_path / "audit.log", b"a\n")

    def refuse(descriptor: int, path: bytes, mask: int) -> int:
        ctypes.set_errno(errno.ENOSPC)  # what the kernel says when max_user_watches is reached
        return -1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inotify_c, "inotify_add_watch", refuse)
        follower = Follower(tmp_path, watch=True)
        assert follower.drain() == [b"a"]
        assert not follower.source._wait(0.0)  # who waits first asks to be woken
    append(tmp_path / "audit.log", b"b\n")
    assert follower.drain() == [b"b"]
    assert follower.later() == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    follower.source.close()


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"paths": []}, "paths"),
        ({"paths": [""]}, "paths"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError) as refused:
        Tail(**options)
    assert refused.value.option == option


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"paths": ["/a"], "poll_interval": 0}, Tail)


def test_position_that_cannot_be_understood_is_named(tmp_path: Path) -> None:
    source = Tail(paths=[str(tmp_path / "audit.log")], watch=False)
    source.attach(Context(pipeline="t", state_dir=tmp_path))
    with pytest.raises(Damaged, match=r"audit\.log"):
        source.open({str(tmp_path / "audit.log"): {"queue": 1}})


def test_importing_the_source_does_not_import_what_is_seldom_needed() -> None:
    code = "import sys, tailrace_plugins.sources.tail; print({'smart_open', 'watchdog'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_more_files_than_may_be_open_are_read_all_the_same(tmp_path: Path) -> None:
    follower = Follower(tmp_path, "*.log", max_open_files=3)
    expected = []
    for turn in range(3):
        for number in range(10):
            append(tmp_path / f"{number}.log", b"%d of %d\n" % (turn, number))
            expected.append(b"%d of %d" % (turn, number))
        follower.later()
    assert sorted(follower.lines) == sorted(expected)


def test_deleted_files_are_not_closed_for_others(tmp_path: Path) -> None:
    expected = []
    follower = Follower(tmp_path, "*.log", max_open_files=1, block_bytes=4)
    for number in range(3):
        path = tmp_path / f"{number}.log"
        lines = [b"%d %d" % (number, line) for line in range(5)]
        append(path, b"".join(line + b"\n" for line in lines))
        expected += lines
        follower.clock.moved += 2
        for _ in range(number + 1):
            follower.step()
        assert lines[0] in follower.lines
        path.unlink()
    follower.later()
    assert sorted(follower.lines) == expected
