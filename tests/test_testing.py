"""The contract checks: they pass good stages, and each catches the stage that breaks its contract."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tailrace.batch import Batch, Position
from tailrace.context import Clock, Context
from tailrace.records import Record
from tailrace.stage import BadEvent, EndOfInput, Filter, OptionError, Payload, RecordFilter, Sink, Source
from tailrace.testing import ListSink, ListSource, apply, check_filter, check_sink, check_source

LINES = [b'{"n":%d}' % number for number in range(7)] + [b"broken"]


class DropOdd(Filter, kw_only=True):
    def reads(self) -> Iterable[str]:
        return ["n"]

    def apply(self, batch: Batch) -> None:
        batch.keep([n is None or n % 2 == 0 for n in batch["n"]])


class Retag(Filter, kw_only=True):
    def reads(self) -> Iterable[str]:
        return ["n"]

    def apply(self, batch: Batch) -> None:
        batch.tags = [f"{tag}.{n}" for tag, n in zip(batch.tags, batch["n"], strict=True)]


class Label(RecordFilter, kw_only=True):
    """Drops 1, refuses 2, labels 3, replaces 4."""

    def process(self, record: Record) -> Record | None:
        if record["n"] == 1:
            return None
        if record["n"] == 2:
            record["half"] = "done"
            raise BadEvent("two")
        if record["n"] == 3:
            record["label"] = "three"
        return {"m": 4} if record["n"] == 4 else record


def test_apply_gives_lines_tags_and_rejects() -> None:
    outcome = apply([DropOdd(), Retag()], LINES, tag="audit")
    assert outcome.lines == [LINES[0], LINES[2], LINES[4], LINES[6]]
    assert outcome.tags == ["audit.0", "audit.2", "audit.4", "audit.6"]
    assert [reject.line for reject in outcome.rejects] == [b"broken"]


class Rename(Filter, kw_only=True):
    def writes(self) -> Iterable[str]:
        return ["n"]

    def apply(self, batch: Batch) -> None:
        batch["n"] = ["m"] * len(batch)


def test_apply_does_not_give_an_event_that_it_says_was_rejected() -> None:
    bom = b'\xef\xbb\xbf{"n":1}'
    outcome = apply(Rename(), [bom, LINES[1]])
    assert [reject.line for reject in outcome.rejects] == [bom]
    assert outcome.lines == [b'{"n":"m"}']


def test_a_record_filter_changes_drops_and_refuses_event_by_event() -> None:
    outcome = apply(Label(), [b'{ "n": 0 }', *LINES[1:5], b"broken", b"[]", b'{"n":9}'])
    assert outcome.lines == [b'{ "n": 0 }', b'{"n":3,"label":"three"}', b'{"m":4}', b'{"n":9}']
    assert [(reject.line, reject.reason) for reject in outcome.rejects] == [
        (b"broken", "not JSON: Expecting value at column 1"),
        (b"[]", "not a JSON object but an array"),
        (LINES[2], "two"),
    ]


@pytest.mark.parametrize("stage", [DropOdd(), Retag(), Label()])
def test_good_filters_pass(stage: Filter) -> None:
    check_filter(stage, LINES)


class Unsteady(Filter, kw_only=True):
    def apply(self, batch: Batch) -> None:
        self.seen = getattr(self, "seen", 0) + 1
        batch["seen"] = [self.seen] * len(batch)


class FirstOnly(Filter, kw_only=True):
    def apply(self, batch: Batch) -> None:
        batch.keep([index == 0 for index in range(len(batch))])


class NeighbourTag(Filter, kw_only=True):
    def apply(self, batch: Batch) -> None:
        batch.tags = [f"{len(batch)}"] * len(batch)


class NeighbourReject(Filter, kw_only=True):
    def apply(self, batch: Batch) -> None:
        for index in range(len(batch)):
            batch.reject(index, f"one of {len(batch)}")


class FromNothing(Filter, kw_only=True):
    def apply(self, batch: Batch) -> None:
        if not len(batch):
            batch.lines = [b"{}"]


class Undeclared(Filter, kw_only=True):
    def apply(self, batch: Batch) -> None:
        assert batch["n"] is not None


@pytest.mark.parametrize(
    ("stage", "complaint"),
    [
        (Unsteady(), "the same batch gave two results"),
        (FirstOnly(), "a filter looks at no neighbour"),
        (NeighbourTag(), "tags depend on neighbours"),
        (NeighbourReject(), "rejects depend on neighbours"),
        (FromNothing(), "an empty batch did not stay empty"),
        (Undeclared(), r"reads \['n'\] but names them in neither"),
    ],
)
def test_filters_that_break_their_contract_are_caught(stage: Filter, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_filter(stage, LINES[:7])


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_list_source_keeps_the_contract(batch_size: int) -> None:
    check_source(lambda: ListSource(lines=LINES, batch_size=batch_size), LINES)
    check_source(lambda: ListSource(lines=[]), [])


def test_the_list_source_says_where_its_lines_are_and_how_many_are_left() -> None:
    source = ListSource(lines=LINES, tag="audit")
    source.open({"next": 3})
    assert source.lag() == sum(len(line) + 1 for line in LINES[3:])
    batch = source.read(0)
    assert batch is not None
    assert (batch.offset, batch.tags, batch.position) == (3 * 8, ["audit"] * 3, {"next": 6})
    source.read(0)
    assert source.lag() == 0
    with pytest.raises(EndOfInput):
        source.read(0)


class Forgetful(ListSource, kw_only=True):
    def open(self, position: Position | None) -> None:
        super().open(None)


class Skipping(ListSource, kw_only=True):
    def read(self, timeout: float) -> Batch | None:
        batch = super().read(timeout)
        if batch is not None:
            batch.keep([True] * (len(batch) - 1) + [False])
        return batch


class Quiet(ListSource, kw_only=True):
    """Says that there is nothing now instead of nothing ever."""

    def read(self, timeout: float) -> Batch | None:
        try:
            return super().read(timeout)
        except EndOfInput:
            return None


def test_sources_that_break_their_contract_are_caught() -> None:
    with pytest.raises(AssertionError, match="opened at its position after 3 events, it did not go on there"):
        check_source(lambda: Forgetful(lines=LINES), LINES)
    with pytest.raises(AssertionError, match="gave 5 events where 8 were expected"):
        check_source(lambda: Skipping(lines=LINES), LINES)
    check_source(lambda: Quiet(lines=LINES), LINES)


class PlacedSink(ListSink, kw_only=True):
    """A list sink over a list that outlives it, as a file would."""

    place: list[bytes]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.written = self.place


class Deaf(PlacedSink, kw_only=True):
    """Does not cut back."""

    def open(self, position: Position | None) -> None:
        super().open({"length": len(self.written)})


class Losing(PlacedSink, kw_only=True):
    def write(self, payload: Payload) -> None:
        super().write(payload[1:])


class Chatty(PlacedSink, kw_only=True):
    """Writes something even when there is nothing."""

    def flush(self) -> Position:
        if not self._pending:
            self.written.append(b"nothing happened")
        return super().flush()


def test_the_list_sink_keeps_the_contract() -> None:
    place: list[bytes] = []
    check_sink(lambda: PlacedSink(place=place), lambda: place, LINES)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (Losing, "what was committed is not what is there"),
        (Deaf, "the events are not there exactly once"),
        (Chatty, "a commit of nothing changed what is there"),
    ],
)
def test_sinks_that_break_their_contract_are_caught(kind: type[PlacedSink], complaint: str) -> None:
    place: list[bytes] = []
    with pytest.raises(AssertionError, match=complaint):
        check_sink(lambda: kind(place=place), lambda: place, LINES)


def test_the_list_sink_remembers_what_was_published() -> None:
    sink = ListSink()
    sink.open(None)
    sink.write(sink.encode(Batch([b"{}"], tag="t")))
    position = sink.flush()
    sink.commit(position)
    assert (sink.written, sink.tags, sink.published) == ([b"{}"], ["t"], 1)
    sink.open({"length": 0})
    assert (sink.written, sink.tags) == ([], [])


class Bare(Source, kw_only=True):
    pass


class BareSink(Sink, kw_only=True):
    pass


def test_what_a_stage_need_not_say_has_an_answer(tmp_path: Path) -> None:
    source, sink = Bare(), BareSink()
    context = Context(pipeline="t", state_dir=tmp_path)
    source.attach(context)
    assert source.context is context
    answers: list[Any] = [source.reads(), source.writes(), source.incomplete(), source.lag(), sink.prepare()]
    assert answers == [(), (), (), 0, {}]
    source.commit({})
    source.wake()
    source.close()


def test_an_option_error_names_its_option() -> None:
    error = OptionError("path", "the path is a directory")
    assert (error.option, str(error)) == ("path", "the path is a directory")


def test_a_context_has_a_clock_and_a_log_of_its_pipeline(tmp_path: Path) -> None:
    context = Context(pipeline="audit", state_dir=tmp_path)
    assert context.log is logging.getLogger("tailrace.audit")
    clock = Clock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.time() > 1_700_000_000
