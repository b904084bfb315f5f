"""The file sink as the API server's log backend: one live file, rotated by size, each event once, whatever happens."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import wait_until

from tailrace.checkpoint import Checkpoint
from tailrace.context import Clock, Context
from tailrace.durable import Disk
from tailrace.faults import Crash, FaultyDisk
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.stage import OptionError
from tailrace.testing import ListSink, ListSource, check_sink
from tailrace.verification import verify
from tailrace_plugins.sinks.backups import Backups
from tailrace_plugins.sinks.file import File
from tailrace_plugins.sinks.rotation import cut
from tailrace_plugins.sources.tail import Tail

SIZE = 300
NAME = re.compile(r"audit-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log(\.gz)?")
NOW = datetime(2026, 11, 23, 6, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace_plugins.sinks.rotation.MEGABYTE", SIZE)


def event(number: int, size: int = 40) -> bytes:
    return json.dumps({"n": number, "fill": "x" * (size - 20)}).encode()


EVENTS = [event(number, 30 + number * 7 % 50) for number in range(40)]


class HandClock(Clock):
    def __init__(self, wall: datetime = NOW) -> None:
        self.wall = wall.timestamp()

    def time(self) -> float:
        return self.wall


class World:
    """A list of events, a directory with the rotating output, and a state directory."""

    def __init__(self, directory: Path, clock: Clock | None = None, **options: Any) -> None:
        self.directory = directory
        self.out = directory / "out"
        self.live = self.out / "audit.log"
        self.options: dict[str, Any] = {"path": str(self.live), "max_size": 1, **options}
        self.clock = clock or Clock()

    def pipeline(self, lines: list[bytes], disk: Disk | None = None, commit_bytes: int = 1) -> Pipeline:
        context = Context(
            pipeline="audit", state_dir=self.directory / "state" / "audit", disk=disk or Disk(), clock=self.clock
        )
        self.sink = File(**self.options)
        return Pipeline(context, ListSource(lines=lines), [], {"file": self.sink}, commit_bytes=commit_bytes)

    def run(self, lines: list[bytes], disk: Disk | None = None, commit_bytes: int = 1) -> None:
        self.pipeline(lines, disk, commit_bytes).run(threading.Event(), once=True)

    def position(self) -> dict[str, Any]:
        state = Checkpoint(Context(pipeline="audit", state_dir=self.directory / "state" / "audit")).load()
        assert state is not None
        return state.sinks["file"]

    def backups(self) -> list[Path]:
        """Give the rotated files, the oldest first; there are no others but the live one and the lock."""
        names = [path.name for path in self.out.iterdir()]
        others = {name for name in names if not NAME.fullmatch(name) and not name.endswith(".lock")}
        assert others <= {"audit.log"}
        return [self.out / name for name in sorted(names) if NAME.fullmatch(name)]

    def contents(self) -> list[list[bytes]]:
        """Give the lines of each file, in order."""
        return [read(path).splitlines() for path in [*self.backups(), self.live]]


def read(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def greedy(lines: list[bytes], limit: int = SIZE) -> list[list[bytes]]:
    """Share lines out as lumberjack's Write does, one by one."""
    files: list[list[bytes]] = [[]]
    size = 0
    for line in lines:
        if size and size + len(line) + 1 > limit:
            files.append([])
            size = 0
        files[-1].append(line)
        size += len(line) + 1
    return files


@pytest.mark.parametrize("commit_bytes", [1, 400, 10_000])
def test_the_files_are_those_that_lumberjack_would_have_made(tmp_path: Path, commit_bytes: int) -> None:
    world = World(tmp_path)
    world.run(EVENTS, commit_bytes=commit_bytes)
    assert world.contents() == greedy(EVENTS)
    assert len(world.backups()) > 5
    assert world.position() == {str(world.live): world.live.stat().st_size}
    world.run([*EVENTS, *EVENTS], commit_bytes=commit_bytes)
    assert world.contents() == greedy([*EVENTS, *EVENTS])
    assert {stat.S_IMODE(path.stat().st_mode) for path in world.out.glob("audit*")} == {0o640}


