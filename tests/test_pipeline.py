"""The loop: order, commits, recovery, and what each kind of failure does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tailrace.batch import Batch, Position
from tailrace.checkpoint import Checkpoint, generations
from tailrace.context import Clock, Context
from tailrace.deadletter import FILE as DEAD_LETTER_FILE
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.records import Record
from tailrace.stage import BadEvent, Damaged, Filter, Payload, RecordFilter, Retry, Sink, Source
from tailrace.testing import ListSink, ListSource

LINES = [b'{"n":%d,"verb":"%s"}' % (n, [b"get", b"list", b"watch"][n % 3]) for n in range(20)]


class HandClock(Clock):
    """A clock that moves by `step` at each look."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0


class VerbTag(Filter, kw_only=True):
    def reads(self) -> Iterable[str]:
        return ["verb"]

    def apply(self, batch: Batch) -> None:
        batch.tags = [f"audit.{verb}" for verb in batch["verb"]]


class DropEven(Filter, kw_only=True):
    def reads(self) -> Iterable[str]:
        return ["n"]

    def apply(self, batch: Batch) -> None:
        batch.keep([n % 2 == 1 for n in batch["n"]])


class Mark(RecordFilter, kw_only=True):
    refuse: int = -1

    def process(self, record: Record) -> Record | None:
        if record["n"] == self.refuse:
            raise BadEvent("refused")
        record["marked"] = True
        return record


class Buggy(Filter, kw_only=True):
    def apply(self, batch: Batch) -> None:
        raise KeyError("bug")


class FailingSink(ListSink, kw_only=True):
    """Fails its first `failures` flushes after having written, as a disk may."""

    failures: int = 1
    error: type[Exception] = Retry

    def flush(self) -> Position:
        position = super().flush()
        if self.failures:
            self.failures -= 1
            raise self.error("the disk is on fire")
        return position


def pipeline(
    directory: Path,
    lines: list[bytes] = LINES,
    filters: Iterable[Filter] = (),
    clock: Clock | None = None,
    commit_bytes: int = 60,
    **sinks: Sink,
) -> Pipeline:
    context = Context(pipeline="test", state_dir=directory / "state", clock=clock or Clock())
    return Pipeline(context, ListSource(lines=lines), list(filters), sinks, commit_bytes=commit_bytes)


def run(made: Pipeline) -> Pipeline:
    made.run(threading.Event(), once=True)
    return made


def dead_letters(directory: Path) -> list[dict[str, Any]]:
    text = (directory / "state" / DEAD_LETTER_FILE).read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_events_arrive_once_in_order_and_untouched(tmp_path: Path) -> None:
    sink = ListSink()
    counts = run(pipeline(tmp_path, out=sink)).counts
    assert sink.written == LINES
    assert (counts.events_in, counts.events_out, counts.dropped, counts.rejected) == (20, 20, 0, 0)
    assert counts.bytes_in == sum(map(len, LINES)) + 20
    assert sink.published == 20


class SlowSink(ListSink, kw_only=True):
    """Takes `seconds` for each flush, and remembers how many events each one had."""

    seconds: float
    holds: int | None = 0

    def held(self) -> int | None:
        return self.holds

    def flush(self) -> Position:
        assert isinstance(self.context.clock, HandClock)
        self.context.clock.now += self.seconds
        before = len(self.written)
        position = super().flush()
        self.flushed = [*getattr(self, "flushed", []), len(self.written) - before]
        return position


def test_slow_commits_hold_more_events_but_not_without_bound(tmp_path: Path) -> None:
    quick, slow = SlowSink(seconds=0.0), SlowSink(seconds=10.0)
    run(pipeline(tmp_path / "quick", clock=HandClock(), out=quick))
    run(pipeline(tmp_path / "slow", [*LINES, *LINES], clock=HandClock(), out=slow))
    assert quick.flushed == [3, 3, 3, 3, 3, 3, 2]  # 60 bytes
    assert slow.flushed == [3, 24, 13]  # the first took long: then up to 480 bytes


