"""Replay: events of the dead letter go through their pipeline again, each exactly once, whenever it dies."""

from __future__ import annotations

import errno
import gzip
import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tailrace.batch import Batch
from tailrace.checkpoint import Checkpoint, State
from tailrace.context import Context
from tailrace.deadletter import FILE as DEAD_LETTER
from tailrace.durable import Disk
from tailrace.faults import Crash, FaultyDisk
from tailrace.letters import REPLAY, REPLAY_FILE
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.replay import Cursor, begin, finish
from tailrace.stage import Damaged, Filter
from tailrace_plugins.filters.rewrite_tag import RewriteTag
from tailrace_plugins.sinks.file import File
from tailrace_plugins.sources.tail import Tail

LIMIT = 60  # bytes of a line, at first


class Refuse(Filter, kw_only=True):
    """Rejects events by their number, after the tag was rewritten."""

    numbers: list[int]

    def reads(self) -> Iterable[str]:
        return ["n"]

    def apply(self, batch: Batch) -> None:
        for index, number in enumerate(batch["n"]):
            if number in self.numbers:
                batch.reject(index, f"refused by {self.numbers}")


def event(number: int, padding: int = 0) -> bytes:
    return b'{"n":%d,"ns":"%s"%s}' % (
        number,
        b"ab"[number % 2 :][:1],
        b',"x":"%s"' % (b"x" * padding) if padding else b"",
    )


FIRST = [event(0), event(1), event(2), b"broken", event(4, 150), event(5), event(6), event(7, 100)]
OTHER = [event(10), event(11, 130), event(12)]
LATER = [event(8), event(9), event(13)]


