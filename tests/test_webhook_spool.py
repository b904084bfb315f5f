"""What was acknowledged is in the spool, once, whatever becomes of the process or the disk."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from concurrent.futures import Future, wait
from pathlib import Path

import pytest

from tailrace.context import Clock, Context
from tailrace.durable import Disk
from tailrace.faults import Crash, FaultyDisk
from tailrace_plugins.receiving import spool as spool_module
from tailrace_plugins.receiving.reader import Reader
from tailrace_plugins.receiving.record import Request, encode_all
from tailrace_plugins.receiving.spool import Place, Refused, Spool

BODIES = [[b'{"n":%d,"i":%d}' % (number, item) for item in range(3)] for number in range(12)]


class ManualClock(Clock):
    def __init__(self) -> None:
        self.now = 1000.0
        self.set_by = 0.0  # how far somebody has set the clock on the wall

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + self.set_by


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def record(number: int, items: list[bytes], received: float = 1000.0) -> bytes:
    return encode_all(Request(tag="audit", received=received, digest=digest(number).hex()), items)


class Life:
    """A process that uses the spool of a directory."""

    def __init__(
        self,
        state: Path,
        disk: Disk | None = None,
        *,
        place: Place | None = None,
        limit: int = 1 << 20,
        clock: Clock | None = None,
    ) -> None:
        self.context = Context(pipeline="test", state_dir=state, disk=disk or Disk(), clock=clock or ManualClock())
        self.woken = threading.Event()
        self.spool = Spool(self.context, limit=limit, window=600, wake=self.woken.set)
        self.spool.open(place)
        self.spool.start()
        self.reader = Reader(self.context, self.spool, place, lambda _, lines: lines)

    def append(self, number: int, items: list[bytes] | None = None) -> Future[None]:
        return self.spool.append(record(number, items or BODIES[number]), digest(number), 1000.0).stored

    def store(self, number: int, items: list[bytes] | None = None) -> None:
        self.append(number, items).result(10)

    def read(self) -> list[bytes]:
        lines = []
        while (batch := self.reader.next()) is not None:
            batch.settle()
            lines += batch.lines
        return lines

    def rejects(self) -> list[bytes]:
        found = []
        while (batch := self.reader.next()) is not None:
            found += [reject.line for reject in batch.settle()]
        return found

    @property
    def place(self) -> Place:
        return self.reader._place

    def is_writing(self) -> bool:
        return self.spool._writer is not None and self.spool._writer.is_alive()

    def stop(self) -> None:
        self.reader.close()
        self.spool.stop()

    def segments(self) -> list[Path]:
        return sorted(self.spool.directory.glob("*.spool"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def flat(bodies: list[list[bytes]]) -> list[bytes]:
    return [item for body in bodies for item in body]


def test_what_was_stored_is_read_in_order_by_this_life_and_the_next(state: Path) -> None:
    life = Life(state)
    for number in range(6):
        life.store(number)
    assert life.read() == flat(BODIES[:6])
    life.store(6)
    place = life.place
    life.stop()
    life = Life(state, place=place)
    life.store(7)
    assert life.read() == flat(BODIES[6:8])
    life.stop()


def test_one_fsync_serves_all_who_wait(state: Path) -> None:
    class SlowDisk(Disk):
        fsyncs = 0
        gate = threading.Event()
        begun = threading.Event()

        def fsync(self, descriptor: int) -> None:
            if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".spool"):
                self.fsyncs += 1
                self.begun.set()
                assert self.gate.wait(10)
            super().fsync(descriptor)

    disk = SlowDisk()
    life = Life(state, disk)
    first = life.append(0)
    assert disk.begun.wait(10)
    others = [life.append(number) for number in range(1, 10)]
    assert not any(future.done() for future in others)
    assert life.read() == []  # nothing is read before it is durable
    disk.gate.set()
    for future in [first, *others]:
        future.result(10)
    assert disk.fsyncs == 2
    assert life.read() == flat(BODIES[:10])
    life.stop()


def test_a_body_that_comes_again_is_not_stored_again_also_after_a_restart(state: Path) -> None:
    life = Life(state)
    life.store(1)
    assert life.spool.append(record(1, BODIES[1]), digest(1), 1000.0).repeated
    assert life.read() == BODIES[1]
    place = life.place
    life.stop()
    life = Life(state, place=place)
    assert life.spool.append(record(1, BODIES[1]), digest(1), 1000.0).repeated
    life.store(2)
    assert life.read() == BODIES[2]
    life.stop()


def test_a_repeated_body_is_recognised_though_its_segment_was_deleted_and_the_process_killed(state: Path) -> None:
    life = Life(state)
    life.store(1)
    life.stop()
    life = Life(state)
    life.store(2)
    life.read()
    life.spool.release(life.place)
    assert len(life.segments()) == 1
    place = life.place  # nothing is stopped: this life ends here
    life = Life(state, place=place)
    assert life.spool.append(record(1, BODIES[1]), digest(1), 1000.0).repeated
    life.stop()


def test_the_window_of_repetitions_ends(state: Path) -> None:
    clock = ManualClock()
    life = Life(state, clock=clock)
    life.store(1)
    clock.now += 599
    assert life.spool.append(record(1, BODIES[1]), digest(1), clock.now).repeated
    clock.now += 2
    assert not life.spool.append(record(1, BODIES[1]), digest(1), clock.now).repeated
    life.stop()


@pytest.mark.parametrize("seconds", [-86_400.0, -700.0, 86_400.0])
def test_the_window_of_repetitions_does_not_move_when_the_clock_is_set(state: Path, seconds: float) -> None:
    clock = ManualClock()
    life = Life(state, clock=clock)
    life.store(1)
    clock.set_by = seconds
    clock.now += 599
    assert life.spool.append(record(1, BODIES[1]), digest(1), clock.time()).repeated
    if seconds < 0:  # a life that begins later cannot know that the clock went ahead
        life.stop()
        life = Life(state, clock=clock)
        assert life.spool.append(record(1, BODIES[1]), digest(1), clock.time()).repeated
    clock.now += 602
    assert not life.spool.append(record(1, BODIES[1]), digest(1), clock.time()).repeated
    life.stop()


def test_the_same_body_on_two_connections_is_stored_once_and_both_wait_for_it(state: Path) -> None:
    class GatedDisk(Disk):
        gate = threading.Event()

        def fsync(self, descriptor: int) -> None:
            assert self.gate.wait(10)
            super().fsync(descriptor)

    disk = GatedDisk()
    disk.gate.set()
    life = Life(state, disk)
    disk.gate.clear()
    first = life.spool.append(record(1, BODIES[1]), digest(1), 1000.0)
    second = life.spool.append(record(1, BODIES[1]), digest(1), 1000.0)
    assert (first.repeated, second.repeated) == (False, True)
    assert not second.stored.done()
    disk.gate.set()
    second.stored.result(10)
    assert life.read() == BODIES[1]
    life.stop()


def test_damaged_digests_are_reported_and_harmless(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    life = Life(state)
    life.stop()
    (state / "spool" / "digests").write_bytes(b"x" * 72)
    life = Life(state)
    assert "digests of stored bodies are damaged" in caplog.text
    life.store(1)
    assert life.read() == BODIES[1]
    life.stop()


def test_beyond_the_limit_bodies_are_refused_until_the_sinks_have_caught_up(state: Path) -> None:
    life = Life(state, limit=2200)
    big = [b'{"x":"%b"}' % (b"x" * 900)]
    life.store(1, big)
    life.store(2, big)
    with pytest.raises(Refused, match="the spool is full"):
        life.append(3, big)
    assert life.spool.refusal(900) is not None
    life.read()
    life.spool.release(life.place)
    assert life.spool.refusal(900) is None
    assert life.spool.used() == 0
    life.store(3, big)
    life.stop()


def test_an_empty_spool_takes_a_body_that_is_larger_than_its_limit(state: Path) -> None:
    life = Life(state, limit=1024)
    life.store(1, [b'{"x":"%b"}' % (b"x" * 5000)])
    with pytest.raises(Refused):
        life.append(2)
    life.stop()


def test_committed_segments_are_deleted_and_numbers_never_come_again(state: Path) -> None:
    life = Life(state, limit=1 << 13)  # segments of 1 KiB
    for number in range(12):
        life.store(number, [b'{"n":%d,"x":"%b"}' % (number, b"x" * 500)])
        life.read()
        life.spool.release(life.place)
        assert len(life.segments()) <= 2
    last = life.segments()[-1].name
    place = life.place
    life.stop()
    for path in life.segments():
        path.unlink()
    life = Life(state, place=place)
    life.store(50, [b"{}"])
    assert life.segments()[0].name > last
    assert life.read() == [b"{}"]  # though the number of the lost segment was higher than any on disk
    life.stop()


def test_segments_that_somebody_removed_are_let_go_of(state: Path) -> None:
    life = Life(state, limit=400)
    for number in range(1, 3):
        life.store(number)
    assert life.spool.oldest() == 1000.0
    life.segments()[0].unlink()
    assert life.spool.oldest() is None
    life.spool.release(Place(2, 0))
    assert list(life.spool.segments()) == [2]
    shutil.rmtree(life.spool.directory)
    life.spool.release(Place(3, 0))
    assert life.spool.used() == 0
    life.stop()


def test_a_segment_that_is_gone_or_shorter_is_an_error_in_the_log(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    life = Life(state)
    life.store(1)
    life.read()
    place = life.place
    life.stop()
    os.truncate(life.segments()[0], place.offset - 3)
    life = Life(state, place=place)
    life.store(2)
    assert life.read() == BODIES[2]
    assert "is gone, or shorter" in caplog.text
    life.stop()


def test_a_torn_last_write_is_passed_over_for_it_was_not_acknowledged(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = record(2, BODIES[2])
    for cut in (1, 6, 7, 12, 40, len(whole) - 1):
        directory = state / str(cut)
        directory.mkdir()
        life = Life(directory)
        life.store(1)
        life.stop()
        with life.segments()[0].open("ab") as file:
            file.write(whole[:cut])
        caplog.clear()
        life = Life(directory)
        life.store(3)
        assert life.read() == BODIES[1] + BODIES[3]
        assert not [entry for entry in caplog.records if entry.levelname == "ERROR"], cut
        life.stop()


def test_damage_in_the_middle_goes_to_the_dead_letter_and_costs_no_neighbour(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    life = Life(state)
    for number in range(3):
        life.store(number)
    life.stop()
    data = life.segments()[0].read_bytes()
    at = data.index(b'{"n":1,"i":1}')
    life.segments()[0].write_bytes(data[:at] + b"#" + data[at + 1 :])
    assert Life(state).read() == BODIES[0] + BODIES[2]
    (rejected,) = Life(state).rejects()
    assert rejected == record(1, BODIES[1]).replace(b'{"n":1,"i":1}', b'#"n":1,"i":1}')
    assert "the spool is damaged" in caplog.text


class World:
    """A sender, and a sink that commits every other body; what both know outlives the process."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.place: Place | None = None
        self.written: list[bytes] = []

    def live(self, state: Path, disk: Disk, numbers: list[int]) -> bool:
        """Store bodies and commit what is read; tell whether the process lived to the end of it."""
        try:
            life = Life(state, disk, place=self.place, limit=1 << 12)
            for number in numbers:
                stored = life.append(number)
                while not stored.done():
                    if not life.is_writing():
                        return False
                    wait([stored], timeout=0.002)
                self.acknowledged.append(number)
                if number % 2:
                    lines = life.read()
                    before, self.place = self.place, life.place
                    self.written += lines
                    if before is not None:
                        life.spool.release(before)
            self.written += life.read()
            self.place = life.place
            life.stop()
        except Crash:
            return False
        return True