def test_slow_commits_hold_no_more_events_than_sinks_can_take_into_memory(tmp_path: Path) -> None:
    unknown, full = SlowSink(seconds=10.0, holds=None), SlowSink(seconds=10.0, holds=135)
    run(pipeline(tmp_path / "unknown", clock=HandClock(), out=unknown))
    run(pipeline(tmp_path / "full", clock=HandClock(), out=full))
    assert unknown.flushed == [3, 9, 6, 2]  # it may hold all of it: up to 135 bytes
    assert full.flushed == [3, 3, 3, 3, 3, 3, 2]


def test_a_commit_is_due_once_four_times_as_much_time_went_by_as_the_last_one_took(tmp_path: Path) -> None:
    sink = SlowSink(seconds=0.625)
    run(pipeline(tmp_path, clock=HandClock(step=2.5), out=sink))
    assert sink.flushed == [3, 9, 8]


def test_a_second_run_goes_on_where_the_first_one_ended(tmp_path: Path) -> None:
    first, second = ListSink(), ListSink()
    run(pipeline(tmp_path, LINES[:7], out=first))
    second.written = list(first.written)
    run(pipeline(tmp_path, out=second))
    assert second.written == LINES


def test_a_bad_line_costs_only_itself_and_is_kept_with_its_place(tmp_path: Path) -> None:
    lines = [*LINES[:4], b'{"n":', b"\xff\x00", *LINES[4:]]
    sink = ListSink()
    made = run(pipeline(tmp_path, lines, [VerbTag()], out=sink))
    assert sink.written == LINES
    assert made.counts.rejected == 2
    first, second = dead_letters(tmp_path)
    assert first["event"] == '{"n":'
    assert first["origin"] == {"path": "memory"}
    assert first["offset"] == sum(len(line) + 1 for line in LINES[:4])
    assert "not JSON" in first["reason"]
    assert second["event_base64"] == "/wA="


def test_a_commit_says_once_how_many_events_it_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = [b"bad %d" % number for number in range(50)]
    run(pipeline(tmp_path, [*LINES, *bad], [VerbTag()], commit_bytes=1 << 20, out=ListSink()))
    (said,) = caplog.records
    assert said.message == "events were put into the dead letter"
    details = vars(said)
    assert details["events"] == 50
    assert details["first_path"] == "memory"
    assert details["first_offset"] == sum(map(len, LINES)) + 20
    assert "not JSON" in details["first_reason"]


def test_an_event_that_a_filter_refuses_goes_to_the_dead_letter_as_it_was_read(tmp_path: Path) -> None:
    sink = ListSink()
    run(pipeline(tmp_path, filters=[Mark(refuse=3)], out=sink))
    assert len(sink.written) == 19
    assert json.loads(sink.written[0]) == {"n": 0, "verb": "get", "marked": True}
    assert [(each["event"], each["reason"]) for each in dead_letters(tmp_path)] == [(LINES[3].decode(), "refused")]


def test_what_a_filter_drops_is_counted(tmp_path: Path) -> None:
    sink = ListSink()
    counts = run(pipeline(tmp_path, filters=[DropEven(), VerbTag()], out=sink)).counts
    assert sink.written == LINES[1::2]
    assert (counts.dropped, counts.events_out) == (10, 10)


def test_dropping_everything_still_moves_the_position(tmp_path: Path) -> None:
    class DropAll(Filter, kw_only=True):
        def apply(self, batch: Batch) -> None:
            batch.keep([False] * len(batch))

    sink = ListSink()
    made = run(pipeline(tmp_path, filters=[DropAll(), VerbTag()], out=sink))
    assert sink.written == []
    state = Checkpoint(made.context).load()
    assert state is not None
    assert state.source == {"next": 20}


def test_match_sends_only_matching_events_through_a_filter_and_keeps_the_order(tmp_path: Path) -> None:
    sink = ListSink()
    run(pipeline(tmp_path, filters=[VerbTag(), Mark(match="audit.list"), DropEven(match="nothing")], out=sink))
    records = [json.loads(line) for line in sink.written]
    assert [record["n"] for record in records] == list(range(20))
    assert [record["n"] for record in records if "marked" in record] == list(range(1, 20, 3))
    assert sink.written[0] == LINES[0]


