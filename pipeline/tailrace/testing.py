"""For authors of stages: sources and sinks in memory, and checks of the contracts that every stage must keep.

    from tailrace.testing import apply, check_filter

    def test_answers_with_404_are_dropped():
        assert apply(Drop404(), [b'{"responseStatus":{"code":404}}']).lines == []

    def test_contract():
        check_filter(Drop404(), sample_lines)

`FaultyDisk` (of `tailrace.faults`) is a disk that fails when told to. The checks raise AssertionError, which says
what was broken.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tailrace.batch import Batch, Position
from tailrace.checkpoint import merge
from tailrace.context import Context
from tailrace.faults import Crash, FaultyDisk
from tailrace.fields import Projection
from tailrace.reject import Reject
from tailrace.stage import EndOfInput, Filter, Payload, Sink, Source

__all__ = [
    "Crash",
    "FaultyDisk",
    "ListSink",
    "ListSource",
    "Outcome",
    "apply",
    "check_filter",
    "check_remembering_filter",
    "check_sink",
    "check_source",
]


class ListSource(Source, kw_only=True):
    """A source over lines in memory; its position is the number of lines given."""

    lines: list[bytes]
    tag: str = "test"
    batch_size: int = 3

    def __post_init__(self) -> None:
        """Start at the first line, for `lag` may be asked before `open`."""
        self._next = 0

    def open(self, position: Position | None) -> None:
        """Start at the position's line."""
        self._next = int(position["next"]) if position else 0

    def read(self, timeout: float) -> Batch | None:
        """Give the next few lines."""
        start, self._next = self._next, min(self._next + self.batch_size, len(self.lines))
        if start == self._next:
            raise EndOfInput
        return Batch(
            self.lines[start : self._next],
            tag=self.tag,
            position={"next": self._next},
            origin={"path": "memory"},
            offset=sum(map(len, self.lines[:start])) + start,
        )

    def lag(self) -> int:
        """Count the bytes not given yet."""
        return sum(len(line) + 1 for line in self.lines[self._next :])


class ListSink(Sink, kw_only=True):
    """A sink into memory: `written` is what has been flushed, cut back at `open` as a file would be."""

    def __post_init__(self) -> None:
        """Start empty; what is flushed outlives `close`, like a file."""
        self.written: list[bytes] = []
        self.tags: list[str] = []
        self.published = 0

    def open(self, position: Position | None) -> None:
        """Cut back to the position."""
        length = int(position["length"]) if position else 0
        del self.written[length:], self.tags[length:]
        self._pending: list[tuple[bytes, str]] = []

    def encode(self, batch: Batch) -> Payload:
        """Pair lines and tags."""
        return list(zip(batch.encoded(), batch.tags, strict=True))

    def write(self, payload: Payload) -> None:
        """Keep until the flush."""
        self._pending += payload

    def flush(self) -> Position:
        """Move what is pending over to what is written."""
        self.written += [line for line, _ in self._pending]
        self.tags += [tag for _, tag in self._pending]
        self._pending = []
        return {"length": len(self.written)}

    def commit(self, position: Position) -> None:
        """Remember how far the sink was told to publish."""
        self.published = position["length"]


class Outcome(NamedTuple):
    """What filters made of some lines."""

    lines: list[bytes]
    tags: list[str]
    rejects: list[Reject]


def apply(stages: Filter | Sequence[Filter], lines: Sequence[bytes], tag: str = "test") -> Outcome:
    """Run lines through filters as a pipeline does, and give what comes out."""
    batch = Batch(list(lines), tag=tag)
    return _apply([stages] if isinstance(stages, Filter) else stages, batch)


def _apply(stages: Sequence[Filter], batch: Batch) -> Outcome:
    batch.project(
        Projection(
            [name for stage in stages for name in stage.reads()],
            [name for stage in stages for name in stage.writes()],
        )
    )
    rejects = batch.settle()
    for stage in stages:
        stage.apply(batch)
        rejects += batch.settle()
    batch.encoded()
    rejects += batch.settle()  # what cannot be written as it was changed
    return Outcome(list(batch.encoded()), batch.tags, rejects)


def check_filter(stage: Filter, lines: Sequence[bytes], tag: str = "test") -> None:
    """Check that a filter treats each event for itself, the same each time, and reads only what it declares."""
    whole = apply(stage, lines, tag)
    assert whole == apply(stage, lines, tag), f"{stage}: the same batch gave two results"
    alone = [apply(stage, [line], tag) for line in lines]
    assert whole.lines == [line for outcome in alone for line in outcome.lines], (
        f"{stage}: events come out otherwise when they come alone; a filter looks at no neighbour"
    )
    assert whole.tags == [each for outcome in alone for each in outcome.tags], f"{stage}: tags depend on neighbours"
    assert sorted((reject.line, reject.reason) for reject in whole.rejects) == sorted(
        (reject.line, reject.reason) for outcome in alone for reject in outcome.rejects
    ), f"{stage}: rejects depend on neighbours"
    assert apply(stage, []).lines == [], f"{stage}: an empty batch did not stay empty"
    batch = Batch(list(lines), tag=tag)
    _apply([stage], batch)
    undeclared = batch.undeclared
    assert not undeclared, f"{stage}: reads {sorted(undeclared)} but names them in neither reads() nor writes()"


