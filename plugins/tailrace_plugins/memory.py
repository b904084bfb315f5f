"""What filters remember of events: an entry for each of the latest keys, and the latest time of an event.

Time is that of events: it is as late as the latest event that was seen. So reading again gives the same answers.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

from tailrace import EVENT_TIME_FIELDS, Batch, Filter, Position, parse_duration, parse_field
from tailrace_plugins.checking import checked

_DIGEST: Final = 12  # bytes; among a hundred thousand keys two are the same once in 10¹⁹
_LATEST: Final = "latest"  # no digest has six characters


class Memory:
    """Entries by key, of which the oldest go when there are more than `most`; a number each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.restore(None)

    def restore(self, position: Position | None) -> None:
        """Hold what `delta` gave, merged, and nothing else."""
        stored = dict(position or {})
        self.latest: float | None = stored.pop(_LATEST, None)
        in_order = sorted(stored.items(), key=lambda item: item[1][0])
        self._entries: dict[str, tuple[int, float]] = {key: (order, value) for key, (order, value) in in_order}
        self._next = in_order[-1][1][0] + 1 if in_order else 0
        self._changed: set[str] = set()

    def get(self, key: str) -> float | None:
        """Give what is remembered of a key."""
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def put(self, key: str, value: float) -> None:
        """Remember something of a key; it keeps its age if it is known."""
        entry = self._entries.get(key)
        if entry is None:
            entry = (self._next, value)
            self._next += 1
            if len(self._entries) >= self._most:
                self.remove(next(iter(self._entries)))
        self._entries[key] = (entry[0], value)
        self._changed.add(key)

    def remove(self, key: str) -> None:
        """Forget a key that is known."""
        del self._entries[key]
        self._changed.add(key)

    def oldest(self) -> tuple[str, float] | None:
        """Give the key that has been known for longest, and what is remembered of it."""
        key = next(iter(self._entries), None)
        return None if key is None else (key, self._entries[key][1])

    def known(self) -> list[str]:
        """Give all keys, the oldest first."""
        return list(self._entries)

    def pass_time(self, time: float | None) -> float:
        """Take note of an event's time, and give the latest so far; zero if there was none yet."""
        if time is not None and (self.latest is None or time > self.latest):
            self.latest = time
        return self.latest or 0.0

    def delta(self) -> Position:
        """Give what has changed since the last delta, for the checkpoint."""
        delta: dict[str, Any] = {key: self._entries.get(key) for key in self._changed}
        self._changed = set()
        return delta | {_LATEST: self.latest}


def times(batch: Batch) -> list[float | None]:
    """Give the time of each event in seconds since the epoch; None where there is none that can be read."""
    columns = [batch[field] for field in EVENT_TIME_FIELDS]
    return [_seconds(row) for row in zip(*columns, strict=True)]


def digests(columns: Iterable[Sequence[Any]]) -> list[str]:
    """Give a key for each event, by its values; 1, 1.0, true and "1" are four values, and null is none of them."""
    return [digest(row) for row in zip(*columns, strict=True)]


def digest(values: Sequence[Any]) -> str:
    """Give the key for these values."""
    text = repr(values).encode("utf-8", "surrogatepass")
    return base64.b64encode(hashlib.blake2b(text, digest_size=_DIGEST).digest()).decode()


def _seconds(row: Sequence[Any]) -> float | None:
    for text in row:
        if text is not None:
            try:
                moment = datetime.fromisoformat(text)
                return moment.timestamp() if moment.tzinfo else None
            except (TypeError, ValueError, OverflowError):
                return None
    return None


class MemoryFilter(Filter, kw_only=True):
    """A filter that remembers, with what such filters have in common."""

    one_worker: ClassVar[bool] = True

    def remember(self, option: str, duration: str | float, fields: Iterable[str], most: int) -> float:
        """Begin with nothing, once the options are found to be right; gives the duration in seconds."""
        self.memory = Memory(most)
        for field in fields:
            checked("fields", parse_field, field)
        return checked(option, parse_duration, duration)

    def restore(self, state: Position | None) -> None:
        """Remember what the checkpoint holds."""
        self.memory.restore(state)

    def state(self) -> Position:
        """Say what changed since the last commit."""
        return self.memory.delta()