def test_match_on_a_sink_selects_by_tag(tmp_path: Path) -> None:
    lists, rest = ListSink(match="audit.list"), ListSink(match="{audit.get,audit.watch}")
    run(pipeline(tmp_path, filters=[VerbTag()], lists=lists, rest=rest))
    assert lists.written == LINES[1::3]
    assert sorted(lists.written + rest.written) == sorted(LINES)
    assert set(lists.tags) == {"audit.list"}


def test_a_sink_is_not_bothered_with_batches_that_it_does_not_match(tmp_path: Path) -> None:
    class Counting(ListSink, kw_only=True):
        def encode(self, batch: Batch) -> Payload:
            assert len(batch) > 0
            return super().encode(batch)

    nothing, everything = Counting(match="nothing"), Counting(match="audit.*")
    run(pipeline(tmp_path, filters=[VerbTag()], nothing=nothing, everything=everything))
    assert nothing.written == []
    assert everything.written == LINES


@pytest.mark.parametrize("error", [Retry, OSError])
def test_a_failing_sink_is_recovered_from_without_loss_or_repetition(tmp_path: Path, error: type[Exception]) -> None:
    sink, other = FailingSink(failures=2, error=error), ListSink()
    stop = threading.Event()

    class Stopper(ListSink, kw_only=True):
        def commit(self, position: Position) -> None:
            super().commit(position)
            if position["length"] == len(LINES):
                stop.set()

    stopper = Stopper()
    lines = [*LINES[:5], b"bad", *LINES[5:]]
    made = pipeline(tmp_path, lines, [VerbTag()], bad=sink, good=other, stop=stopper)
    made.run(stop)
    assert sink.written == other.written == stopper.written == LINES
    assert made.counts.recoveries == 2
    assert len(dead_letters(tmp_path)) == 1


def test_with_once_the_first_failure_is_final_and_says_that_nothing_is_lost(tmp_path: Path) -> None:
    made = pipeline(tmp_path, out=FailingSink())
    with pytest.raises(PipelineFailed, match="the disk is on fire; nothing is lost: run it again"):
        run(made)


def test_an_operating_system_error_is_reported_with_its_path(tmp_path: Path) -> None:
    class NoSpace(ListSink, kw_only=True):
        def flush(self) -> Position:
            raise OSError(28, "No space left on device", "/out/x.gz")

    with pytest.raises(PipelineFailed, match=r"No space left on device: /out/x.gz"):
        run(pipeline(tmp_path, out=NoSpace()))


def test_a_bug_in_a_filter_stops_the_pipeline_uncommitted_and_names_the_filter(tmp_path: Path) -> None:
    sink = ListSink()
    made = pipeline(tmp_path, filters=[Buggy()], out=sink)
    with pytest.raises(KeyError) as caught:
        run(made)
    assert caught.value.__notes__ == ["in filter Buggy, on <Batch of 3 events from {'path': 'memory'} at 0>"]
    assert Checkpoint(made.context).load() is None
    assert sink.written == []


def test_damage_stops_the_pipeline(tmp_path: Path) -> None:
    class Lost(ListSink, kw_only=True):
        def open(self, position: Position | None) -> None:
            raise Damaged("x.gz is gone")

    with pytest.raises(PipelineFailed, match=r"x\.gz is gone"):
        run(pipeline(tmp_path, out=Lost()))


def test_the_source_may_give_up_only_what_the_generation_before_covers(tmp_path: Path) -> None:
    given_up: list[tuple[int, int]] = []

    class Watching(ListSource, kw_only=True):
        def commit(self, position: Position) -> None:
            state = Checkpoint(self.context).load()
            assert state is not None
            assert state.source is not None
            given_up.append((position["next"], state.source["next"]))

    context = Context(pipeline="test", state_dir=tmp_path)
    made = Pipeline(context, Watching(lines=LINES, batch_size=5), [], {"out": ListSink()}, commit_bytes=1)
    run(made)
    assert given_up == [(5, 10), (10, 15), (15, 20)]


