"""Reading the spool: its records as batches, in the order in which they were stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tailrace import Batch, Context
from tailrace_plugins.receiving.record import Damage, Record, decode_all
from tailrace_plugins.receiving.segments import Segment, segment_path
from tailrace_plugins.receiving.spool import Place, Spool

Finish = Callable[[Record, list[bytes]], list[bytes]]
"""What the source makes of the lines of a record."""


class Reader:
    """Gives one batch a record, from a place on.

    What cannot be read is not passed over in silence: damaged bytes go whole to the dead letter, a lost segment is an
    error in the log. Only what a crash cut off at the end of a segment was never acknowledged, and is not missed.
    """

    def __init__(self, context: Context, spool: Spool, place: Place | None, finish: Finish) -> None:
        self._context = context
        self._spool = spool
        self._finish = finish
        self._place = place or Place(0, 0)
        self._open: Segment | None = None

    def close(self) -> None:
        """Close the segment that is being read."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def next(self) -> Batch | None:
        """Give the next batch; None if there is none yet."""
        while True:
            segments = self._spool.segments()
            number, offset = self._place
            end = segments.get(number)
            if end is not None and offset < end:
                batch = self._read(number, offset, end)
                if batch is not None:
                    return batch
                continue
            if number and (end is None or offset > end):
                self._tell_loss(number, offset, end)
            following = min((other for other in segments if other > number), default=None)
            if following is None:
                return None
            self._go_to(Place(following, 0))

    def lag(self) -> int:
        """Give the number of bytes that were stored and not read."""
        number, offset = self._place
        ends = self._spool.segments()
        return sum(end for other, end in ends.items() if other > number) + max(0, ends.get(number, 0) - offset)

    def _go_to(self, place: Place) -> None:
        if place.segment != self._place.segment:
            self.close()
        self._place = place

    def _read(self, number: int, offset: int, end: int) -> Batch | None:
        """Give the record at `offset`, or what lies there in its place; None if that is nothing to speak of."""
        if self._open is None:
            try:
                self._open = Segment(segment_path(self._spool.directory, number))
            except FileNotFoundError:
                self._spool.lose(self._place)
                self._say_lost(number, offset, None)
                return None
        segment = self._open
        try:
            record, data = segment.record(offset, end)
        except Damage as damage:
            return self._give_damage(segment, offset, end, str(damage))
        self._go_to(Place(number, record.end))
        lines = decode_all(record.request, data[record.payload - offset : -1])
        batch = Batch(
            self._finish(record, lines),
            tag=record.request.tag,
            position=self._position(),
            origin=record.request.origin(segment.path),
            offset=record.payload,
        )
        if record.request.escaped:
            for index, line in enumerate(lines):
                if b"\n" in line:  # for a sink it would be two, and some decoder may take it
                    batch.reject(index, "not JSON that can be read, and it holds line ends", "not_json")
        return batch

    def _give_damage(self, segment: Segment, offset: int, end: int, reason: str) -> Batch | None:
        behind = segment.skip_damage(offset, end)
        self._go_to(Place(self._place.segment, behind))
        extra = {"path": segment.path, "offset": offset, "bytes": behind - offset, "reason": reason}
        if behind == end and segment.ends_early(offset, end):
            self._context.log.info("the last write of a former run was cut off; it was not acknowledged", extra=extra)
            return None
        self._context.log.error("the spool is damaged; the bytes go to the dead letter", extra=extra)
        damaged = segment.read(offset, behind - offset)
        batch = Batch([damaged], position=self._position(), origin={"path": segment.path}, offset=offset)
        batch.reject(0, f"the spool is damaged: {reason}", "damaged")
        return batch

    def _tell_loss(self, number: int, offset: int, end: int | None) -> None:
        self._say_lost(number, offset, end)
        # said once: from here on the place is the beginning of whatever follows
        self._go_to(Place(number, end or 0) if end is not None else Place(0, 0))

    def _say_lost(self, number: int, offset: int, end: int | None) -> None:
        path = segment_path(self._spool.directory, number)
        self._context.log.error(
            "a segment of the spool is gone, or shorter than it was; what followed the offset is lost",
            extra={"path": path, "offset": offset, "bytes": end},
        )

    def _position(self) -> dict[str, Any]:
        number, offset = self._place
        return {"segment": number, "offset": offset, "path": segment_path(self._spool.directory, number)}
