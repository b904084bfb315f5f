"""The filter `throttle`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from tailrace import EVENT_TIME_FIELDS, Batch
from tailrace_plugins.memory import MemoryFilter, digest, times


class Throttle(MemoryFilter, kw_only=True):
    """Let only so many events go on in a span of time, for each combination of values of some fields.

        - type: throttle
          fields: [user.username, verb]
          rate: 1000
          per: 1m

    Spans are those of event time: with `1m`, whole minutes. The first `rate` events of each span go on, the others are
    dropped and counted. An event that comes later than the span before the latest one is counted as one of that
    span; one without a time, as one of the latest. Without `fields`, all events are counted together.

    What it counts, for up to `most` combinations, is part of the checkpoint and is written with each commit (30 bytes
    each), so that the same events go on after a crash. The pipeline has one worker. A replay of the dead letter goes
    without this filter.
    """

    rate: Annotated[int, Meta(ge=1, description="So many events go on in each span.")]
    per: Annotated[str | float, Meta(description="The length of a span: `1s`, `1m`, `1h`.")] = "1s"
    fields: Annotated[list[str], Meta(description="The fields whose values are counted apart.")] = []
    most: Annotated[int, Meta(ge=1, le=100_000, description="So many combinations are counted, the latest.")] = 10_000

    def __post_init__(self) -> None:
        self._per = self.remember("per", self.per, self.fields, self.most)

    def reads(self) -> Iterable[str]:
        """Name the fields that are told apart, and those of the time."""
        return [*self.fields, *EVENT_TIME_FIELDS]

    def apply(self, batch: Batch) -> None:
        """Drop what is too much."""
        columns = [batch[field] for field in self.fields]
        rows = zip(*columns, strict=True) if columns else [()] * len(batch)
        batch.keep([self._has_room(row, time) for row, time in zip(rows, times(batch), strict=True)])

    def _has_room(self, values: tuple[object, ...], time: float | None) -> bool:
        memory = self.memory
        before = memory.latest
        latest = memory.pass_time(None if time is None else time // self._per)
        if latest != before:
            for key in memory.known():
                if float(key.partition("@")[2]) < latest - 1:
                    memory.remove(key)
        span = latest if time is None else max(time // self._per, latest - 1)
        key = f"{digest(values)}@{span:.0f}"
        count = (memory.get(key) or 0.0) + 1
        if count > self.rate:
            return False
        memory.put(key, count)
        return True