def test_what_is_announced_stands_in_both_generations_before_anything_is_written_and_costs_nothing_later(
    tmp_path: Path,
) -> None:
    class Announcing(ListSink, kw_only=True):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.seen: list[list[tuple[int, bool]]] = []

        def prepare(self) -> Position:
            return {"file": 0} if len(self.seen) in (0, 2) else {}

        def flush(self) -> Position:
            stored = [each.state for each in generations(self.context.state_dir)]
            self.seen.append([(state.generation, "file" in state.sinks["out"]) for state in stored if state])
            return super().flush()

    sink = Announcing()
    context = Context(pipeline="test", state_dir=tmp_path)
    run(Pipeline(context, ListSource(lines=LINES, batch_size=5), [], {"out": sink}, commit_bytes=1))
    assert sink.seen == [
        [(2, True), (1, True)],
        [(3, True), (2, True)],  # nothing was announced: as the commit before left it
        [(6, True), (5, True)],
        [(7, True), (6, True)],
    ]


def test_a_damaged_checkpoint_falls_back_one_generation_and_the_output_is_still_exact(tmp_path: Path) -> None:
    sink = ListSink()
    made = run(pipeline(tmp_path, LINES[:12], out=sink))
    checkpoint = made.context.state_dir / "checkpoint.json"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-20])
    again = ListSink()
    again.written = list(sink.written)
    run(pipeline(tmp_path, out=again))
    assert again.written == LINES


def test_a_batch_without_events_has_its_position_recorded_at_once(tmp_path: Path) -> None:
    class Introduces(ListSource, kw_only=True):
        def open(self, position: Position | None) -> None:
            super().open(position)
            self.first = position is None

        def read(self, timeout: float) -> Batch | None:
            if self.first:
                self.first = False
                return Batch([], position={"next": 0})
            raise Retry("it dies before its first event")

    context = Context(pipeline="test", state_dir=tmp_path)
    made = Pipeline(context, Introduces(lines=LINES), [], {"out": ListSink()})
    with pytest.raises(PipelineFailed):
        run(made)
    state = Checkpoint(context).load()
    assert state is not None
    assert state.source == {"next": 0}


class Endless(Source, kw_only=True):
    """Gives one event, then nothing, and moves the clock as if it had waited."""

    def open(self, position: Position | None) -> None:
        self.asked: list[float] = []
        self.gave = 0

    def read(self, timeout: float) -> Batch | None:
        self.asked.append(timeout)
        clock = self.context.clock
        assert isinstance(clock, HandClock)
        if self.gave < 1:
            self.gave += 1
            return Batch([b"{}"], position={"next": self.gave})
        clock.now += timeout
        return None


class StopAtCommit(Sink, kw_only=True):
    """Sets the event `stop` when told to publish."""

    def __post_init__(self) -> None:
        self.stop = threading.Event()
        self.committed_at = 0.0

    def open(self, position: Position | None) -> None:
        pass

    def encode(self, batch: Batch) -> Payload:
        return None

    def write(self, payload: Payload) -> None:
        pass

    def flush(self) -> Position:
        return {}

    def commit(self, position: Position) -> None:
        self.committed_at = self.context.clock.monotonic()
        self.stop.set()


def test_a_quiet_source_is_committed_quickly(tmp_path: Path) -> None:
    sink, clock = StopAtCommit(), HandClock()
    source = Endless()
    context = Context(pipeline="test", state_dir=tmp_path, clock=clock)
    Pipeline(context, source, [], {"out": sink}).run(sink.stop)
    assert sink.committed_at - 1000.0 < 0.2


class Busy(Endless, kw_only=True):
    """Always has another event, 10 ms after the one before."""

    def read(self, timeout: float) -> Batch | None:
        clock = self.context.clock
        assert isinstance(clock, HandClock)
        clock.now += 0.01
        self.gave += 1
        return Batch([b"{}"], position={"next": self.gave})


def test_a_busy_source_is_committed_each_interval(tmp_path: Path) -> None:
    sink, clock = StopAtCommit(), HandClock()
    source = Busy()
    context = Context(pipeline="test", state_dir=tmp_path, clock=clock)
    made = Pipeline(context, source, [], {"out": sink}, commit_interval=0.5)
    made.run(sink.stop)
    assert source.gave == pytest.approx(51, abs=2)
    assert made.counts.commits == 1


