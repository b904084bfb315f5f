"""Retention of the file sink: what goes, what stays whatever happens, and that a death in the middle harms nothing."""

from __future__ import annotations

import errno
import gzip
import json
import logging
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.batch import Batch
from tailrace.checkpoint import merge
from tailrace.context import Clock, Context
from tailrace.durable import Disk
from tailrace.faults import Crash, FaultyDisk
from tailrace.fields import Projection
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.stage import OptionError
from tailrace.testing import ListSource
from tailrace_plugins.sinks.file import File
from tailrace_plugins.sinks.retention import INTERVAL, LOGGED, Slice, to_delete

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)


class HandClock(Clock):
    """A clock that is moved by hand; wall and monotonic time move apart if told to."""

    def __init__(self) -> None:
        self.wall = NOW.timestamp()
        self.steady = 1000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def event(user: str = "eve", moment: datetime = NOW) -> bytes:
    return json.dumps({"user": user, "stageTimestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}).encode()


class Life:
    """A file sink with options, and slices that earlier lives may have left."""

    def __init__(self, directory: Path, disk: Disk | None = None, **options: Any) -> None:
        self.out = directory / "out"
        self.out.mkdir(exist_ok=True)
        self.clock = HandClock()
        options.setdefault("path", f"{self.out}/{{user}}.%Y%m%d%H.log.gz")
        self.sink = File(**options)
        self.sink.attach(Context(pipeline="t", state_dir=directory, clock=self.clock, disk=disk or Disk()))
        self.position: dict[str, Any] = {}
        self.sink.open(None)

    def leave(self, name: str, size: int = 100, moment: datetime | None = None) -> Path:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        if moment:
            os.utime(path, (moment.timestamp(), moment.timestamp()))
        return path

    def commit(self, *lines: bytes) -> set[str]:
        """Write lines and commit; gives the files that are there then, but for the lock."""
        batch = Batch(list(lines), tag="audit")
        batch.project(Projection(self.sink.reads(), self.sink.writes()))
        self.sink.write(self.sink.encode(batch))
        self.position = merge(self.position, self.sink.prepare())
        self.position = merge(self.position, self.sink.flush())
        self.sink.commit(self.position)
        return {
            str(path.relative_to(self.out))
            for path in self.out.rglob("*")
            if (path.is_symlink() or not path.is_dir()) and path.suffix != ".lock"
        }

    def deleted(self) -> dict[str, float]:
        return {
            measure.labels["reason"]: measure.value
            for measure in self.sink.measures()
            if measure.name == "retention_deleted_files_total" and measure.value
        }


def test_without_these_options_nothing_is_ever_deleted(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.leave("eve.2001010100.log.gz")
    assert "eve.2001010100.log.gz" in life.commit(event())
    assert list(life.sink.measures()) == []


def test_a_slice_goes_when_its_own_time_is_old_enough_whenever_it_was_written(tmp_path: Path) -> None:
    life = Life(tmp_path, keep_for="1d")
    life.leave("a.2026112211.log.gz", moment=NOW)  # it ended 24 h and 30 min ago
    life.leave("a.2026112212.log.gz", moment=NOW - 99 * DAY)  # 23 h and 30 min
    assert life.commit(event()) == {"a.2026112212.log.gz", "eve.2026112312.log.gz"}
    assert life.deleted() == {"keep_for": 1}


def test_a_slice_without_time_goes_by_its_last_write(tmp_path: Path) -> None:
    life = Life(tmp_path, keep_for="1d")
    life.leave("a._unparsed.log.gz", moment=NOW - 2 * DAY)
    life.leave("b._unparsed.log.gz", moment=NOW - 0.5 * DAY)
    assert life.commit(event()) == {"b._unparsed.log.gz", "eve.2026112312.log.gz"}


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"keep_files": 4}, {"a.13", "a.14", "b.13"}),
        ({"keep_files": 1}, set()),
        ({"keep_bytes": 450}, {"a.13", "a.14", "b.13"}),
        ({"keep_bytes": "1GiB"}, {"a.10", "a.11", "a.13", "a.14", "b.12", "b.13"}),
        ({"keep_files_per_name": 2}, {"a.13", "a.14", "b.12", "b.13"}),
        ({"keep_bytes_per_name": 100}, {"a.14", "b.13"}),
        ({"keep_files_per_name": 3, "keep_files": 5}, {"a.13", "a.14", "b.12", "b.13"}),
        ({"keep_files_per_name": 1, "keep_for": "99d", "keep_bytes": 9999}, {"a.14", "b.13"}),
    ],
)
def test_the_oldest_go_until_the_rest_is_within_the_limit(
    tmp_path: Path, options: dict[str, Any], left: set[str]
) -> None:
    life = Life(tmp_path, **options)
    for name in ("a.10", "a.11", "a.13", "a.14", "b.12", "b.13"):
        life.leave(f"{name.replace('.', '.202611')}00.log.gz")
    found = life.commit(event()) - {"eve.2026112312.log.gz"}
    assert {name.replace(".202611", ".")[:4] for name in found} == left