@given(
    st.lists(st.lists(st.binary(max_size=9).map(lambda data: data.replace(b"\n", b"")), min_size=1)),
    st.integers(0, 20),
    st.integers(1, 20),
)
def test_lines_are_shared_out_in_order_none_is_split_and_no_file_has_too_much(
    members: list[list[bytes]], length: int, limit: int
) -> None:
    data = [b"".join(line + b"\n" for line in lines) for lines in members]
    files = [b"".join(parts) for parts in cut(data, length, limit)]
    assert b"".join(files) == b"".join(data)
    for number, content in enumerate(files):
        before = 0 if number else length
        assert content.endswith(b"\n") or not content
        assert before + len(content) <= limit or content.count(b"\n") == 1 or (not number and not content)
        if number + 1 < len(files):
            following = files[number + 1].index(b"\n") + 1
            assert before + len(content) + following > limit
    assert all(files[1:])


def test_an_event_that_is_larger_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    world = World(tmp_path)
    lines = [event(1), event(2, SIZE * 3), event(3), event(4, SIZE * 2), event(5, SIZE * 2)]
    world.run(lines, commit_bytes=10_000)
    assert world.contents() == [[line] for line in lines]


def test_names_are_of_utc_and_later_than_all_before_whatever_the_clock_says(tmp_path: Path) -> None:
    clock = HandClock()
    world = World(tmp_path, clock)
    world.run([event(number, 200) for number in range(3)], commit_bytes=10_000)
    assert [path.name for path in world.backups()] == [
        "audit-2026-11-23T06-00-00.123.log",
        "audit-2026-11-23T06-00-00.124.log",
    ]
    clock.wall -= 3600
    world.run([event(number, 200) for number in range(4)])
    clock.wall += 7200.25
    world.run([event(number, 200) for number in range(5)])
    assert [path.name for path in world.backups()][2:] == [
        "audit-2026-11-23T06-00-00.125.log",
        "audit-2026-11-23T07-00-00.373.log",
    ]
    assert world.contents() == [[event(number, 200)] for number in range(5)]


@pytest.mark.parametrize(
    ("live", "backup"),
    [("kube-audit", r"kube-audit-\S+\.123"), ("a.b.log", r"a\.b-\S+\.123\.log"), (".audit", r"-\S+\.123\.audit")],
)
def test_the_time_stands_before_the_last_dot_as_in_lumberjack(tmp_path: Path, live: str, backup: str) -> None:
    World(tmp_path, HandClock(), path=f"{tmp_path}/out/{live}").run([event(number, 200) for number in range(2)])
    (found,) = [path.name for path in (tmp_path / "out").iterdir() if path.name != live and path.suffix != ".lock"]
    assert re.fullmatch(backup, found)


def test_what_another_writer_has_left_is_appended_to_and_rotated(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.out.mkdir()
    world.live.write_bytes(event(0, 100) + b"\n")
    world.run([event(1, 100), event(2, 200)])
    assert world.contents() == [[event(0, 100), event(1, 100)], [event(2, 200)]]


NAMES = [f"audit-2026-11-{day:02}T06-00-00.000.log" for day in (1, 10, 19, 20, 21, 22)]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, NAMES),
        ({"max_backup": 2}, NAMES[-2:]),
        ({"max_backup": 99}, NAMES),
        ({"max_age": 4}, NAMES[2:]),
        ({"max_age": 4, "max_backup": 1}, NAMES[-1:]),
        ({"max_age": 1}, NAMES[-1:]),
        ({"compress": True}, [f"{name}.gz" for name in NAMES]),
        ({"compress": True, "max_backup": 3, "max_age": 3}, [f"{name}.gz" for name in NAMES[-3:]]),
    ],
)
def test_rotated_files_are_deleted_and_compressed_as_lumberjack_does_it(
    tmp_path: Path, options: dict[str, Any], left: list[str]
) -> None:
    clock = HandClock(datetime(2026, 11, 23, 5, 59, 59, tzinfo=UTC))
    world = World(tmp_path, clock, **options)
    world.out.mkdir()
    for name in NAMES:
        (world.out / name).write_bytes(name.encode())
    world.run([event(1)])
    assert [path.name for path in world.backups()] == left
    assert all(read(path) == path.name.removesuffix(".gz").encode() for path in world.backups())


