"""Death at every durable operation of the main pipeline in turn, with torn writes and lost unsynced bytes.

Each case runs the pipeline on a disk that dies at its n-th operation, takes away what was not synced, starts the
pipeline again (in some cases to die once more, while it recovers) and compares the output with the input. n goes up
until a run finishes without dying.
"""

from __future__ import annotations

import errno
import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tailrace.checkpoint import CURRENT, PREVIOUS, Checkpoint, State
from tailrace.context import Context
from tailrace.durable import Disk
from tailrace.faults import Crash, FaultyDisk
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace_plugins.filters.drop_keys import DropKeys
from tailrace_plugins.filters.extract import Extract
from tailrace_plugins.filters.rewrite_tag import RewriteTag
from tailrace_plugins.sinks.file import File
from tailrace_plugins.sources.tail import Tail

NAMESPACES = ["default", "kube-system", None]


def event(number: int) -> bytes:
    namespace = NAMESPACES[number % 3]
    record = {
        "auditID": f"id-{number}",
        "objectRef": {"resource": "pods"} | ({"namespace": namespace} if namespace else {}),
        "stageTimestamp": f"2026-11-23T0{5 + number // 9}:59:0{number % 9}.000000Z",
    }
    return b"broken" if number == 4 else json.dumps(record).encode()


EVENTS = [event(number) for number in range(14)]


class World:
    """A directory with a log, an output directory and a state directory; `run` is one life of the process."""

    max_open_files = 256

    def __init__(self, directory: Path, seed: int) -> None:
        directory.mkdir()
        self.log = directory / "audit.log"
        self.out = directory / "out"
        self.state = directory / "state"
        self.seed = seed
        self.write(EVENTS[:10])

    def write(self, events: list[bytes]) -> None:
        self.log.write_bytes(b"".join(line + b"\n" for line in events))

    def pipeline(self, disk: Disk, workers: int = 1) -> Pipeline:
        return Pipeline(
            Context(pipeline="audit", state_dir=self.state, disk=disk),
            Tail(paths=[str(self.log)], tag="audit", block_bytes=500, watch=False),
            [
                Extract(field="objectRef.namespace", into="namespace"),
                RewriteTag(tag="{tag}.{namespace}"),
                DropKeys(keys=["namespace"]),
            ],
            {
                "file": File(path=f"{self.out}/audit-{{tag[1:]}}.%Y%m%d%H.log.gz", max_open_files=self.max_open_files),
                "file-2": File(path=f"{self.out}/all.log"),
            },
            commit_bytes=1,
            workers=workers,
        )

    def run(self, disk: Disk) -> None:
        self.pipeline(disk).run(threading.Event(), once=True)

    def live(self, disk: FaultyDisk, *, power_cut: bool) -> bool:
        """Run until the end (True) or until the disk kills the process."""
        try:
            self.run(disk)
            return True
        except (Crash, PipelineFailed):
            return False
        finally:
            if power_cut:
                disk.lose_unsynced()
            else:
                disk.die()

    def load(self) -> State | None:
        return Checkpoint(Context(pipeline="audit", state_dir=self.state)).load()

    def go_on_writing(self) -> None:
        """What the API server does meanwhile: rename the log, start a new one, write the rest."""
        self.log.rename(self.log.with_name("audit-2026-11-23T07-04-36.411.log"))
        self.write(EVENTS[10:])

    def check(self) -> None:
        """Compare the output with the input, byte for byte."""
        expected: dict[str, list[bytes]] = {}
        for number, line in enumerate(EVENTS):
            if number != 4:
                name = f"audit-{NAMESPACES[number % 3] or '_none'}.202611230{5 + number // 9}.log.gz"
                expected.setdefault(name, []).append(line + b"\n")
        found = {path.name: gzip.decompress(path.read_bytes()) for path in self.out.glob("*.gz")}
        assert found == {name: b"".join(lines) for name, lines in expected.items()}
        good = [line + b"\n" for number, line in enumerate(EVENTS) if number != 4]
        assert (self.out / "all.log").read_bytes() == b"".join(good)
        rejected = (self.state / "dead-letter.jsonl").read_text().splitlines()
        assert [json.loads(line)["event"] for line in rejected] == ["broken"]

    def damage_newest(self) -> None:
        """A bad block takes the newest generation of the checkpoint, if there is one before it."""
        if (self.state / PREVIOUS).exists() and (self.state / CURRENT).exists():
            (self.state / CURRENT).write_bytes(bytes(300))

    def check_committed(self) -> None:
        """Every file is valid as far as the checkpoint goes, before any recovery."""
        state = self.load()
        for path, length in (state.sinks.get("file", {}) if state else {}).items():
            if length:
                gzip.decompress(Path(path).read_bytes()[:length])