SLICES = st.lists(
    st.builds(
        lambda number, size, end, user: Slice(f"/{number}", size, end, (user,)),
        st.integers(0, 99),
        st.integers(0, 50),
        st.integers(0, 9),
        st.sampled_from("ab"),
    ),
    unique_by=lambda each: each.path,
)
LIMITS = st.dictionaries(
    st.sampled_from(["keep_for", "keep_bytes", "keep_files", "keep_bytes_per_name", "keep_files_per_name"]),
    st.integers(1, 60),
)


@given(SLICES, LIMITS, st.sets(st.integers(0, 99)))
def test_what_is_left_keeps_every_limit_unless_it_is_recorded_and_nothing_went_in_vain(
    slices: list[Slice], limits: dict[str, float], numbers: set[int]
) -> None:
    recorded = {f"/{number}" for number in numbers}
    chosen = {each.path: reason for each, reason in to_delete(slices, recorded, 9.0, limits)}
    assert not recorded & set(chosen)
    left = [each for each in slices if each.path not in chosen]
    free = [each for each in left if each.path not in recorded]
    for reason, limit in limits.items():
        for group in ["a", "b"] if reason.endswith("_per_name") else [None]:
            held = [each for each in left if group in (None, *each.name)]
            if reason == "keep_for":
                assert all(each.end >= 9 - limit for each in free)
            elif any(each in free for each in held):
                assert sum(each.size if "bytes" in reason else 1 for each in held) <= limit
    for each in slices:  # the oldest first
        if chosen.get(each.path) in ("keep_files", "keep_bytes"):
            assert all((other.end, other.path) > (each.end, each.path) for other in free)


def test_what_the_checkpoint_records_stays_whatever_the_limits_say(tmp_path: Path) -> None:
    life = Life(tmp_path, keep_for="1h", keep_files=1, keep_bytes=1)
    late = event("late", NOW - 400 * DAY)
    assert len(life.commit(event("a"), event("b"), late)) == 3
    life.clock.advance(INTERVAL + 1)
    assert len(life.commit(event("a"))) == 3
    assert life.deleted() == {}


def test_a_late_event_makes_a_deleted_slice_anew_and_it_goes_again_once_it_is_closed(tmp_path: Path) -> None:
    life = Life(tmp_path, keep_for="1d", idle_close=100.0)
    life.leave("eve.2026110100.log.gz")
    late = event(moment=datetime(2026, 11, 1, tzinfo=UTC))
    assert life.commit(event("a")) == {"a.2026112312.log.gz"}
    assert life.commit(late) == {"a.2026112312.log.gz", "eve.2026110100.log.gz"}
    assert gzip.decompress((life.out / "eve.2026110100.log.gz").read_bytes()) == late + b"\n"
    life.clock.advance(101)
    # the generation of the checkpoint before this one still has it
    assert life.commit(event("a")) == {"a.2026112312.log.gz", "eve.2026110100.log.gz"}
    life.clock.advance(61)
    assert life.commit(event("a")) == {"a.2026112312.log.gz"}


