"""Replay: putting the events of the dead letter through their pipeline again, each exactly once.

A replay is a life of the pipeline itself, with another source: the same filters, the same sinks with their recorded
lengths, the same checkpoint, under the same lock. So whatever can happen to it is what can happen to the pipeline,
and recovery is the same.

1. `begin` gives the dead letter a second name, `dead-letter.replay.jsonl`, and records in one checkpoint that this
   file is to be put through and that the dead letter is empty; recovery then removes its first name.
2. The source reads that file. How far it is stands in the checkpoint beside the positions of the sinks, under a name
   that no sink can have; the position of the pipeline's own source is not touched. What fails again goes to the dead
   letter, which is a new file.
3. `finish` takes the record out of the checkpoint and removes the file.

The file is not changed in between. A crash anywhere leaves it to be finished by the next replay; the pipeline may
run meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tailrace import deadletter
from tailrace.batch import Batch, Position
from tailrace.checkpoint import Checkpoint, State
from tailrace.config import Plan
from tailrace.context import Context
from tailrace.durable import sync_directory
from tailrace.letters import REPLAY, REPLAY_FILE, Extent, Letter, Stored, decode, no_envelope, put_aside, under_way
from tailrace.pieces import Pieces
from tailrace.stage import Damaged, EndOfInput, Filter, Payload, Sink, Source

BATCH_BYTES: Final = 512 << 10


def find(directory: Path, state: State, max_line_bytes: int | None) -> Replay | None:
    """Give the source of the replay that is under way or would be the next; None if there is nothing to put through.

    A line that was too long is put together again if it has at most `max_line_bytes` (None: however long it is). For
    a replay that was begun counts what was said then. Changes nothing.
    """
    extent = under_way(directory, state)
    if extent is not None:
        return Replay(extent=extent, max_line_bytes=state.sinks[REPLAY].get("max_line_bytes"))
    extent = put_aside(directory, state)
    return Replay(extent=extent, max_line_bytes=max_line_bytes) if extent.end else None


def begin(context: Context, max_line_bytes: int | None) -> Replay | None:
    """Make the dead letter the input of a replay, unless one is under way, and give its source.

    The caller holds the state directory. Raises OSError, and Damaged if the dead letter is not as recorded.
    """
    checkpoint = Checkpoint(context)
    state = checkpoint.load()
    source = None if state is None else find(context.state_dir, state, max_line_bytes)
    if state is None or source is None or under_way(context.state_dir, state) is not None:
        return source
    path, end = source.extent.path, source.extent.end
    source.check()
    target = str(context.state_dir / REPLAY_FILE)
    with suppress(FileNotFoundError):  # left behind by a replay that died right at its end, or at its beginning
        context.disk.unlink(target)
    context.disk.link(path, target)
    sync_directory(context.disk, str(context.state_dir))
    former = dict.fromkeys(state.sinks.get(deadletter.NAME, {}))  # another path, if the directory was moved
    record = {
        deadletter.NAME: {**former, path: 0},
        REPLAY: {target: end, "offset": 0, "max_line_bytes": max_line_bytes},
    }
    for _ in range(2):  # so that the generation to fall back to does not need the name that recovery removes
        state = state.advanced({}, record)
        checkpoint.save(state)
    return find(context.state_dir, state, max_line_bytes)


def finish(context: Context) -> None:
    """Remove what a replay has put through to its end; nothing happens if it is not at its end."""
    checkpoint = Checkpoint(context)
    state = checkpoint.load()
    rest = None if state is None else under_way(context.state_dir, state)
    if state is None or rest is None or rest.start < rest.end:
        return
    del state.sinks[REPLAY]
    state.generation += 1
    checkpoint.save(state)
    with suppress(FileNotFoundError):
        context.disk.unlink(rest.path)
    sync_directory(context.disk, str(context.state_dir))


def replay_plan(plan: Plan, source: Replay) -> Plan:
    """Give the pipeline as it puts the dead letter through: without filters that remember, which saw it already."""
    sinks = {**plan.sinks, REPLAY: Cursor(source=source)}
    return replace(plan, source=source, filters=_forgetful(plan), sinks=sinks)


def rehearsal_plan(plan: Plan, source: Replay, state_dir: Path) -> Plan:
    """Give the pipeline as it would put the dead letter through, with all that it writes in `state_dir`."""
    sinks = {"rehearsal": Unwritten(sinks=list(plan.sinks.values()))}
    return replace(plan, source=source, filters=_forgetful(plan), sinks=sinks, state_dir=state_dir)


def _forgetful(plan: Plan) -> tuple[Filter, ...]:
    return tuple(stage for stage in plan.filters if not stage.one_worker)


class Replay(Source, kw_only=True):
    """Gives the events of a dead letter file, each with the tag and the place with which it was read at first.

    What is no event goes back to the dead letter as it is: what a source or this one found damaged, and a piece of a
    line that was too long, unless all its pieces are there and make a line of at most `max_line_bytes`.
    """

    extent: Extent
    max_line_bytes: int | None = None

    def open(self, position: Position | None) -> None:
        """Find the pieces that belong together; `position` is that of the pipeline's own source."""
        self.left = 0  # what goes back as it is
        whole = self.extent
        if self.extent.start < self.extent.end:  # else it may be gone
            self.check()
            whole = Extent(self.extent.path, 0, self.extent.end)
        self._pieces = Pieces(whole, self.max_line_bytes)
        self.seek(self.extent.start)

    def check(self) -> None:
        """Raise Damaged if the file is not as long as it has to be."""
        path, end = self.extent.path, self.extent.end
        present = os.stat(path).st_size if os.path.exists(path) else 0
        if present < end:
            raise Damaged(
                f"{path} has {present} bytes, but {end} are to be put through; restore it, or run `tailrace state "
                "forget` if its loss is accepted"
            )

    def seek(self, offset: int) -> None:
        """Go on at a place in the file."""
        self.offset = offset
        self._batches = self._read(Extent(self.extent.path, offset, self.extent.end))

    def read(self, timeout: float) -> Batch | None:
        """Give the next events that lay side by side where they were read at first."""
        batch, self.offset = next(self._batches, (None, self.offset))
        if batch is None:
            raise EndOfInput
        return batch

    def lag(self) -> int:
        """Give the number of bytes not yet read."""
        return self.extent.end - self.offset

    def _read(self, extent: Extent) -> Iterator[tuple[Batch, int]]:
        """Give batches, each with the place in the file behind it."""
        group = _Group()
        for stored in extent:
            if stored.offset in self._pieces.early:
                continue  # comes with the last one
            letter = self._letter(stored)
            if not (letter.is_event and group.takes(letter)):
                yield from group.taken()
            group.add(letter, stored.end)
            if not letter.is_event:
                self.left += 1
                for batch, end in group.taken():
                    batch.reject(0, letter.reason, letter.kind)
                    yield batch, end
        yield from group.taken()

    def _letter(self, stored: Stored) -> Letter:
        """Read an envelope; with the last piece of a line comes the line."""
        whole = self._pieces.join(stored)
        if whole is not None:
            return whole
        try:
            return decode(stored.line)
        except ValueError as error:
            return no_envelope(self.extent, stored, error)