def test_a_plain_file_and_its_compressed_twin_count_once(tmp_path: Path) -> None:
    world = World(tmp_path, HandClock(), max_backup=2, compress=True)
    world.out.mkdir()
    for name in NAMES[:3]:
        (world.out / name).write_bytes(b"whole\n")
    (world.out / f"{NAMES[2]}.gz").write_bytes(b"half")  # as lumberjack leaves it when it is killed
    world.run([event(1)])
    assert [path.name for path in world.backups()] == [f"{name}.gz" for name in NAMES[1:3]]
    assert {read(path) for path in world.backups()} == {b"whole\n"}


def test_nobody_elses_file_is_touched(tmp_path: Path) -> None:
    world = World(tmp_path, HandClock(), max_backup=1, max_age=1, compress=True)
    world.out.mkdir()
    others = {
        "audit-2026-11-01.log",
        "audit-2026-02-31T06-00-00.000.log",
        "audit-2026-11-01T06-00-00.000.log.gz.bak",
        "audit2-2026-11-01T06-00-00.000.log",
        "audit-x-2026-11-01T06-00-00.000.log",
        "audit-2026-11-01T06-00-00.log",
        "audit.log.1",
    }
    for name in others:
        (world.out / name).write_bytes(b"theirs")
    (world.out / "audit-2026-11-01T06-00-00.000.log").mkdir()
    (world.out / "audit-2026-11-01T06-00-00.001.log").symlink_to(world.out / "audit.log.1")
    world.run([event(number, 200) for number in range(3)])
    assert {name for name in others if (world.out / name).read_bytes() == b"theirs"} == others
    assert (world.out / "audit-2026-11-01T06-00-00.000.log").is_dir()
    assert (world.out / "audit-2026-11-01T06-00-00.001.log").is_symlink()


def test_what_cannot_be_deleted_is_reported_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class ImmutableDisk(Disk):
        def unlink(self, path: str) -> None:
            if path.endswith(NAMES[0]):
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
            super().unlink(path)

    world = World(tmp_path, HandClock(), max_backup=1)
    world.out.mkdir()
    for name in NAMES[:3]:
        (world.out / name).write_bytes(b"old")
    world.run([event(1)], ImmutableDisk())
    assert [path.name for path in world.backups()] == [NAMES[0], NAMES[2]]
    (warning,) = [record for record in caplog.records if "could not be deleted" in record.message]
    assert "Operation not permitted" in warning.__dict__["first"]
    figures = {measure.name: measure.value for measure in world.sink.measures()}
    assert figures == {
        "rotation_deleted_files_total": 1,
        "rotation_compressed_files_total": 0,
        "rotation_failures_total": 1,
    }


# What a crash leaves


def lives(tmp_path: Path, power_cut: bool, between: Callable[[World, int], None], **options: Any) -> None:
    """Let a first life die at each operation in turn, and a second one go on."""
    rotated = 0
    for operation in range(1, 1000):
        world = World(tmp_path / str(operation), **options)
        disk = FaultyDisk(operation, seed=operation)
        finished = False
        try:
            world.run(EVENTS[:7], disk, commit_bytes=200)
            world.run(EVENTS[:16], disk, commit_bytes=600)
            finished = True
        except (Crash, PipelineFailed):
            pass
        if power_cut:
            disk.lose_unsynced()
        else:
            disk.die()
        between(world, operation)
        world.run(EVENTS[:18], FaultyDisk(), commit_bytes=900)
        rotated += len(world.backups()) > 1
        found = world.contents()
        assert [line for lines in found for line in lines] == EVENTS[:18], operation
        assert all(sum(map(len, lines)) + len(lines) <= SIZE for lines in found)
        assert [finding for each in verify(world.directory / "state", closed=True) for finding in each.findings] == []
        if finished:
            assert rotated > 30
            return
    raise AssertionError("it never ran to its end")


@pytest.mark.parametrize("power_cut", [True, False])
def test_death_at_every_operation_loses_nothing_and_repeats_nothing(tmp_path: Path, power_cut: bool) -> None:
    lives(tmp_path, power_cut, lambda world, operation: None, compress=True)