def test_nobody_elses_file_is_touched(tmp_path: Path) -> None:
    life = Life(tmp_path, path=f"{tmp_path}/out/{{user}}/%Y/a.%m%d%H.gz", keep_for="1d", keep_files=1)
    (tmp_path / "elsewhere" / "2001").mkdir(parents=True)
    (tmp_path / "elsewhere" / "2001" / "a.010100.gz").write_bytes(b"theirs")
    foreign = {
        "eve/2001/a.010100.gz.bak",
        "eve/2001/a.010100",
        "eve/2001/a.013200.gz",
        "eve/2001/deeper/a.010100.gz",
        "eve/a.010100.gz",
        "%41/2001/a.010100.gz",
        "_x/2001/a.010100.gz",
        "eve/20/a.010100.gz",
    }
    for name in foreign:
        life.leave(name)
    (life.out / "link").symlink_to(tmp_path / "elsewhere")
    (life.out / "eve" / "2002").symlink_to(tmp_path / "elsewhere" / "2001")
    (life.out / "eve" / "2001" / "a.010101.gz").symlink_to(tmp_path / "elsewhere" / "2001" / "a.010100.gz")
    (life.out / "eve" / "2001" / "a.010102.gz").mkdir()
    os.mkfifo(life.out / "eve" / "2001" / "a.010103.gz")
    life.leave("eve/2001/a.010104.gz")
    links = {"link", "eve/2002", "eve/2001/a.010101.gz", "eve/2001/a.010103.gz"}
    assert life.commit(event()) == foreign | links | {"eve/2026/a.112312.gz"}
    assert len(list(life.out.glob(".tailrace-*.lock"))) == 1
    assert (tmp_path / "elsewhere" / "2001" / "a.010100.gz").read_bytes() == b"theirs"


def test_directories_that_hold_nothing_any_more_go_too_and_no_others(tmp_path: Path) -> None:
    life = Life(tmp_path, path=f"{tmp_path}/out/{{user}}/%Y/a.%m%d%H.gz", keep_for="1d")
    life.leave("gone/2001/a.010100.gz")
    life.leave("half/2001/a.010100.gz")
    life.leave("half/2026/a.112312.gz")
    life.leave("mixed/2001/a.010100.gz")
    life.leave("mixed/2001/README")
    for name in ("left/2001", "no year/2001", "left/other"):
        (life.out / name).mkdir(parents=True)
    life.commit(event())
    assert {str(path.relative_to(life.out)) for path in life.out.rglob("*") if path.is_dir()} == {
        "eve", "eve/2026", "half", "half/2026", "mixed", "mixed/2001", "no year", "no year/2001", "left", "left/other"
    }  # fmt: skip
    life.clock.advance(61)
    life.commit(event("new", NOW), event("gone", NOW))
    assert life.out.is_dir()
    assert (life.out / "gone" / "2026").is_dir()


def test_the_directory_is_not_listed_at_each_commit(tmp_path: Path) -> None:
    life = Life(tmp_path, keep_for="1d")
    life.commit(event())
    life.leave("old.2001010100.log.gz")
    life.clock.advance(59)
    assert "old.2001010100.log.gz" in life.commit(event())
    life.clock.wall -= 10_000  # a clock that is set back changes nothing in that
    life.clock.steady += 2
    assert "old.2001010100.log.gz" not in life.commit(event())


def test_a_clock_that_jumped_ahead_or_back_deletes_nothing(tmp_path: Path) -> None:
    life = Life(tmp_path, keep_for="30d")
    life.leave("a.2026112211.log.gz")
    for jump in (9000 * DAY, -18_000 * DAY):
        life.clock.wall += jump.total_seconds()
        life.clock.steady += 61
        assert life.commit(event()) == {"a.2026112211.log.gz", "eve.2026112312.log.gz"}


def test_deletions_are_logged_up_to_a_bound_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    life = Life(tmp_path, keep_for="1d")
    for number in range(LOGGED + 5):
        life.leave(f"user-{number}.2001010100.log.gz", size=10)
    life.commit(event())
    said = [record for record in caplog.records if record.message.startswith("slice")]
    assert len(said) == LOGGED + 1
    about = said[0].__dict__
    assert (about["bytes"], about["reason"]) == (10, "keep_for")
    assert about["path"].startswith(f"{life.out}/user-")
    assert (said[-1].__dict__["files"], said[-1].__dict__["bytes"]) == (LOGGED + 5, 10 * (LOGGED + 5))
    figures = {(each.name, each.labels.get("reason")): each.value for each in life.sink.measures()}
    assert figures["retention_deleted_files_total", "keep_for"] == LOGGED + 5
    assert figures["retention_deleted_bytes_total", "keep_for"] == 10 * (LOGGED + 5)
    assert figures["retention_deleted_files_total", "keep_bytes"] == 0


class ImmutableDisk(Disk):
    """A disk with a file that nobody can remove, as after `chattr +i`."""

    immutable = ""

    def unlink(self, path: str) -> None:
        if os.path.basename(path) == self.immutable:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        super().unlink(path)