def test_an_idle_pipeline_waits_and_writes_nothing(tmp_path: Path) -> None:
    stop = threading.Event()

    class Silent(Endless, kw_only=True):
        def read(self, timeout: float) -> Batch | None:
            self.asked.append(timeout)
            if len(self.asked) == 5:
                stop.set()
            return None

    source = Silent()
    context = Context(pipeline="test", state_dir=tmp_path)
    Pipeline(context, source, [], {"out": ListSink()}).run(stop)
    assert all(timeout > 0.1 for timeout in source.asked)
    assert list(tmp_path.iterdir()) == []


def test_stop_commits_what_was_read(tmp_path: Path) -> None:
    stop = threading.Event()

    class StopAfterSeven(ListSource, kw_only=True):
        def read(self, timeout: float) -> Batch | None:
            batch = super().read(timeout)
            if self._next >= 7:
                stop.set()
            return batch

    sink = ListSink()
    context = Context(pipeline="test", state_dir=tmp_path)
    Pipeline(context, StopAfterSeven(lines=LINES, batch_size=7), [], {"out": sink}).run(stop)
    assert sink.written == LINES[:7]
    assert sink.published == 7


def test_stop_ends_the_wait_before_a_recovery(tmp_path: Path) -> None:
    stop = threading.Event()

    class Broken(ListSink, kw_only=True):
        def flush(self) -> Position:
            stop.set()
            raise Retry

    made = pipeline(tmp_path, out=Broken())
    made.run(stop)
    assert made.counts.recoveries == 1


class Echo(RecordFilter, kw_only=True):
    """Changes nothing, or adds a key."""

    key: str = ""

    def process(self, record: Record) -> Record | None:
        return record | {self.key: 1} if self.key else record


@pytest.mark.parametrize("key", ["", "seen"])
def test_what_cannot_be_read_is_rejected_alike_whether_the_first_filter_takes_events_whole_or_not(
    tmp_path: Path, key: str
) -> None:
    lines = [b'{"verb":"get"}', b"no JSON", b"[]", b"", b'{"verb":"\\ud800"}', b'{"verb":1e400}', b'{"verb":{"a":1}}']
    found = []
    for name, filters in (("first", [Echo(key=key), VerbTag()]), ("second", [VerbTag(), Echo(key=key)])):
        sink = ListSink()
        run(pipeline(tmp_path / name, lines, filters, out=sink))
        found.append(
            (sink.written, sink.tags, [(each["event"], each["reason"]) for each in dead_letters(tmp_path / name)])
        )
    assert found[0] == found[1]
    assert len(found[0][0]) >= 2
    assert len(found[0][2]) >= 3


class Courier(ListSink, kw_only=True):
    """Brings its lines somewhere else beside the commits, one errand for each commit of a run to the end."""

    errands: int = 2
    left: list[str] = []

    def is_due(self) -> bool:
        return self.errands > 0

    def flush(self) -> Position:
        self.errands -= not self._pending
        return {**super().flush(), "errands": self.errands}

    def finish(self, stop: threading.Event) -> Iterator[None]:
        while self.errands:
            yield

    def incomplete(self) -> Sequence[str]:
        return self.left


def test_what_a_sink_does_beside_the_commits_is_completed_and_recorded_at_the_end_of_a_run(tmp_path: Path) -> None:
    sink = Courier(left=["one letter is left"])
    made = run(pipeline(tmp_path, out=sink))
    assert sink.errands == 0
    state = Checkpoint(made.context).load()
    assert state is not None
    assert state.sinks["out"] == {"length": 20, "errands": 0}
    assert made.incomplete() == [("output", "one letter is left")]


def test_a_sink_that_has_something_to_record_gets_commits_without_events(tmp_path: Path) -> None:
    sink, stop = Courier(errands=3), threading.Event()

    class Silent(Endless, kw_only=True):
        def read(self, timeout: float) -> Batch | None:
            self.gave += 1
            if self.gave == 10:
                stop.set()
            return None

    made = Pipeline(Context(pipeline="test", state_dir=tmp_path), Silent(), [], {"out": sink})
    made.run(stop)
    assert sink.errands == 0
    assert made.counts.commits == 3