def test_death_at_every_operation_and_damage_of_the_newest_checkpoint_change_nothing(tmp_path: Path) -> None:
    def damage(world: World, _: int) -> None:
        newest = world.directory / "state" / "audit" / "checkpoint.json"
        if newest.exists() and newest.with_name("checkpoint.previous.json").exists():
            newest.write_bytes(bytes(300))

    lives(tmp_path, True, damage, compress=True)


def test_a_second_death_during_recovery_changes_nothing(tmp_path: Path) -> None:
    def die_again(world: World, operation: int) -> None:
        disk = FaultyDisk(1 + operation % 17, seed=operation)
        with contextlib.suppress(Crash, PipelineFailed):
            world.run(EVENTS[:18], disk, commit_bytes=300)
        disk.lose_unsynced()

    lives(tmp_path, False, die_again)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_an_error_at_every_operation_loses_nothing_and_repeats_nothing(tmp_path: Path, error: int) -> None:
    for operation in range(1, 1000):
        world = World(tmp_path / str(operation), compress=True, max_backup=50)
        disk = FaultyDisk(operation, error=error, seed=operation)
        finished = False
        try:
            world.run(EVENTS[:12], disk, commit_bytes=600)
            finished = disk.operations < operation
        except PipelineFailed:
            pass
        world.run(EVENTS[:18], FaultyDisk(), commit_bytes=900)
        assert [line for lines in world.contents() for line in lines] == EVENTS[:18]
        if finished:
            return
    raise AssertionError("it never ran to its end")


def stop_at_publishing(world: World, lines: list[bytes]) -> None:
    """Die right after the commit whose renames are not done yet."""

    class DyingDisk(FaultyDisk):
        def rename(self, source: str, target: str) -> None:
            if source == str(world.live):
                raise Crash("before the rename")
            super().rename(source, target)

    disk = DyingDisk()
    with pytest.raises(Crash):
        world.run(lines, disk, commit_bytes=10_000)
    disk.die()