def test_what_cannot_be_deleted_is_reported_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = ImmutableDisk()
    life = Life(tmp_path, disk=disk, keep_for="1d")
    a = life.leave("a.2001010100.log.gz").name
    life.leave("b.2001010100.log.gz")
    disk.immutable = a
    assert life.commit(event()) == {a, "eve.2026112312.log.gz"}
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warning.__dict__["failures"] == 1
    assert "Operation not permitted" in warning.__dict__["first"]
    assert [each.value for each in life.sink.measures() if each.name == "retention_failures_total"] == [1]
    assert life.deleted() == {"keep_for": 1}
    disk.immutable = ""
    life.clock.advance(61)
    assert life.commit(event()) == {"eve.2026112312.log.gz"}


@pytest.mark.parametrize(
    ("options", "option", "message"),
    [
        ({"path": "/x/{user}.log", "keep_for": "1d"}, "keep_for", "the path has no time"),
        ({"path": "/x/{user}.%H.log", "keep_files": 9}, "keep_files", "only a part of the time"),
        ({"path": "/x/{a}.%Y.{b}", "keep_bytes": "1GB"}, "keep_bytes", "between two values"),
        ({"path": "/x/%Y", "keep_for": "a month"}, "keep_for", "'a month' is not a duration"),
        ({"path": "/x/%Y", "keep_bytes": "1G"}, "keep_bytes", "'1G' is not a size"),
        ({"path": "/x/%Y", "keep_bytes_per_name": -1}, "keep_bytes_per_name", "-1 is not a size"),
    ],
)
def test_options_that_cannot_work_together_are_refused(options: dict[str, Any], option: str, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        File(**options)
    assert caught.value.option == option


# Death at every operation

OLD = [event("a", NOW - 9 * DAY), event("b", NOW - 8 * DAY), event("a", NOW - 2 * DAY)]
NEW = [event("c", NOW + timedelta(hours=hour)) for hour in range(3)]
KEPT = {
    "a/audit.2026112112.log.gz": OLD[2] + b"\n",
    **{f"c/audit.20261123{12 + hour}.log.gz": NEW[hour] + b"\n" for hour in range(3)},
}


def pipeline(directory: Path, disk: Disk, clock: HandClock, lines: list[bytes], **options: Any) -> Pipeline:
    path = f"{directory}/out/{{user}}/audit.%Y%m%d%H.log.gz"
    context = Context(pipeline="t", state_dir=directory / "state", disk=disk, clock=clock)
    sink = File(path=path, idle_close=10.0, **options)
    return Pipeline(context, ListSource(lines=lines, batch_size=2), [], {"file": sink}, commit_bytes=1)


class SteppingClock(HandClock):
    """Each look at it takes so long that every slice is closed soon, and every commit looks what to delete."""

    def monotonic(self) -> float:
        self.steady += 40.0
        return self.steady


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): gzip.decompress(path.read_bytes()) for path in directory.rglob("*.log.gz")
    }


@pytest.mark.parametrize(("power_cut", "damaged"), [(True, False), (False, False), (True, True)])
def test_death_at_every_operation_deletes_nothing_too_much_and_recovery_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, power_cut: bool, damaged: bool
) -> None:
    monkeypatch.setattr("tailrace_plugins.sinks.retention.SHARE", 0)  # so that every commit looks
    deleted = 0
    for operation in range(1, 500):
        directory = tmp_path / str(operation)
        (directory / "out").mkdir(parents=True)
        disk = FaultyDisk(operation, seed=operation)
        finished = False
        first = pipeline(directory, disk, SteppingClock(), OLD + NEW, keep_for="5d")
        try:
            first.run(threading.Event(), once=True)
            finished = True
        except (Crash, PipelineFailed):
            pass
        if power_cut:
            disk.lose_unsynced()
        else:
            disk.die()
        checkpoint = directory / "state" / "checkpoint.json"
        if damaged and checkpoint.exists() and checkpoint.with_name("checkpoint.previous.json").exists():
            checkpoint.write_bytes(b"\0" * 300)  # so that the generation before it has to do
        pipeline(directory, FaultyDisk(), SteppingClock(), OLD + NEW, keep_for="5d").run(threading.Event(), once=True)
        found = contents(directory / "out")
        assert {name: found.get(name) for name in KEPT} == KEPT
        deleted += len(found) == len(KEPT)
        if finished:
            assert operation > 60
            assert deleted > 10
            return
    raise AssertionError("it never ran to its end")
