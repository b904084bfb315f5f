"""`tailrace doctor`: what is not read to its end, and whether it will be before it is deleted."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from examining import START, Machine, about, event, named, pack, write

from tailrace.batch import Position
from tailrace.context import Context
from tailrace.finding import Finding
from tailrace.pipeline import Pipeline
from tailrace.testing import ListSink
from tailrace_plugins.examining.backlog import Limits, Unread, judge, pace, time_left
from tailrace_plugins.sources.tail import Tail

MIB = 1 << 20


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def read(machine: Machine, batches: int | None = None, **options: Any) -> Position:
    """Read all there is, or so many batches; give the position that the checkpoint has then."""
    source = Tail(paths=[str(machine.log)], watch=False, rotate_wait=0.0, **options)
    source.attach(Context(pipeline="audit", state_dir=machine.directory))
    source.open(None)
    position: dict[str, Any] = {}
    count = 0
    while (batches is None or count < batches) and (batch := source.read(0)) is not None:
        position |= batch.position
        count += bool(len(batch))
    source.close()
    return position


def left(machine: Machine, position: Position | None, **asked: Any) -> Finding:
    return about(machine.findings(position=position, **asked), "bytes to read")


# By a checkpoint that the source itself has made


def test_log_that_is_read_to_its_end_has_nothing_left(machine: Machine) -> None:
    write(machine.log, range(9), rotated=10)
    pack(write(machine.log, range(10, 19), rotated=20))
    write(machine.log, range(20, 29))
    position = read(machine)
    assert about(machine.findings(position=position), "read to its end").severity == "ok"
    write(machine.log, [29], rotated=30)
    write(machine.log, [30])
    found = left(machine, position)
    assert found.where == f"{named(machine.log, 30)}:{len(event(20)) * 9}"
    assert f"there are {len(event(29)) * 2} bytes to read in 2 files" in found.what


def test_place_is_kept_through_rotation_and_compression(machine: Machine) -> None:
    write(machine.log, range(2000))
    position = read(machine, 1, block_bytes=65_536)
    packed = pack(write(machine.log, [], rotated=2000))
    write(machine.log, [2000])
    found = left(machine, position)
    path, _, offset = found.where.rpartition(":")
    assert path == str(packed)
    assert 60_000 < int(offset) <= 65_536
    size = sum(len(event(number)) for number in range(2001))
    assert f"{size - int(offset):,} bytes to read in 2 files" in found.what


@pytest.mark.parametrize(
    ("read_from", "files"), [("beginning", 2), ("live", 1), ("end", 0)], ids=["beginning", "live", "end"]
)
def test_before_the_first_start_it_is_the_options_that_say_what_is_to_be_read(
    machine: Machine, read_from: str, files: int
) -> None:
    write(machine.log, [0], rotated=1)
    write(machine.log, [2])
    findings = machine.findings(options={"read_from": read_from})
    said = [finding.what for finding in findings if "bytes to read" in finding.what]
    assert [f"in {files} file" in what for what in said] == [True] * bool(files)


def test_copy_of_the_live_file_is_not_to_be_read(machine: Machine) -> None:
    write(machine.log, range(50))
    position = read(machine)
    machine.log.with_name("audit.log.1").write_bytes(machine.log.read_bytes())
    assert about(machine.findings(position=position), "read to its end").severity == "ok"


def test_half_a_line_is_nothing_to_read(machine: Machine) -> None:
    write(machine.log, [0])
    position = read(machine)
    with machine.log.open("ab") as file:
        file.write(event(1)[:-1])
        file.flush()
        assert about(machine.findings(position=position), "read to its end").severity == "ok"
        file.write(b"\n")
    assert str(len(event(1))) in left(machine, position).what


def test_file_that_is_gone_before_it_was_finished_is_reported_unless_the_service_may_hold_it(machine: Machine) -> None:
    write(machine.log, range(2000))
    position = read(machine, 1, block_bytes=65_536)
    write(machine.log, [], rotated=2000).unlink()
    write(machine.log, [2000])
    lost = about(machine.findings(position=position), "not there any more")
    assert (lost.severity, lost.where.rpartition(":")[0]) == ("warning", str(machine.log))
    assert not [each for each in machine.findings(position=position, is_running=True) if "any more" in each.what]


def test_position_that_cannot_be_understood_is_a_finding(machine: Machine) -> None:
    machine.log.touch()
    assert machine.alarm(position={str(machine.log): {"queue": 7}}).severity == "error"


def test_nothing_is_said_of_what_is_left_where_the_checkpoint_cannot_be_read(machine: Machine) -> None:
    write(machine.log, [0])
    said = [finding.what for finding in machine.findings(is_blind=True)]
    assert not [what for what in said if "bytes to read" in what or "read to its end" in what]


def test_compressed_file_of_which_only_a_part_was_read_is_told_by_its_offset_and_the_length_that_it_tells(
    machine: Machine,
) -> None:
    packed = pack(write(machine.log, range(2000), rotated=2000))
    write(machine.log, [2000])
    position = read(machine, 1, block_bytes=65_536)
    found = left(machine, position)
    path, _, offset = found.where.rpartition(":")
    assert (path, 60_000 < int(offset) <= 65_536) == (str(packed), True)
    size = sum(len(event(number)) for number in range(2001))
    assert f"{size - int(offset):,} bytes to read in 2 files" in found.what
    zstd = named(machine.log, 2001).with_suffix(".log.zst")
    zstd.write_bytes(b"x" * 500)  # whose length nobody knows before
    assert f"{size - int(offset) + 500:,} bytes to read in 3 files" in left(machine, position).what


def rotate_every(machine: Machine, seconds: int, count: int) -> float:
    """Rotate so often at this pace; give the time of the last rotation."""
    for number in range(count):
        write(machine.log, [number * seconds], rotated=(number + 1) * seconds)
    write(machine.log, [count * seconds])
    return START + count * seconds


def test_oldest_unread_file_is_deleted_when_as_many_newer_ones_are_there_as_are_kept(machine: Machine) -> None:
    last = rotate_every(machine, 1200, 4)
    found = left(machine, None, now=last, max_backups=4)
    assert f"{named(machine.log, 1200)} will be deleted in about 20 min, by --maxbackup 4" in found.what
    assert found.severity == "warning"  # nobody reads, and it is less than an hour
    assert "start the service" in found.remedy
    assert "in about 40 min" in left(machine, None, now=last, max_backups=5).what
    assert left(machine, None, now=last, max_backups=12).severity == "note"
    assert left(machine, None, now=last, max_backups=0).severity == "note"
    assert "deleted" not in left(machine, None, now=last).what


def test_service_that_is_at_work_is_not_alarmed_about_unless_it_is_too_slow(machine: Machine) -> None:
    last = rotate_every(machine, 1200, 4)
    at_work = {"now": last, "is_running": True, "saved": last - 1}
    assert left(machine, None, max_backups=4, **at_work).severity == "note"
    with named(machine.log, 4800).open("ab") as file:
        file.truncate(1300 * 10 * MIB)  # 1,300 s, as slowly as is reckoned with
    assert left(machine, None, max_backups=4, **at_work).severity == "error"
    assert left(machine, None, max_backups=10, **at_work).severity == "warning"


def test_service_that_commits_nothing_though_there_is_something_to_read_is_warned_of(machine: Machine) -> None:
    last = rotate_every(machine, 1200, 1)
    found = left(machine, None, now=last + 500, is_running=True, saved=last - 10_000)
    assert found.severity == "warning"
    assert "nothing was committed for 8 min 20 s" in found.what  # since the oldest of it was written
    assert left(machine, None, now=last + 500, is_running=True, saved=last + 499).severity == "note"


# Beside a pipeline at work


def test_doctor_says_nothing_alarming_beside_a_pipeline_at_work_and_changes_nothing(machine: Machine) -> None:
    source = Tail(paths=[str(machine.log)], rotate_wait=0.01, poll_interval=0.001)
    context = Context(pipeline="audit", state_dir=machine.directory / "state" / "audit")
    sink = ListSink()
    pipeline = Pipeline(context, source, [], {"list": sink}, commit_interval=0.01)
    stop = threading.Event()
    thread = threading.Thread(target=pipeline.run, args=(stop,))
    write(machine.log, [0])
    thread.start()
    try:
        for number in range(1, 30):
            write(machine.log, [number], rotated=number)
            write(machine.log, [number])
            alarms = machine.alarms(now=START + number + 1, is_running=True, saved=START + number, max_backups=1000)
            assert alarms == []
    finally:
        stop.set()
        pipeline.wake()
        thread.join()
    assert not source.reports.lost_files


# The rule by itself


@pytest.mark.parametrize(
    ("rotations", "now", "expected"),
    [
        ([], 100, None),
        ([10], 100, None),
        ([10, 20], 25, 10),
        ([0, 1000, 1010, 1020, 1030, 1040, 1050], 1055, 10),  # the last five count
        ([10, 20], 100, 45),  # it has become slower: two in ninety seconds
        ([10, 10], 10, 0),
    ],
)
def test_pace_is_that_of_the_last_rotations(rotations: list[float], now: float, expected: float | None) -> None:
    assert pace(rotations, now) == expected


def unread(newer: int = 0, rotated: float | None = 900.0, size: int = MIB) -> Unread:
    return Unread("a", 0, size, newer, rotated, 0.0)


@pytest.mark.parametrize(
    ("newer", "backups", "age", "expected"),
    [
        (0, 3, 0, 300),  # after three rotations
        (2, 3, 0, 100),  # after the next one
        (5, 3, 0, 100),  # it should be gone, and will be at the next one
        (-1, 3, 0, 400),  # the live file has to be rotated first
        (0, 0, 0, None),
        (0, 0, 250, 150),
        (0, 3, 150, 50),
        (0, 3, 50, 0),  # it is late already
    ],
)
def test_time_to_deletion_follows_from_pace_number_and_age(
    newer: int, backups: int, age: float, expected: float | None
) -> None:
    rotations = [700.0, 800.0, 900.0, 1000.0]
    assert time_left(unread(newer), rotations, Limits(backups, age, ""), 1000.0) == expected


def test_file_that_cannot_be_read_in_time_is_an_error_and_one_that_may_be_a_warning() -> None:
    for size, severity in ((100 * MIB, "warning"), (5000 * MIB, "error")):
        found = judge(
            [unread(size=size)],
            [900.0, 1000.0],
            Limits(3, 0.0, "it"),
            1000.0,
            saved=None,
            is_running=False,
        )
        assert found is not None
        assert found.severity == severity
    assert judge([], [], None, 0.0, saved=None, is_running=False) is None