class _Group:
    """Events that lay side by side, to be given as one batch."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._first = Letter(b"", "")
        self._next = 0  # where the next one lay
        self._end = 0

    def takes(self, letter: Letter) -> bool:
        """Tell whether this event lay right behind the last one, and there is room."""
        first = self._first
        return (letter.tag, letter.origin, letter.offset) == (first.tag, first.origin, self._next) and (
            self._next - first.offset < BATCH_BYTES
        )

    def add(self, letter: Letter, end: int) -> None:
        """Take an event; `end` is the place behind it in the dead letter."""
        if not self._lines:
            self._first, self._next = letter, letter.offset
        self._lines.append(letter.line)
        self._next += len(letter.line) + 1
        self._end = end

    def taken(self) -> Iterator[tuple[Batch, int]]:
        """Give the batch and the place behind it, if there is one, and be empty."""
        if self._lines:
            first, lines = self._first, self._lines
            self._lines = []
            yield Batch(lines, tag=first.tag, origin=first.origin, offset=first.offset), self._end


class Cursor(Sink, kw_only=True):
    """Keeps the place of a replay in the checkpoint, beside the positions of the sinks it writes to."""

    source: Replay

    def open(self, position: Position | None) -> None:
        """Take the source to where the last commit was."""
        self.source.seek(position["offset"] if position else 0)

    def encode(self, batch: Batch) -> Payload:
        """Nothing is written."""

    def write(self, payload: Payload) -> None:
        """Nothing is written."""

    def flush(self) -> Position:
        """Say how far the source has been read: the events up to there are what this commit holds."""
        return {"offset": self.source.offset}


class Unwritten(Sink, kw_only=True):
    """Reads what other sinks read, and writes nothing."""

    sinks: list[Any]

    def reads(self) -> Iterable[str]:
        """The fields of all of them."""
        return [name for sink in self.sinks for name in sink.reads()]

    def writes(self) -> Iterable[str]:
        """The fields of all of them."""
        return [name for sink in self.sinks for name in sink.writes()]

    def open(self, position: Position | None) -> None:
        """Nothing was written."""

    def encode(self, batch: Batch) -> Payload:
        """Nothing is written."""

    def write(self, payload: Payload) -> None:
        """Nothing is written."""

    def flush(self) -> Position:
        """Nothing was written."""
        return {}