@pytest.mark.parametrize("power_cut", [True, False])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the death is one
def test_death_at_every_operation_loses_nothing_and_repeats_nothing(tmp_path: Path, power_cut: bool) -> None:
    for operation in range(1, 1000):
        state = tmp_path / str(operation)
        state.mkdir()
        world = World()
        disk = FaultyDisk(operation, seed=operation)
        finished = world.live(state, disk, list(range(len(BODIES))))
        if power_cut:
            disk.lose_unsynced()
        else:
            disk.die()
        # the sender sends again what was not acknowledged, and what it does not know to be, the last one
        again = [number for number in range(len(BODIES)) if number not in world.acknowledged[:-1]]
        assert world.live(state, Disk(), again)
        assert sorted(world.written) == sorted(flat(BODIES)), operation
        if finished:
            assert operation > 50
            return
    raise AssertionError("it never ran to its end")


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_an_error_at_every_operation_is_a_refusal_after_which_it_goes_on(tmp_path: Path, error: int) -> None:
    for operation in range(1, 1000):
        state = tmp_path / str(operation)
        state.mkdir()
        disk = FaultyDisk(operation, error=error, failures=2, seed=operation)
        clock = ManualClock()
        life = None
        while life is None:
            try:
                life = Life(state, disk, limit=1 << 12, clock=clock)
            except OSError:
                assert disk.operations < operation + 2
        for number in range(len(BODIES)):
            while True:
                try:
                    life.store(number)
                    break
                except Refused:
                    clock.now += 1.1
        place = life.place
        assert life.read() == flat(BODIES), operation
        life.stop()
        life = Life(state, place=place)
        assert life.read() == flat(BODIES), operation
        life.stop()
        if disk.operations < operation:
            return
    raise AssertionError("it never ran to its end")


