"""The segments of a spool: files of records, numbered, each appended to by one process in one life of it.

A segment that a former life left is never appended to: what a power cut did to its end is looked at once (`inspect`),
and the next life begins a segment of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from tailrace.durable import Disk, sync_directory
from tailrace_plugins.receiving.record import HEAD_BYTES, MARK, Damage, Record, is_first_part, parse

_NAME = re.compile(r"([0-9]{10})\.spool")
_CHUNK: Final = 1 << 20
_HEAD_GUESS: Final = 1024  # bytes that hold nearly every head, which says how long the record is


def segment_path(directory: Path, number: int) -> str:
    """Name the file of a segment."""
    return str(directory / f"{number:010}.spool")


def find_segments(directory: Path) -> list[int]:
    """List the numbers of the segments there are, in order."""
    matches = map(_NAME.fullmatch, os.listdir(directory))
    return sorted(int(match[1]) for match in matches if match)


class Segment:
    """An open segment, read by offset."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def size(self) -> int:
        """Give the length of the file."""
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def record(self, offset: int, end: int) -> tuple[Record, bytes]:
        """Give the record at `offset`, and its bytes; `end` is how far the segment may be read. Raises Damage."""
        wanted = _HEAD_GUESS
        while True:
            data = os.pread(self._descriptor, min(wanted, end - offset), offset)
            found = parse(data, 0, offset)
            if isinstance(found, Record):
                return found, data[: found.end - offset]  # the same bytes, not a copy, but for short records
            if wanted >= end - offset:
                raise Damage("the segment ends within a record")
            wanted = found

    def skip_damage(self, offset: int, end: int) -> int:
        """Give the offset of the first whole record behind `offset`, or `end`."""
        at = offset + 1
        while at < end:
            data = os.pread(self._descriptor, _CHUNK, at)
            mark = data.find(MARK)
            if mark < 0:
                at += max(len(data) - len(MARK) + 1, 1)
                continue
            at += mark
            try:
                self.record(at, end)
            except Damage:
                at += 1
                continue
            return at
        return end

    def ends_early(self, offset: int, end: int) -> bool:
        """Tell whether what begins at `offset` is the first part of a record, as an interrupted write leaves it.

        If it ends as a record does it may as well be one with a wrong length, and is not taken for a part.
        """
        head = self.read(offset, min(HEAD_BYTES, end - offset))
        return is_first_part(head, end - offset) and self.read(end - 1, 1) != b"\n"

    def read(self, offset: int, size: int) -> bytes:
        """Give bytes as they are."""
        return os.pread(self._descriptor, size, offset)

    def records(self, offset: int = 0) -> Iterator[Record]:
        """Give the whole records there are from `offset` on, stepping over damage."""
        end = self.size()
        while offset < end:
            try:
                found, _ = self.record(offset, end)
            except Damage:
                offset = self.skip_damage(offset, end)
                continue
            yield found
            offset = found.end


def delete_segments(disk: Disk, directory: Path, numbers: list[int]) -> None:
    """Remove segments that are not needed any more, durably, the oldest first. Somebody may have done it before."""
    for number in numbers:
        with suppress(FileNotFoundError):
            disk.unlink(segment_path(directory, number))
    if numbers and directory.is_dir():
        sync_directory(disk, str(directory))
