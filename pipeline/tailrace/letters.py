"""Reading the dead letter: which events wait in it, and what their envelopes hold.

Changes nothing, so that it can be asked at any time. What waits lies in one file, or in two while a replay is under
way (`tailrace.replay`): the rest of what it has to put through, and what was put aside since it began.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from tailrace import deadletter
from tailrace.checkpoint import State
from tailrace.reject import RejectKind

REPLAY = "dead-letter replay"  # the name, in the checkpoint, of where a replay stands
REPLAY_FILE = "dead-letter.replay.jsonl"

_PART = re.compile(r"([1-9]\d*)( of \1)?")


class Letter(NamedTuple):
    """An event in the dead letter, as it was read, with the reason and the place it came from."""

    line: bytes
    reason: str
    time: str = ""
    tag: str = ""
    origin: Mapping[str, str] = MappingProxyType({})
    offset: int = 0
    kind: RejectKind = "filter"

    @property
    def is_event(self) -> bool:
        """Tell whether a source gave it as an event: not as a piece of one, nor as what is left of its own storage."""
        return self.part is None and self.kind != "damaged"

    @property
    def part(self) -> tuple[int, bool] | None:
        """Of a piece of a line that was too long: its number, from 1, and whether it is the last; None of an event.

        What is neither has the number 0.
        """
        text = self.origin.get("part")
        if text is None:
            return None
        match = _PART.fullmatch(text)
        return (int(match[1]), bool(match[2])) if match else (0, False)


class _Envelope(msgspec.Struct, kw_only=True):
    reason: str
    time: str = ""
    tag: str = ""
    origin: dict[str, str] = {}
    offset: int = 0
    kind: RejectKind = "filter"
    event: str | None = None
    event_base64: str | None = None


def decode(line: bytes) -> Letter:
    """Read what `tailrace.deadletter.envelope` wrote; raises ValueError that says what is wrong with it."""
    try:
        found = msgspec.json.decode(line, type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"no envelope of a rejected event: {error}") from None
    if found.event is not None:
        event = found.event.encode()
    elif found.event_base64 is not None:
        try:
            event = base64.b64decode(found.event_base64, validate=True)
        except ValueError as error:
            raise ValueError(f"no envelope of a rejected event: {error}") from None
    else:
        raise ValueError("no envelope of a rejected event: it holds no event")
    return Letter(event, found.reason, found.time, found.tag, found.origin, found.offset, found.kind)


class Stored(NamedTuple):
    """A line of a dead letter file, without its newline, and where it lies."""

    line: bytes
    offset: int
    end: int


@dataclass(frozen=True)
class Extent:
    """The lines of a dead letter file from `start` on, in front of `end`."""

    path: str
    start: int
    end: int

    def __iter__(self) -> Iterator[Stored]:
        """Read the lines one by one; raises OSError."""
        if self.start == self.end:
            return  # it needs no file
        with open(self.path, "rb") as file:
            file.seek(self.start)
            offset = self.start
            while line := file.readline(self.end - offset):
                yield Stored(line.removesuffix(b"\n"), offset, offset + len(line))
                offset += len(line)


def under_way(directory: Path, state: State) -> Extent | None:
    """Give what a replay that was begun has yet to put through; None if none was begun."""
    length = _recorded(state, REPLAY, REPLAY_FILE)
    if length is None:
        return None
    return Extent(str(directory / REPLAY_FILE), state.sinks[REPLAY]["offset"], length)


def put_aside(directory: Path, state: State | None) -> Extent:
    """Give what was put aside and committed; all that is there, if no length is recorded."""
    path = directory / deadletter.FILE
    length = None if state is None else _recorded(state, deadletter.NAME, deadletter.FILE)
    if length is None:
        length = path.stat().st_size if path.exists() else 0
    return Extent(str(path), 0, length)


def _recorded(state: State, sink: str, name: str) -> int | None:
    """Give the recorded length of a file in the pipeline's directory, by whatever path that was reached then."""
    position = state.sinks.get(sink, {})
    return next((length for path, length in position.items() if os.path.basename(path) == name), None)


def waiting(directory: Path, state: State | None) -> list[Extent]:
    """Give where the events are that wait in the dead letter of a pipeline, the oldest first."""
    rest = None if state is None else under_way(directory, state)
    extents = [*([rest] if rest else []), put_aside(directory, state)]
    return [extent for extent in extents if extent.start < extent.end and os.path.exists(extent.path)]


def read(extents: Iterable[Extent]) -> Iterator[tuple[bytes, Letter]]:
    """Give each envelope, as it lies there and decoded; one that cannot be decoded says so in its reason."""
    for extent in extents:
        for stored in extent:
            try:
                yield stored.line, decode(stored.line)
            except ValueError as error:
                yield stored.line, no_envelope(extent, stored, error)


def no_envelope(extent: Extent, stored: Stored, error: ValueError) -> Letter:
    """Wrap a line that cannot be decoded; its kind says to every replay that it is no event."""
    return Letter(stored.line, str(error), origin={"path": extent.path}, offset=stored.offset, kind="damaged")