def test_after_a_failed_write_bodies_are_refused_without_trying_for_a_second(state: Path) -> None:
    clock = ManualClock()
    probe = FaultyDisk()
    life = Life(state, probe, clock=clock)
    life.stop()
    disk = FaultyDisk(2, error=errno.ENOSPC, failures=1000)
    life = Life(state, disk, clock=clock)
    with pytest.raises(Refused, match="No space left"):
        life.store(1)
    tried = disk.operations
    with pytest.raises(Refused, match="No space left"):
        life.append(2)
    assert disk.operations == tried
    clock.now += spool_module.RETRY_SECONDS
    with pytest.raises(Refused):
        life.store(2)
    assert disk.operations > tried
    life.stop()


def test_some_of_a_full_disk_is_left_to_the_sinks(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(state)
    free = os.statvfs(state)
    monkeypatch.setattr(spool_module, "RESERVE_BYTES", free.f_blocks * free.f_frsize)
    used = 1 - free.f_bavail / free.f_blocks
    if used < 0.9:  # a tenth of the disk is free
        assert life.spool.refusal() is None
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 1000, 99, 99, 0, 0, 0, 0, 255)))
    with pytest.raises(Refused, match="the disk of the spool is full"):
        life.append(1)
    life.stop()


def test_what_waits_is_told_with_its_age(state: Path) -> None:
    life = Life(state)
    assert life.spool.oldest() is None
    life.store(1)
    life.spool.append(record(2, BODIES[2], received=1500.0), digest(2), 1500.0).stored.result(10)
    assert life.spool.oldest() == 1000.0
    life.reader.next()
    life.spool.release(life.place)
    assert life.spool.oldest() == 1500.0
    assert life.reader.lag() == life.spool.used()
    life.stop()
