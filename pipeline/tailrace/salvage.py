"""Saving what is whole in a damaged gzip file: its whole members as they are, and the lines of those cut off.

The file is walked from its start. A member that decodes, with the right checksum, is kept. Where there is none, the
next one is searched for by its magic number; a place counts as one if it decodes to its end, or for a good while, or
to the end of the file. What lies between is one of these:

* `cut`: a member that ends too early, by a crash, a full disk or a copy that was broken off. All that can be decoded
  of it is as it was written, so its whole lines are kept, as a member of their own. But the checksum is lost, and
  wrong bytes may, seldom, look the same.
* `damaged`: a member with wrong bytes in it. They are noticed late, or by the checksum alone, so the lines in front of
  that place are doubtful, and are kept only on demand.
* `zeros`: what a power cut leaves of bytes that never reached the disk.
* `foreign`: anything else.

Memory is bounded, whatever the file holds; the file is not changed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from tailrace.durable import Disk, naming, sync_directory, write_all
from tailrace.members import CHUNK, MAGIC, read_member

PROBE: Final = 256 << 10  # what decodes to so many bytes without an error is no accident
TRAILER: Final = 8  # bytes of checksum and length, some of which are often 0
_RESERVED_FLAGS: Final = 0xE0  # of a gzip header; they are 0


class Part(NamedTuple):
    """A run of bytes in the file, and what it is."""

    kind: Literal["whole", "cut", "damaged", "zeros", "foreign"]
    start: int
    end: int
    members: int = 0
    lines: int = 0  # that can be decoded
    lines_size: int = 0  # of those, in bytes
    damage: str = ""


def open_file(path: str) -> tuple[int, int]:
    """Open a file for reading and give its descriptor and size; raises OSError if it is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would hold us up
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no regular file")
    return descriptor, status.st_size


def survey(descriptor: int, size: int) -> Iterator[Part]:
    """Say what the first `size` bytes of a file are, from start to end. Raises OSError."""
    whole = Part("whole", 0, 0)
    offset = 0
    while offset < size:
        member = read_member(descriptor, "gzip", offset, size)
        if not member.damage:
            whole = whole._replace(end=member.end, members=whole.members + 1, lines=whole.lines + member.lines)
            offset = member.end
            continue
        if whole.members:
            yield whole
        following = _next_member(descriptor, offset + 1, size)
        yield from _lost(descriptor, offset, following)
        offset = following
        whole = Part("whole", offset, offset)
    if whole.members:
        yield whole


def _lost(descriptor: int, start: int, end: int) -> Iterator[Part]:
    """Say what lies where there is no whole member."""
    text_end = _end_without_zeros(descriptor, start, end)
    if start < text_end > end - TRAILER:
        text_end = end  # a member may end so
    if text_end > start:
        if os.pread(descriptor, 3, start) == MAGIC["gzip"]:
            member = read_member(descriptor, "gzip", start, text_end)
            kind: Literal["cut", "damaged"] = "cut" if member.is_cut else "damaged"
            yield Part(kind, start, text_end, 1, member.lines, member.lines_size, member.damage)
        else:
            yield Part("foreign", start, text_end)
    if text_end < end:
        yield Part("zeros", text_end, end)


def _next_member(descriptor: int, start: int, end: int) -> int:
    """Give the offset of the next member, or `end`."""
    magic = MAGIC["gzip"]
    while start < end and (data := os.pread(descriptor, min(CHUNK, end - start), start)):
        found = data.find(magic)
        while found >= 0:
            if _is_member(descriptor, start + found, end):
                return start + found
            found = data.find(magic, found + 1)
        start += max(1, len(data) - len(magic) + 1)  # the magic number may lie across two reads
    return end


def _is_member(descriptor: int, start: int, end: int) -> bool:
    flags = os.pread(descriptor, 1, start + 3)
    if not flags or flags[0] & _RESERVED_FLAGS:
        return False
    member = read_member(descriptor, "gzip", start, end, limit=PROBE)
    return not member.damage or (member.is_cut and member.size > 0)


def _end_without_zeros(descriptor: int, start: int, end: int) -> int:
    """Give the end of what is left when NUL bytes at the end are taken away."""
    while start < end:
        begin = max(start, end - CHUNK)
        text = os.pread(descriptor, end - begin, begin).rstrip(b"\0")
        if text:
            return begin + len(text)
        end = begin
    return start


class Salvage:
    """The file that is written: it must not exist, and is there wholly or not at all, if nobody is killed."""

    def __init__(self, path: str, disk: Disk, *, keep_cut: bool = True, keep_damaged: bool = False) -> None:
        self._path = path
        self._disk = disk
        self._kinds = [*(["cut"] if keep_cut else []), *(["damaged"] if keep_damaged else [])]
        self._descriptor: int | None = None
        self.lines = 0  # that were kept
        self.unverified = 0  # of these, how many were under no checksum that is right

    def keeps(self, part: Part) -> bool:
        """Tell whether something of this part is kept."""
        return part.kind == "whole" or (part.lines > 0 and part.kind in self._kinds)

    def keep(self, descriptor: int, part: Part) -> None:
        """Take over what is whole in this part. Raises OSError; FileExistsError if the file is there already."""
        if not self.keeps(part):
            return
        if self._descriptor is None:
            self._descriptor = self._disk.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
            self._disk.chmod(self._descriptor, 0o640)
        with naming(self._path):
            if part.kind == "whole":
                self._copy(descriptor, self._descriptor, part)
            else:
                self._compress(descriptor, self._descriptor, part)
                self.unverified += part.lines
        self.lines += part.lines

    def _copy(self, source: int, target: int, part: Part) -> None:
        offset = part.start
        while offset < part.end and (data := os.pread(source, min(CHUNK, part.end - offset), offset)):
            write_all(self._disk, target, data)
            offset += len(data)

    def _compress(self, source: int, target: int, part: Part) -> None:
        """Write the whole lines of a member that is not whole as one that is."""
        compressor = zlib.compressobj(6, wbits=31)

        def take(piece: bytes) -> None:
            write_all(self._disk, target, compressor.compress(piece))

        read_member(source, "gzip", part.start, part.end, take, part.lines_size)
        write_all(self._disk, target, compressor.flush())

    def finish(self) -> bool:
        """Make it durable; tell whether there is a file at all."""
        if self._descriptor is None:
            return False
        with naming(self._path):
            self._disk.fsync(self._descriptor)
        self._disk.close(self._descriptor)
        self._descriptor = None
        sync_directory(self._disk, os.path.dirname(self._path))
        return True

    def discard(self) -> None:
        """Remove what was written, if it is not finished."""
        if self._descriptor is not None:
            self._disk.close(self._descriptor)
            self._descriptor = None
            with contextlib.suppress(OSError):
                self._disk.unlink(self._path)
