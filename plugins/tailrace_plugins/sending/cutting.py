"""Cutting events into batches, so that what is sent again after a crash is sent as the same bodies.

1. A batch ends when it has so many events, or so many bytes that one more would be too much.
2. That is counted from the last commit on. So whoever reads the same events again cuts them at the same places.
3. What is left at a commit is a batch as well. Where that ends depends on the time, so it is recorded before it is sent
   (a *border*, in events since the last commit), and what is read again is cut there too.
4. A commit must not come before where events were sent already, for it would cut there (`catchup.py`).

A receiver that recognises a body by its digest then takes no event twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from tailrace import Damaged, Original, Position
from tailrace_plugins.canonical import SIZES


class Item(NamedTuple):
    """An event as it is sent, and as it was read."""

    line: bytes
    original: Original


class Cutter:
    """Collects the events since the last commit; what is full comes out.

    A batch has at most `most_events`, and at most `most_bytes` as the API server's truncating backend counts them; an
    event that is larger than that is a batch by itself.
    """

    def __init__(self, most_events: int, most_bytes: int, borders: Iterable[int] = ()) -> None:
        self._most_events, self._most_bytes = most_events, most_bytes
        self.borders = sorted(borders)
        """Where batches have to end that were begun before a crash."""
        self.count = 0
        """Events since the last commit."""
        self.held = 0
        """Bytes that wait."""
        self._known_borders = frozenset(self.borders)
        self._begin()

    def _begin(self) -> None:
        self._waiting: list[Item] = []
        self._fineness = 0  # how exactly sizes are told: only as well as it takes
        self._size = 0
        self.held = 0

    @property
    def waiting(self) -> int:
        """How many events wait for others."""
        return len(self._waiting)

    @property
    def has_cut(self) -> bool:
        """Whether a batch came out since the last commit."""
        return self.count > len(self._waiting)

    def add(self, items: Sequence[Item]) -> list[list[Item]]:
        """Take events, and give the batches that are full now."""
        full = []
        for item in items:
            if not self._has_room(item.line):
                full.append(self.rest())
                self._has_room(item.line)
            self._waiting.append(item)
            self.held += len(item.line)
            self.count += 1
            if len(self._waiting) == self._most_events or self.count in self._known_borders:
                full.append(self.rest())
        return full

    def rest(self) -> list[Item]:
        """Give the events that wait."""
        waiting = self._waiting
        self._begin()
        return waiting

    def _has_room(self, line: bytes) -> bool:
        """Tell whether an event fits in, and count it; the sizes are told more exactly if that decides."""
        added = SIZES[self._fineness](line)
        while self._waiting and self._size + added > self._most_bytes and self._fineness + 1 < len(SIZES):
            self._fineness += 1
            size = SIZES[self._fineness]
            self._size, added = sum(size(item.line) for item in self._waiting), size(line)
        has_room = not self._waiting or self._size + added <= self._most_bytes
        if has_room:
            self._size += added
        return has_room


class _Position(msgspec.Struct, forbid_unknown_fields=True):
    borders: list[int] = []


def borders_of(position: Position | None) -> list[int]:
    """Take the borders out of the position of a sink, which has them under `borders`. Raises Damaged."""
    try:
        return msgspec.convert(dict(position or {}), _Position).borders
    except msgspec.ValidationError as error:
        raise Damaged(f"the checkpoint's position of the webhook cannot be understood: {error}") from None