class World:
    """Two logs, their pipeline, and what comes out of it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.out = directory / "out"
        self.state = directory / "state" / "audit"
        self.log = directory / "a.log"
        self.other = directory / "b.log"
        self.log.write_bytes(b"".join(line + b"\n" for line in FIRST))
        self.other.write_bytes(b"".join(line + b"\n" for line in OTHER))
        self.refused = [1, 2, 6, 9, 12]
        self.more = False

    def context(self, disk: Disk) -> Context:
        return Context(pipeline="audit", state_dir=self.state, disk=disk)

    def stages(self) -> tuple[list[Filter], dict[str, File]]:
        filters: list[Filter] = [RewriteTag(tag="{tag}.{ns}"), Refuse(numbers=self.refused)]
        sinks = {
            "file": File(path=f"{self.out}/{{tag}}.log.gz"),
            "all": File(path=f"{self.out}/all.log"),
        }
        return filters, sinks

    def run(self) -> None:
        paths = [str(self.log), str(self.other)]
        source = Tail(paths=paths, tag="audit", block_bytes=LIMIT, max_line_bytes=LIMIT, watch=False)
        pipeline = Pipeline(self.context(FaultyDisk()), source, *self.stages())
        pipeline.run(threading.Event(), once=True)

    def replay(self, disk: Disk | None = None, limit: int | None = 1000) -> None:
        context = self.context(disk or FaultyDisk())
        source = begin(context, limit)
        if source is not None:
            filters, sinks = self.stages()
            pipeline = Pipeline(context, source, filters, {**sinks, REPLAY: Cursor(source=source)}, commit_bytes=1)
            pipeline.run(threading.Event(), once=True)
            finish(context)

    def load(self) -> State:
        state = Checkpoint(self.context(Disk())).load()
        assert state is not None
        return state

    def rewrite(self, data: bytes) -> None:
        """Change the dead letter as if it had been written so."""
        path = self.state / DEAD_LETTER
        path.write_bytes(data)
        state = self.load()
        state.sinks["dead-letter"][str(path)] = len(data)
        Checkpoint(self.context(Disk())).save(state)

    def letters(self) -> list[dict[str, object]]:
        path = self.state / DEAD_LETTER
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def rejected(self) -> list[object]:
        return [letter["event"] for letter in self.letters()]

    def written(self) -> list[bytes]:
        """Give what is in the one file; and the others must hold the same."""
        lines = (self.out / "all.log").read_bytes().splitlines()
        for name in ("a", "b"):
            split = gzip.decompress((self.out / f"audit.{name}.log.gz").read_bytes()).splitlines()
            assert split == [line for line in lines if json.loads(line)["ns"] == name]
        return lines


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.run()
    return made


def sort(lines: Iterable[bytes]) -> list[bytes]:
    return sorted(lines, key=lambda line: int(json.loads(line)["n"]))


def test_what_passes_after_a_fix_leaves_the_dead_letter_and_is_written_once(world: World) -> None:
    assert sort(world.written()) == [event(0), event(5), event(10)]
    source = world.load().source
    world.refused = [2]
    world.replay()
    assert sort(world.written()) == sort(set(FIRST + OTHER) - {b"broken", event(2)})
    assert world.rejected() == ["broken", event(2).decode()]
    assert world.load().source == source
    assert REPLAY not in world.load().sinks
    assert not (world.state / REPLAY_FILE).exists()


def test_what_fails_again_keeps_its_tag_and_place_and_has_the_new_reason(world: World) -> None:
    before = {letter["event"]: letter for letter in world.letters()}
    world.refused = [2]
    world.replay()
    broken, refused = world.letters()
    assert refused["reason"] == "refused by [2]"
    assert before[refused["event"]]["reason"] == "refused by [1, 2, 6, 9, 12]"
    assert (refused["tag"], refused["origin"]) == ("audit", {"path": str(world.log)})
    assert refused["offset"] == before[refused["event"]]["offset"] == 2 * len(event(0)) + 2
    assert (broken["reason"], broken["kind"]) == (before["broken"]["reason"], "not_json")


def test_a_line_that_is_still_too_long_goes_back_in_its_pieces(world: World) -> None:
    before = world.letters()
    world.refused = []
    world.replay(limit=140)
    assert {event(7, 100), event(1)} < set(world.written())
    left = world.letters()
    assert {letter["kind"] for letter in left} == {"not_json", "too_long"}
    assert [letter["event"] for letter in left] == [
        letter["event"]
        for letter in before
        if letter["event"] == "broken" or ("longer" in str(letter["reason"]) and int(str(letter["offset"])) < 250)
    ]
    world.replay(limit=None)
    assert sort(world.written()) == sort(set(FIRST + OTHER) - {b"broken"})
    assert world.rejected() == ["broken"]


def test_a_piece_whose_others_are_missing_goes_back_until_they_are_there(world: World) -> None:
    world.refused = []
    world.replay()
    with world.log.open("ab") as log:
        log.write(event(8, 140)[:130])
    world.run()
    started = len(world.letters())
    assert started == 3
    world.replay()
    assert len(world.letters()) == started
    with world.log.open("ab") as log:
        log.write(event(8, 140)[130:] + b"\n")
    world.run()
    world.replay()
    assert world.rejected() == ["broken"]
    assert event(8, 140) in world.written()


def test_a_line_that_is_no_envelope_is_kept_as_it_is(world: World) -> None:
    letter = world.state / DEAD_LETTER
    damaged = letter.read_bytes().replace(b'"event":"broken"', b'"other":"broken"')
    letter.write_bytes(damaged)
    world.refused = []
    for _ in range(2):
        world.replay()
        (left,) = world.letters()
        assert left["event"] == damaged.splitlines()[0].decode()
        assert left["kind"] == "damaged"
        assert left["reason"] == "no envelope of a rejected event: it holds no event"


def test_pieces_without_the_first_one_go_back(world: World) -> None:
    lines = (world.state / DEAD_LETTER).read_bytes().splitlines(keepends=True)
    first = next(line for line in lines if b'"part":"1"' in line and b"a.log" in line)
    lines.remove(first)
    world.rewrite(b"".join(lines))
    world.refused = []
    world.replay()
    assert [letter["offset"] for letter in world.letters()] == [
        json.loads(line)["offset"] for line in lines if b"broken" in line or (b"a.log" in line and b'"part":' in line)
    ][:3]


def test_what_a_source_found_damaged_in_its_own_storage_is_not_taken_for_an_event(world: World) -> None:
    data = (world.state / DEAD_LETTER).read_bytes()
    world.rewrite(data.replace(b'"kind":"filter"', b'"kind":"damaged"', 1))
    world.refused = []
    world.replay()
    kinds = {each["event"]: each["kind"] for each in world.letters()}
    assert kinds[event(1).decode()] == "damaged"
    assert event(1) not in world.written()


def test_an_empty_dead_letter_changes_nothing(world: World) -> None:
    (world.state / DEAD_LETTER).write_bytes(b"")
    checkpoint = Checkpoint(world.context(Disk()))
    state = world.load()
    state.sinks.pop("dead-letter")
    checkpoint.save(state)
    before = checkpoint.path.read_bytes()
    world.replay()
    assert checkpoint.path.read_bytes() == before


def test_a_pipeline_that_never_ran_has_nothing_to_replay(tmp_path: Path) -> None:
    assert begin(World(tmp_path).context(Disk()), None) is None


def test_a_directory_that_was_moved_can_be_replayed(world: World, tmp_path: Path) -> None:
    world.state = (world.state.parent).rename(tmp_path / "moved") / "audit"
    world.refused = []
    world.replay()
    world.replay()
    assert world.rejected() == ["broken"]
    assert sort(world.written()) == sort(set(FIRST + OTHER) - {b"broken"})


def test_a_replay_that_is_not_at_its_end_is_not_finished(world: World) -> None:
    context = world.context(Disk())
    source = begin(context, None)
    assert source is not None
    source.open(None)
    size = (world.state / REPLAY_FILE).stat().st_size
    assert source.lag() == size
    assert source.read(0.0) is not None
    assert 0 < source.lag() < size
    before = world.load()
    finish(context)
    assert world.load() == before
    assert (world.state / REPLAY_FILE).exists()


def test_a_dead_letter_that_is_not_as_recorded_is_not_replayed(world: World) -> None:
    path = world.state / DEAD_LETTER
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Damaged, match=f"{path} has .* are to be put through; restore it"):
        world.replay()
    assert not (world.state / REPLAY_FILE).exists()


def test_what_is_to_be_replayed_and_is_gone_is_told(world: World) -> None:
    begin(world.context(Disk()), None)
    (world.state / REPLAY_FILE).unlink()
    with pytest.raises(PipelineFailed, match=r"dead-letter\.replay\.jsonl has 0 bytes, but .* are to be put through"):
        world.replay()


# Death


def live(world: World, disk: FaultyDisk, *, power_cut: bool) -> bool:
    """Replay until the end (True), or until the disk kills the process."""
    try:
        world.replay(disk)
        return True
    except (Crash, PipelineFailed, OSError):
        return False
    finally:
        if power_cut:
            disk.lose_unsynced()
        else:
            disk.die()


def deaths(tmp_path: Path, power_cut: bool, then: Callable[[World, int], None]) -> int:
    """Let a replay die at each operation in turn; `then` says what follows. Gives the number of operations."""
    for operation in range(1, 1000):
        world = World(tmp_path / str(operation))
        world.run()
        world.refused = [2, 9]
        finished = live(world, FaultyDisk(operation, seed=operation), power_cut=power_cut)
        then(world, operation)
        world.replay()  # what was under way
        world.replay()  # what was rejected since
        lines = FIRST + OTHER + (LATER if world.more else [])
        assert sort(world.written()) == sort(set(lines) - {b"broken", event(2), event(9)})
        assert sorted(map(str, world.rejected())) == sorted(
            ["broken", event(2).decode(), *([event(9).decode()] if world.more else [])]
        )
        assert not (world.state / REPLAY_FILE).exists()
        if finished:
            return operation - 1
    raise AssertionError("it never ran to its end")


def run_the_pipeline(world: World, _: int) -> None:
    """Let the pipeline run in between, on a log that has grown."""
    world.more = True
    with world.log.open("ab") as log:
        log.write(b"".join(line + b"\n" for line in LATER))
    world.run()


@pytest.mark.parametrize("power_cut", [True, False])
@pytest.mark.parametrize("then", [lambda *_: None, run_the_pipeline], ids=["replay", "run"])
def test_death_at_every_operation_loses_nothing_and_repeats_nothing(
    tmp_path: Path, then: Callable[[World, int], None], power_cut: bool
) -> None:
    assert deaths(tmp_path, power_cut, then) > 80


@pytest.mark.parametrize("second", [7, 40])
def test_a_second_death_while_it_recovers_changes_nothing(tmp_path: Path, second: int) -> None:
    def die_again(world: World, operation: int) -> None:
        live(world, FaultyDisk(second, seed=operation), power_cut=True)

    deaths(tmp_path, True, die_again)


def test_a_full_disk_at_every_operation_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    for operation in range(1, 1000):
        world = World(tmp_path / str(operation))
        world.run()
        world.refused = [2]
        finished = live(world, FaultyDisk(operation, error=errno.ENOSPC, seed=operation), power_cut=False)
        world.replay()
        world.replay()
        assert sort(world.written()) == sort(set(FIRST + OTHER) - {b"broken", event(2)})
        assert sorted(map(str, world.rejected())) == ["broken", event(2).decode()]
        if finished:
            return
    raise AssertionError("it never ran to its end")


def test_the_generation_before_is_exact_at_any_time(tmp_path: Path) -> None:
    def damage(world: World, _: int) -> None:
        current = world.state / "checkpoint.json"
        if current.exists():
            current.write_bytes(b"damaged")
        world.run()

    assert deaths(tmp_path, False, damage) > 80
