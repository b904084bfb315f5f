"""A batch: events read together, as their bytes, with columns that are decoded only when somebody asks.

The rules, on which everything else stands:

* `lines` are verbatim, without their newline. What no filter changed leaves byte for byte as it came.
* A column that a filter writes lies *beside* the bytes. It is spliced in at the end, if it is still there; a
  column that was set and deleted again never touches the bytes.
* A line that cannot be decoded costs only itself: it is rejected, its neighbours go on.
* Row numbers in masks and in `reject` are those of the batch as it stands; they change only in `keep` and
  `settle`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, compress
from types import MappingProxyType
from typing import Any, Final

import msgspec

from tailrace.changes import UNCHANGED, put_in
from tailrace.fields import Projection, Row, parse_field
from tailrace.records import Record, Records
from tailrace.reject import REJECT_KINDS, Original, Reason, Reject, RejectKind

Position = Mapping[str, Any]
"""A resumable place in a source or a sink: JSON values by key.

Positions are deltas: merged over the ones before, a key replaces its former value and None removes it. So a
source that follows thousands of files says only what changed.
"""

NOWHERE: Final[Position] = MappingProxyType({})
_NO_ORIGIN: Final[Mapping[str, str]] = {}  # and no view of it, which could not be pickled with an `Original`
_NO_PROJECTION: Final = Projection()


class Batch:
    """Events read together: verbatim lines, a tag each, and columns decoded on demand.

    `position` says where the source resumes right after the last line. `origin` names where the lines come from
    (`path`, for a file), `offset` is the place of the first line's first byte there; the lines lay next to each
    other, one newline between them. The origin of a piece of a line that is too long has the key `part`: "1", "2",
    and for the last one "3 of 3".
    """

    def __init__(
        self,
        lines: list[bytes],
        *,
        tag: str = "",
        position: Position = NOWHERE,
        origin: Mapping[str, str] = _NO_ORIGIN,
        offset: int = 0,
    ) -> None:
        self.lines = lines
        self.tags: list[str] = [tag] * len(lines)
        self.position = position
        self.origin = origin
        self.offset = offset
        self._read_lines = lines
        self._read_tags = self.tags
        self._numbers: Sequence[int] = range(len(lines))  # of each row, its place in _read_lines
        self._projection = _NO_PROJECTION
        self._rows: list[Row] | None = None
        self._columns: dict[str, list[Any]] = {}  # decoded from the bytes
        self._changes: dict[str, list[Any]] = {}  # beside the bytes
        self._encoded: list[bytes] | None = None
        self._records: Records | None = None
        self._pending_rejects: dict[int, Reason] = {}
        self._rejects: list[Reject] = []
        self.undeclared: set[str] = set()  # fields that a stage used without announcing them

    def __len__(self) -> int:
        return len(self.lines)

    def __repr__(self) -> str:
        return f"<Batch of {len(self)} events from {dict(self.origin)} at {self.offset}>"

    # Columns

    def project(self, projection: Projection, *, decode: bool = True) -> None:
        """Use `projection` for the fields it has, and decode it now; lines that cannot be read are rejected.

        Without `decode` that is done when a field is asked for, or by `decode`.
        """
        self._projection = projection
        self._rows = None
        self._read_tags = list(self.tags)  # the source is done with them, and filters may change them in place
        if decode:
            self.decode()

    def decode(self) -> None:
        """Decode the projection, if that was not done yet; lines that cannot be read are rejected."""
        if self._projection:
            self._decode()

    def __getitem__(self, field: str) -> list[Any]:
        """Give one value per event; None where the field is missing. The list is not to be written to."""
        self._disentangle(field)
        changed = self._changes.get(field)
        if changed is None:
            return self._own_column(field)
        if UNCHANGED in changed:
            own = self._own_column(field)
            return [mine if value is UNCHANGED else value for value, mine in zip(changed, own, strict=True)]
        return changed

    def __setitem__(self, field: str, values: Sequence[Any]) -> None:
        """Give the field a value per event; None takes the field away from that event.

        A value that is `msgspec.Raw` is JSON, which is put in as it is. It goes into the bytes at once, so that whoever
        reads the field, or one below it, sees values.
        """
        if len(values) != len(self):
            raise ValueError(f"{len(values)} values for {field} in a batch of {len(self)} events")
        self._disentangle(field)
        self._changes[field] = list(values)
        self._encoded = None
        if msgspec.Raw in set(map(type, values)):
            self._settle_changes()

    def __delitem__(self, field: str) -> None:
        """Take the field away from every event; free where no line has it in its own bytes."""
        self._disentangle(field)
        present = self._present(field)
        if True in present:
            self[field] = [None if here else UNCHANGED for here in present]
        else:
            self._changes.pop(field, None)
            self._encoded = None

    def _disentangle(self, field: str) -> None:
        """Write the changes into the bytes if one of them lies above or below `field`."""
        self._leave_records()
        path = parse_field(field)
        for other in self._changes:
            if other != field:
                theirs = parse_field(other)
                shared = min(len(theirs), len(path))
                if theirs[:shared] == path[:shared]:
                    self._settle_changes()
                    return

    def _settle_changes(self) -> None:
        self._replace_lines(self.encoded())

    def _replace_lines(self, lines: list[bytes]) -> None:
        self.lines = lines
        self._changes.clear()
        self._columns.clear()
        self._rows = None
        self._encoded = None

    def _decode(self) -> list[Row]:
        if self._rows is None:
            self._rows, bad = self._projection.rows(self.lines)
            for index, reason in bad.items():
                self._pending_rejects.setdefault(index, reason)
        return self._rows

    def _own_column(self, field: str) -> list[Any]:
        column = self._columns.get(field)
        if column is None:
            if self._projection.has_value(field):
                column = self._projection.column(self._decode(), field)
            else:
                alone = Projection([field])
                column = alone.column(self._decode_alone(field, alone), field)
            self._columns[field] = column
        return column

    def _present(self, field: str) -> list[bool]:
        if self._projection.has_presence(field):
            return self._projection.present(self._decode(), field)
        alone = Projection(presence=[field])
        return alone.present(self._decode_alone(field, alone), field)

    def _decode_alone(self, field: str, alone: Projection) -> list[Row]:
        """Decode for one field that nobody announced: right all the same, but a pass of its own over the lines."""
        self.undeclared.add(field)
        rows, bad = alone.rows(self.lines)
        self._pending_rejects = bad | self._pending_rejects
        return rows

    # Records

    def records(self) -> list[Record]:
        """Decode every event to a dict, to be edited in place or replaced in the list.

        An event that cannot be decoded is rejected, and stands there as an empty dict until `keep` or `settle`.
        The slow way, for arbitrary edits: an event whose dict comes back changed is encoded anew; one whose dict
        comes back equal keeps its bytes.
        """
        if self._records is None:
            self._settle_changes()
            self._records = Records(self.lines, self._refuse)
        return self._records.dicts

    def _leave_records(self) -> None:
        """Go back from dicts to bytes, encoding only those dicts that changed."""
        if self._records is not None:
            records, self._records = self._records, None
            self._replace_lines(records.encoded(self.lines, self._refuse))

    # Bytes

    def encoded(self) -> list[bytes]:
        """Give the bytes that a sink writes, one per event, without newline; the list is not to be written to."""
        self._leave_records()
        if not self._changes:
            return self.lines
        if self._encoded is None:
            present = {field: self._present(field) for field in self._changes}
            self._encoded = put_in(self.lines, self._changes, present, self._refuse)
        return self._encoded

    def _refuse(self, index: int, reason: Reason) -> None:
        self._pending_rejects.setdefault(index, reason)

    def replace(self, lines: Mapping[int, bytes]) -> None:
        """Give some events other bytes, made of what `encoded` gave for them; all others stay as they are.

        For filters that change bytes themselves. Only the replaced lines are decoded again.
        """
        self._leave_records()
        if not lines:
            return
        rows, own = self._rows, list(self.lines)
        for index, line in lines.items():
            if not 0 <= index < len(self):
                raise IndexError(f"no event {index} in a batch of {len(self)}")
            own[index] = line
            for values in self._changes.values():
                values[index] = UNCHANGED  # what lay beside the former bytes is in the new ones
        if rows is not None:
            fresh, bad = self._projection.rows(list(lines.values()))
            rows = list(rows)
            for place, (index, row) in enumerate(zip(lines, fresh, strict=True)):
                rows[index] = row
                if place in bad:
                    self._pending_rejects.setdefault(index, bad[place])
        self.lines, self._rows = own, rows
        self._columns.clear()
        self._encoded = None

    # Rows

    def keep(self, mask: Sequence[bool]) -> None:
        """Keep the events where `mask` is true; the others are dropped because the config says so."""
        if len(mask) != len(self):
            raise ValueError(f"a mask of {len(mask)} for a batch of {len(self)} events")
        if self._pending_rejects:
            originals = self.originals()
            for index, reason in sorted(self._pending_rejects.items()):
                self._rejects.append(originals[index].rejected(reason.text, reason.kind))
            mask = [kept and index not in self._pending_rejects for index, kept in enumerate(mask)]
            self._pending_rejects = {}
        if not all(mask):
            self._pick(list(compress(range(len(self)), mask)))

    def reject(self, index: int, reason: str, kind: RejectKind = "filter") -> None:
        """Give up on one event: it goes to the dead letter with `reason`, and its neighbours go on.

        Metrics count it by its `kind` alone; what a filter rejects is of the default one.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"no event {index} in a batch of {len(self)}")
        if kind not in REJECT_KINDS:
            raise ValueError(f"{kind!r} is no kind of reject; there are: {', '.join(REJECT_KINDS)}")
        self._pending_rejects.setdefault(index, Reason(kind, reason))

    def originals(self) -> list[Original]:
        """Give each event as it was read: what goes to the dead letter if the event is refused."""
        offsets = list(accumulate((len(line) + 1 for line in self._read_lines), initial=self.offset))
        return [
            Original(self._read_lines[number], self._read_tags[number], self.origin, offsets[number])
            for number in self._numbers
        ]

    def settle(self) -> list[Reject]:
        """Take the rejected events out of the batch and give them; the framework calls it after each stage."""
        if self._pending_rejects:
            self.keep([True] * len(self))
        rejects, self._rejects = self._rejects, []
        return rejects

    def part(self, mask: Sequence[bool]) -> Batch:
        """Give a batch of its own of the events where `mask` is true; this one stays as it is."""
        self._leave_records()
        part = Batch([], position=self.position, origin=self.origin, offset=self.offset)
        part._read_lines, part._read_tags = self._read_lines, self._read_tags
        part._projection = self._projection
        part.lines, part.tags, part._numbers = self.lines, self.tags, self._numbers
        part._rows, part._encoded = self._rows, self._encoded
        part._columns, part._changes = dict(self._columns), dict(self._changes)
        part._pending_rejects = dict(self._pending_rejects)
        part._pick(list(compress(range(len(self)), mask)))
        return part

    def rejoin(self, parts: Iterable[Batch]) -> None:
        """Become the events of `parts`, which were taken from this batch, in the order in which they were read."""
        parts = list(parts)
        for part in parts:
            part._leave_records()
            self._rejects += part.settle()
            self.undeclared |= part.undeclared
        order = sorted(
            (number, which, index) for which, part in enumerate(parts) for index, number in enumerate(part._numbers)
        )
        places = [(which, index) for _, which, index in order]
        fields = dict.fromkeys(field for part in parts for field in part._changes)
        changes = {}
        for field in fields:
            columns = [part._changes.get(field) or [UNCHANGED] * len(part) for part in parts]
            changes[field] = [columns[which][index] for which, index in places]
        self.tags = [parts[which].tags[index] for which, index in places]
        self._numbers = [number for number, _, _ in order]
        self._replace_lines([parts[which].lines[index] for which, index in places])
        self._changes = changes
        self._pending_rejects = {}  # the parts had them

    def _pick(self, indexes: list[int]) -> None:
        self.lines = [self.lines[i] for i in indexes]
        self.tags = [self.tags[i] for i in indexes]
        self._numbers = [self._numbers[i] for i in indexes]
        for columns in (self._columns, self._changes):
            for field, values in columns.items():
                columns[field] = [values[i] for i in indexes]
        if self._rows is not None:
            self._rows = [self._rows[i] for i in indexes]
        if self._encoded is not None:
            self._encoded = [self._encoded[i] for i in indexes]
        if self._pending_rejects:
            pending = self._pending_rejects
            self._pending_rejects = {new: pending[old] for new, old in enumerate(indexes) if old in pending}
        if self._records is not None:
            self._records.pick(indexes)