def test_while_renames_are_to_be_done_the_state_directory_is_in_order_and_repair_takes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    stop_at_publishing(world, EVENTS)
    state = str(tmp_path / "state")
    for command in (["verify", state], ["repair", state]):
        result = subprocess.run(
            [sys.executable, "-m", "tailrace", "state", *command], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
    world.run(EVENTS)
    assert world.contents() == greedy(EVENTS)


def test_renames_are_completed_though_the_options_are_gone(tmp_path: Path) -> None:
    world = World(tmp_path)
    stop_at_publishing(world, EVENTS[:20])
    del world.options["max_size"]
    world.run(EVENTS)
    before = greedy(EVENTS[:20])
    assert world.contents() == [*before[:-1], before[-1] + EVENTS[20:]]
    assert world.position() == {str(world.live): world.live.stat().st_size}


def test_hidden_files_of_a_lost_state_directory_are_not_overwritten(tmp_path: Path) -> None:
    world = World(tmp_path)
    stop_at_publishing(world, EVENTS)
    hidden = {path: path.read_bytes() for path in world.out.glob(".audit.log.tailrace-*")}
    for path in (tmp_path / "state" / "audit").iterdir():
        path.unlink()
    with pytest.raises(PipelineFailed, match="may hold events that are nowhere else"):
        world.run(EVENTS, commit_bytes=10_000)
    assert {path: path.read_bytes() for path in hidden} == hidden


def test_a_live_file_that_somebody_cut_or_removed_stops_the_pipeline_by_name(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run(EVENTS)
    world.live.unlink()
    with pytest.raises(PipelineFailed, match=r"audit\.log is gone"):
        world.run([*EVENTS, event(1)])


# Readers


class Reader:
    """A tail source of our own over the output, with its checkpoint; each `read` is a life."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lines: list[bytes] = []

    def pipeline(self, sink: ListSink) -> Pipeline:
        context = Context(pipeline="reader", state_dir=self.world.directory / "reader")
        source = Tail(paths=[str(self.world.live)], watch=False, poll_interval=0.005, rotate_wait=0.01)
        return Pipeline(context, source, [], {"sink": sink})

    def read(self) -> None:
        sink = ListSink()
        sink.written = self.lines
        sink.tags = ["log"] * len(self.lines)
        self.pipeline(sink).run(threading.Event(), once=True)
        self.lines = sink.written


@pytest.mark.parametrize("compress", [True, False])
def test_a_reader_that_looks_between_crashes_gets_each_event_once(tmp_path: Path, compress: bool) -> None:
    for operation in range(1, 1000, 5):
        world = World(tmp_path / str(operation), compress=compress)
        world.out.mkdir(parents=True)
        world.live.touch()
        reader = Reader(world)
        disk = FaultyDisk(operation, seed=operation)
        finished = False
        try:
            world.run(EVENTS[:8], disk, commit_bytes=150)
            reader.read()
            world.run(EVENTS[:18], disk, commit_bytes=600)
            finished = True
        except (Crash, PipelineFailed):
            pass
        disk.die()
        if world.live.exists():
            reader.read()
        world.run(EVENTS[:25], FaultyDisk(), commit_bytes=150)
        reader.read()
        assert reader.lines == EVENTS[:25], operation
        if finished:
            return
    raise AssertionError("it never ran to its end")


def test_a_reader_that_follows_gets_each_event_once_and_in_order(tmp_path: Path) -> None:
    world = World(tmp_path, compress=True, max_backup=500)
    world.out.mkdir()
    world.live.touch()
    lines = [event(number, 30 + number * 7 % 60) for number in range(600)]
    sink, stop = ListSink(), threading.Event()
    thread = threading.Thread(target=Reader(world).pipeline(sink).run, args=(stop,))
    thread.start()
    for end in range(20, 601, 20):
        world.run(lines[:end], FaultyDisk(), commit_bytes=200)
    wait_until(lambda: len(sink.written) >= 600)
    stop.set()
    thread.join()
    assert sink.written == lines
    assert len(world.backups()) > 50


# The config


@pytest.mark.parametrize(
    ("options", "option", "message"),
    [
        ({"path": "/x/{user}.log"}, "max_size", "has one name; take fields, tags and times out of the path"),
        ({"path": "/x/{tag}.log"}, "max_size", "has one name"),
        ({"path": "/x/a.%Y.log"}, "max_size", "slices by time are closed by themselves"),
        ({"path": "/x/a.log.gz"}, "max_size", "is plain; take compression and its suffix off, and set compress: true"),
        ({"compression": "gzip"}, "max_size", "is plain"),
        ({"path": "/x/a.log.gz", "compression": "none"}, "max_size", "is plain"),
        ({"keep_files": 3}, "keep_files", "is for slices.*use max_backup or max_age"),
        ({"keep_for": "3d"}, "keep_for", "is for slices"),
        ({"upload": "s3://bucket"}, "upload", "give the path a time and leave max_size out"),
        ({"max_size": None, "max_backup": 3}, "max_backup", "set max_size, in megabytes, too"),
        ({"max_size": None, "max_age": 3}, "max_age", "set max_size"),
        ({"max_size": None, "compress": True}, "compress", "set max_size"),
    ],
)
def test_options_that_contradict_are_refused_with_what_to_do(
    options: dict[str, Any], option: str, message: str
) -> None:
    options = {"path": "/x/audit.log", "max_size": 1, **options}
    with pytest.raises(OptionError, match=message) as caught:
        File(**options)
    assert caught.value.option == option


def test_the_contract_of_sinks_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out" / "audit.log"
    world = World(tmp_path)
    check_sink(
        lambda: File(path=str(path), max_size=1), lambda: [line for each in world.contents() for line in each], EVENTS
    )


def test_compressed_files_keep_owner_and_mode_and_are_whole_members_of_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "audit-2026-11-01T06-00-00.000.log"
    content = b"".join(b"%d %s\n" % (number, b"x" * 90_000) for number in range(30))
    path.write_bytes(content)
    path.chmod(0o604)
    context = Context(pipeline="t", state_dir=tmp_path, clock=HandClock())
    Backups(str(tmp_path / "audit.log"), max_age=0, max_backup=0, compress=True).tidy(context, ())
    packed = tmp_path / f"{path.name}.gz"
    assert [each.name for each in tmp_path.iterdir()] == [packed.name]
    assert stat.S_IMODE(packed.stat().st_mode) == 0o604
    assert gzip.decompress(packed.read_bytes()) == content
    assert packed.read_bytes().count(b"\x1f\x8b\x08") >= 3
