"""Events decoded to dicts, to be edited at will, and back: the slow way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tailrace.changes import Refuse
from tailrace.edit import EditError, encode_value
from tailrace.fields import DECODE_ERRORS, Unreadable, tolerant_decode
from tailrace.reject import Reason

Record = dict[str, Any]
"""An event decoded to a dict."""

_decode = msgspec.json.Decoder(Record).decode


class Records:
    """The dicts of some lines, and how each was when it was decoded.

    A line that cannot be decoded is refused, and stands there as an empty dict.
    """

    def __init__(self, lines: Sequence[bytes], refuse: Refuse) -> None:
        self.dicts: list[Record] = []
        self._before: list[bytes] = []
        for index, line in enumerate(lines):
            try:
                record, before = _read(line)
            except Unreadable as error:
                record, before = {}, b"{}"
                refuse(index, error.reason)
            self.dicts.append(record)
            self._before.append(before)

    def pick(self, indexes: Sequence[int]) -> None:
        """Keep these alone."""
        self.dicts = [self.dicts[i] for i in indexes]
        self._before = [self._before[i] for i in indexes]

    def encoded(self, lines: Sequence[bytes], refuse: Refuse) -> list[bytes]:
        """Give the lines, those anew whose dicts have changed; what cannot be written as JSON is refused."""
        changed = list(lines)
        for index, (record, before) in enumerate(zip(self.dicts, self._before, strict=True)):
            try:
                after = encode_value(record)
                if after != before:
                    changed[index] = after
            except (EditError, RecursionError) as error:
                if not _is_as_before(record, before):
                    refuse(index, Reason("cannot_change", str(error)))
        return changed


def _read(line: bytes) -> tuple[Record, bytes]:
    """Decode a line; raises Unreadable."""
    try:
        try:
            record = _decode(line)
            return record, msgspec.json.encode(record)  # which has a word for whatever it reads
        except DECODE_ERRORS:
            record = tolerant_decode(line)
            return record, _canonical(record)
    except RecursionError:
        raise Unreadable("unreadable", "not readable: nested too deeply") from None


def _is_as_before(record: Record, before: bytes) -> bool:
    """Tell of a record that cannot be encoded whether it could not be before either, and is the same."""
    try:
        return _canonical(record) == before
    except RecursionError:
        return False


def _canonical(record: Record) -> bytes:
    """Encode a record so that equal ones give equal bytes, and others do not, also where JSON has no word for it."""
    try:
        return encode_value(record)
    except EditError:
        return repr(record).encode()
