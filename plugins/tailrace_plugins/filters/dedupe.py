"""The filter `dedupe`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from tailrace import EVENT_TIME_FIELDS, Batch, OptionError
from tailrace_plugins.memory import MemoryFilter, digests, times


class Dedupe(MemoryFilter, kw_only=True):
    """Drop an event if one with the same values in some fields went on not long before.

        - type: dedupe
          fields: [auditID, stage, requestReceivedTimestamp]
          window: 10m

    The window is one of event time: it is as late as the latest event that came so far, and counts from when an event
    went on. Of one that comes again and again, one goes on per window. Events that have none of the fields go on. Do
    not rely on `auditID` and `stage` alone: clients choose the `auditID` of their requests, and may repeat one to hide
    what they do.

    What it remembers, up to `most` combinations, is part of the checkpoint and is written with each commit (30 bytes
    each), so that nothing is dropped or repeated after a crash. The pipeline has one worker. A replay of the dead
    letter goes without this filter.
    """

    fields: Annotated[list[str], Meta(description="The fields whose values make events the same.")]
    window: Annotated[str | float, Meta(description="How long: `90s`, `10m`, `2h`.")] = "10m"
    most: Annotated[int, Meta(ge=1, le=100_000, description="So many combinations are remembered, the latest.")] = (
        10_000
    )

    def __post_init__(self) -> None:
        if not self.fields:
            raise OptionError("fields", "name at least one field")
        self._window = self.remember("window", self.window, self.fields, self.most)

    def reads(self) -> Iterable[str]:
        """Name the fields that are compared, and those of the time."""
        return [*self.fields, *EVENT_TIME_FIELDS]

    def apply(self, batch: Batch) -> None:
        """Drop what went on before."""
        columns = [batch[field] for field in self.fields]
        empty = [all(value is None for value in row) for row in zip(*columns, strict=True)]
        rows = zip(empty, digests(columns), times(batch), strict=True)
        batch.keep([self._is_new(key, time) or is_empty for is_empty, key, time in rows])

    def _is_new(self, key: str, time: float | None) -> bool:
        memory = self.memory
        latest = memory.pass_time(time)
        while (oldest := memory.oldest()) is not None and oldest[1] < latest - self._window:
            memory.remove(oldest[0])
        if memory.get(key) is not None:
            return False
        memory.put(key, latest)
        return True
