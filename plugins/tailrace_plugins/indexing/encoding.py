"""From a batch to documents: the index, the id and the bytes of each event. Pure, and at work in any process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any, Final

from tailrace import UNCHANGED, Batch, Memo, Projection, Reject, Template, TimeSlicer
from tailrace_plugins.indexing.documents import Documents, content_id, sieved, start_of
from tailrace_plugins.indexing.names import fit_name

TIMESTAMP: Final = "@timestamp"
_QUOTED: Final = b'"@timestamp"'
_OWN: Final = Projection(presence=[TIMESTAMP])


class Encoder:
    """Makes documents of events; `slicer` is for the time directives of the template, if it has any."""

    def __init__(
        self,
        template: Template,
        slicer: TimeSlicer,
        time_fields: Sequence[str],
        *,
        has_ids: bool,
        adds_timestamp: bool,
    ) -> None:
        self._template = template
        self._slicer = slicer
        self._time_fields = time_fields
        self._has_ids = has_ids
        self._adds_timestamp = adds_timestamp
        self._starts = Memo(self._start)

    def reads(self) -> Iterable[str]:
        """The template's fields, and the time fields if the time is used."""
        needs_time = self._template.time_directives or self._adds_timestamp
        return [*self._template.fields, *(self._time_fields if needs_time else ())]

    def encode(self, batch: Batch) -> tuple[Documents, list[Reject]]:
        """Give the documents, and apart from them what cannot be sent at all."""
        rejects: list[Reject] = []
        if self._adds_timestamp:
            batch, rejects = self._stamped(batch)
        inputs = self._template.inputs(batch)
        if self._template.time_directives:
            inputs.append(self._slicer.keys(batch[field] for field in self._time_fields))
        originals = batch.originals()
        ids = [content_id(original.line) for original in originals] if self._has_ids else None
        starts = self._starts.map(inputs, len(batch))
        documents, unfit = sieved(Documents(starts, ids, batch.encoded(), originals))
        return documents, rejects + unfit

    def _start(self, values: Sequence[Any]) -> bytes:
        """Start the action of events with these values; the last one is the key of their slice, if there are slices."""
        moment = None
        if self._template.time_directives:
            *values, slice_key = values
            moment = self._slicer.moment(slice_key)
        return start_of(fit_name(self._template.render(values, moment)))

    def _stamped(self, batch: Batch) -> tuple[Batch, list[Reject]]:
        """Add the time to events that do not have that key already; other sinks see them without it."""
        stamped = batch.part([True] * len(batch))
        times: list[Any] = [None] * len(stamped)
        for place in self._with_own(stamped.encoded()):
            times[place] = UNCHANGED
        for field in self._time_fields:
            if None not in times:  # nearly always after the first
                break
            times = [other if time is None else time for time, other in zip(times, stamped[field], strict=True)]
        for place in [place for place, time in enumerate(times) if time is None]:
            times[place] = UNCHANGED
            stamped.reject(place, "the event has no time, which a document in a data stream needs", "refused")
        stamped[TIMESTAMP] = times
        stamped.encoded()
        return stamped, stamped.settle()

    def _with_own(self, lines: Sequence[bytes]) -> Iterable[int]:
        """Say which lines have that key."""
        suspects = [place for place, line in enumerate(lines) if _QUOTED in line]
        if not suspects:
            return ()
        rows, _ = _OWN.rows([lines[place] for place in suspects])
        return compress(suspects, _OWN.present(rows, TIMESTAMP))