def check_remembering_filter(make: Callable[[], Filter], lines: Sequence[bytes], tag: str = "test") -> None:
    """Check that a filter that is `one_worker` does not care where a batch ends, and goes on from each of its states.

    `make` gives a new filter with the same options.
    """
    stage = make()
    assert stage.one_worker, f"{stage}: it is not one_worker, so it may remember nothing; use check_filter"
    stage.restore(None)
    whole = apply(stage, lines, tag)
    for size in (1, 2, 7):
        parts = [lines[start : start + size] for start in range(0, len(lines), size)]
        stage.restore(None)
        state: Position = {}
        kept: list[bytes] = []
        for part in parts:
            outcome = apply(stage, part, tag)
            kept += outcome.lines
            state = msgspec.json.decode(msgspec.json.encode(merge(state, stage.state())), type=dict[str, Any])
            if size == 7 or len(lines) < 50:
                stage = make()
                stage.restore(state)
        assert kept == whole.lines, f"{stage}: in batches of {size} events, other events go on"
    assert apply(stage, []).lines == [], f"{stage}: an empty batch did not stay empty"


def check_source(make: Callable[[], Source], lines: Sequence[bytes]) -> None:
    """Check that a source gives exactly `lines`, and the rest of them from each of its positions.

    `make` gives a new source over the same input, which holds no more than `lines`.
    """
    with tempfile.TemporaryDirectory() as directory:
        context = Context(pipeline="check", state_dir=Path(directory))
        positions: list[tuple[int, Position]] = []
        given = _drain(make(), context, None, positions)
        assert given == list(lines), f"gave {len(given)} events where {len(lines)} were expected, or others"
        for count, position in positions:
            rest = _drain(make(), context, position, [])
            assert rest == list(lines[count:]), f"opened at its position after {count} events, it did not go on there"


def _drain(
    source: Source, context: Context, position: Position | None, positions: list[tuple[int, Position]]
) -> list[bytes]:
    given: list[bytes] = []
    source.attach(context)
    source.open(position)
    try:
        while (batch := source.read(0.0)) is not None:
            given += batch.lines
            position = merge(position or {}, batch.position)
            positions.append((len(given), position))
    except EndOfInput:
        pass
    finally:
        source.close()
        source.close()  # must be harmless
    return given


def check_sink(make: Callable[[], Sink], written: Callable[[], list[bytes]], lines: Sequence[bytes]) -> None:
    """Check that a sink keeps what was committed, once, and undoes at `open` what was not.

    `make` gives a new sink over the same place; `written` reads back what is there, in the order of writing. For
    sinks that promise exactly once.
    """
    half = len(lines) // 2
    with tempfile.TemporaryDirectory() as directory:
        context = Context(pipeline="check", state_dir=Path(directory))

        def write(
            position: Position | None, part: Sequence[bytes], *, packed: bool = False
        ) -> tuple[Position, Position]:
            """Go through a commit; give the position to recover from before the save, and the one after it."""
            sink = make()
            sink.attach(context)
            sink.open(position)
            batches = [Batch(list(lines), tag="test") for lines in (part[: len(part) // 2], part[len(part) // 2 :])]
            if packed:
                packer = sink.packer()
                for batch in batches:
                    packer.add(sink.encode(batch))
                sink.write_packed(pickle.loads(pickle.dumps(packer.packed())))  # noqa: S301
            else:
                for batch in batches:
                    sink.write(sink.encode(batch))
            prepared = merge(position or {}, sink.prepare())
            flushed = merge(prepared, sink.flush())
            sink.commit(flushed)
            sink.commit(flushed)  # it is repeated after a crash
            sink.close()
            sink.close()  # must be harmless
            return prepared, flushed

        _, first = write(None, lines[:half])
        assert written() == list(lines[:half]), "what was committed is not what is there"
        before, _ = write(first, lines[half:])
        _, last = write(
            before, lines[half:], packed=True
        )  # as if the process had died just before the checkpoint was saved
        assert written() == list(lines), "after a crash between flush and save, the events are not there exactly once"
        write(last, [])
        assert written() == list(lines), "a commit of nothing changed what is there"