def lives(tmp_path: Path, power_cut: bool, then: Callable[[World, int], None]) -> int:
    """Let a first life die at each operation in turn; `then` says what follows. Gives the number of operations."""
    for operation in range(1, 1000):
        world = World(tmp_path / str(operation), seed=operation)
        finished = world.live(FaultyDisk(operation, seed=world.seed), power_cut=power_cut)
        world.check_committed()
        then(world, operation)
        world.check()
        if finished:
            return operation - 1
    raise AssertionError("it never ran to its end")


def finish(world: World, _: int) -> None:
    world.go_on_writing()
    world.run(Disk())


def test_death_at_every_operation_where_the_file_system_is_synced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(World, "max_open_files", 1)
    assert lives(tmp_path, True, finish) > 50


@pytest.mark.parametrize("power_cut", [True, False])
def test_death_at_every_operation_loses_nothing_and_repeats_nothing(tmp_path: Path, power_cut: bool) -> None:
    operations = lives(tmp_path, power_cut, finish)
    assert operations > 50


@pytest.mark.parametrize("power_cut", [True, False])
def test_death_at_every_operation_and_damage_of_the_newest_checkpoint_change_nothing(
    tmp_path: Path, power_cut: bool
) -> None:
    def damage(world: World, operation: int) -> None:
        world.damage_newest()
        finish(world, operation)

    lives(tmp_path, power_cut, damage)


@pytest.mark.parametrize("second", range(1, 25, 4))
def test_a_second_death_during_recovery_changes_nothing(tmp_path: Path, second: int) -> None:
    def die_again(world: World, operation: int) -> None:
        world.go_on_writing()
        world.live(FaultyDisk(second, seed=operation), power_cut=True)
        world.check_committed()
        world.run(Disk())

    lives(tmp_path, True, die_again)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_an_error_at_every_operation_loses_nothing_and_repeats_nothing(tmp_path: Path, error: int) -> None:
    for operation in range(1, 1000):
        world = World(tmp_path / str(operation), seed=operation)
        finished = world.live(FaultyDisk(operation, error=error, seed=operation), power_cut=False)
        finish(world, operation)
        world.check()
        if finished:
            return
    raise AssertionError("it never ran to its end")


def test_a_disk_that_is_full_for_a_while_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace.pipeline.BACKOFF", (0.001,))
    size = sum(len(line) + 1 for line in EVENTS) - len(b"broken\n")
    for operation in range(5, 60, 5):
        world = World(tmp_path / str(operation), seed=operation)
        world.write(EVENTS)
        stop = threading.Event()
        pipeline = world.pipeline(FaultyDisk(operation, error=errno.ENOSPC, failures=7, seed=operation))
        runner = threading.Thread(target=pipeline.run, args=(stop,))
        runner.start()
        output = world.out / "all.log"
        while runner.is_alive() and not (output.exists() and output.stat().st_size == size):
            stop.wait(0.002)
        stop.set()
        runner.join()
        assert pipeline.counts.recoveries > 0
        world.check()
