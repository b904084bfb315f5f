"""From a batch to documents: the index, the id and the bytes of each event. Pure, and at work in any process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from tailrace import UNCHANGED, Batch, Memo, Projection, Reject, Template, TimeSlicer
from tailrace_plugins.indexing.documents import Documents, content_id, sieved, start_of
from tailrace_plugins.indexing.names import fit_name

TIMESTAMP: Final = "@timestamp"
_QUOTED: Final = b'"@timestamp"'


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
        """Give the documents, and apart from them what the protocol cannot carry."""
        inputs = self._template.inputs(batch)
        if self._template.time_directives:
            inputs.append(self._slicer.keys(batch[field] for field in self._time_fields))
        originals = batch.originals()
        ids = [content_id(original.line) for original in originals] if self._has_ids else None
        lines = self._with_timestamp(batch) if self._adds_timestamp else batch.encoded()
        return sieved(Documents(self._starts.map(inputs, len(batch)), ids, lines, originals))

    def _start(self, values: Sequence[Any]) -> bytes:
        """Start the action of events with these values; the last one is the key of their slice, if there are slices."""
        moment = None
        if self._template.time_directives:
            *values, slice_key = values
            moment = self._slicer.moment(slice_key)
        return start_of(fit_name(self._template.render(values, moment)))

    def _with_timestamp(self, batch: Batch) -> list[bytes]:
        """Add the time to those events that have one, and not that key already."""
        columns = [batch[field] for field in self._time_fields]
        times: list[Any] = [
            next((time for time in each if time is not None), None) for each in zip(*columns, strict=True)
        ]
        lines = batch.encoded()
        suspects = [place for place, line in enumerate(lines) if _QUOTED in line]
        if suspects:
            own = Projection(presence=[TIMESTAMP])
            rows, _ = own.rows([lines[place] for place in suspects])
            for place, is_there in zip(suspects, own.present(rows, TIMESTAMP), strict=True):
                if is_there:
                    times[place] = UNCHANGED
        part = batch.part([True] * len(batch))  # other sinks see the events without this key
        part[TIMESTAMP] = times
        return part.encoded()
