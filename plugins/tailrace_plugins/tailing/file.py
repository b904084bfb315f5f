"""One file of a log: who it is, and how far it was read.

A file is not its path, which rotation changes, nor its inode, which is used again after a removal. It is device,
inode and the hashes of its first bytes and of the last that were read, for files may begin alike; the hashes alone
where it was compressed or copied, uncompressed. A file that is open is the same file for certain, unless somebody
truncates it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from tailrace_plugins.tailing.content import Content, Plain, is_regular, open_content, packed_length, shows_change
from tailrace_plugins.tailing.lines import TAIL_BYTES, Block, next_block
from tailrace_plugins.tailing.names import is_packed

HEAD_BYTES = 1024

Stamp = tuple[int, int]  # size and time of change, which together tell whether there is something new


Key = tuple[int, int]  # device and inode

_LOOK_BYTES = 1 << 20  # the last line of a span is looked for in so many bytes before its end


class Bounds(NamedTuple):
    """Where whole lines lie in a plain file."""

    offset: int
    end: int
    tail: bytes  # the last bytes before `end`


class Replaced(Exception):  # noqa: N818
    """Under the file's path there is another file now."""


class Truncated(Exception):  # noqa: N818
    """The file does not begin with the bytes that were read, or is shorter than they are."""


class FileState(msgspec.Struct, forbid_unknown_fields=True):
    """What the checkpoint keeps of a file."""

    path: str  # where it was seen last
    dev: int
    ino: int
    head: str  # hash of the first `head_len` bytes
    head_len: int  # at most 1024; 0 for an empty file
    offset: int  # of the first byte that was not given yet
    part: int = 0  # how many pieces were given of an over-long line that goes on at `offset`
    tail: str = ""  # hash of the `tail_len` bytes before `offset`
    tail_len: int = 0


def hash_bytes(data: bytes) -> str:
    """Give the hash of a few bytes of a file: BLAKE2b, 16 bytes, as hexadecimal digits; "" of none."""
    return hashlib.blake2b(data, digest_size=16).hexdigest() if data else ""


class File:
    """A file that is, or was, read."""

    def __init__(self, state: FileState, *, finished: bool = False) -> None:
        self.state = state
        self.finished = finished  # nothing more is expected of it
        self.away = False  # it was not seen in the last look
        self.lost = False  # that was reported
        self.more = False  # the last read did not reach the end
        self.error: str | None = None  # what is wrong with a compressed file
        self.seen: Stamp | None = None  # as it was when it was last known to be this file
        self.settled = False  # another file of that size would have another time
        self.idle: Stamp | None = None  # as it was when the end was reached
        self.idle_since = 0.0  # on the monotonic clock
        self._content: Content | None = None
        self._head = b""  # the bytes behind `state.head`, while open
        self._tail = b""  # those behind `state.tail`
        self._changed = 0.0  # when it was written to or renamed, by the clock on the wall
        self._origin: Mapping[str, str] = {}

    @property
    def key(self) -> Key:
        """Device and inode."""
        return self.state.dev, self.state.ino

    @property
    def is_open(self) -> bool:
        """Tell whether there is a descriptor."""
        return self._content is not None

    @property
    def compressed(self) -> bool:
        """Tell whether its bytes are read through a decoder."""
        content = self._content  # taken once: `lag` asks from another thread
        return content.compressed if content else is_packed(self.state.path)

    @property
    def origin(self) -> Mapping[str, str]:
        """What a batch says of where it comes from."""
        if self._origin.get("path") != self.state.path:
            self._origin = {"path": self.state.path}
        return self._origin

    def position(self) -> dict[str, Any]:
        """Give the state as JSON values."""
        state = self.state
        return {
            "path": state.path,
            "dev": state.dev,
            "ino": state.ino,
            "head": state.head,
            "head_len": state.head_len,
            "offset": state.offset,
            "part": state.part,
            "tail": state.tail,
            "tail_len": state.tail_len,
        }

    def begins_like(self, probe: bytes) -> bool:
        """Tell whether `probe`, the first bytes of some file, begins with the head of this one."""
        length = self.state.head_len
        return len(probe) >= length and (length == 0 or hash_bytes(probe[:length]) == self.state.head)

    def goes_on_in(self, pread: Callable[[int, int], bytes], *, shorter: bool = True) -> bool:
        """Tell whether the file that `pread` reads has the bytes before the offset that were read of this one.

        If it ends before, the answer is `shorter`.
        """
        tail = self._read_tail(pread)
        return shorter if len(tail) < self.state.tail_len else hash_bytes(tail) == self.state.tail

    def ends_like(self, pread: Callable[[int, int], bytes], limit: int | None) -> bool:
        """Tell whether the file that `pread` reads has what this open one has at its end, or before `limit`."""
        assert self._content is not None
        end = self._content.stat().st_size
        end = end if limit is None else min(end, limit)
        length = min(end, TAIL_BYTES)
        return self._content.pread(length, end - length) == pread(length, end - length)

    def _read_tail(self, pread: Callable[[int, int], bytes]) -> bytes:
        length = self.state.tail_len
        return pread(length, self.state.offset - length) if length else b""

    def open(self) -> None:
        """Open it at its path, if it is not open. Raises OSError, and `Replaced` if that is not this file."""
        if self._content is None:
            self._open()

    def _open(self) -> Content:
        content = open_content(self.state.path)
        try:
            status = content.stat()
            probe = content.pread(HEAD_BYTES, 0)
            if (status.st_dev, status.st_ino) != self.key or not is_regular(status) or not self.begins_like(probe):
                raise Replaced(self.state.path)
            # a compressed one would have to be decompressed up to there only to find that out
            if not content.compressed and not self.goes_on_in(content.pread):
                raise Replaced(self.state.path)
            self._tail = b"" if content.compressed else self._read_tail(content.pread)
        except BaseException:
            content.close()
            raise
        self._content = content
        self._learn_head(probe)
        return content

    def close(self) -> None:
        """Close the descriptor, if there is one."""
        if self._content is not None:
            self._content.close()
            self._content = None

    def stat(self) -> os.stat_result:
        """Give the state of the open file, or of what lies at its path."""
        content = self._content
        return content.stat() if content else os.stat(self.state.path)

    def is_idle(self, status: os.stat_result | None = None) -> bool:
        """Tell whether the end was reached and nothing was written since; `status` is its state, if known."""
        return not self.more and self.idle is not None and self._stamp(status or self.stat()) == self.idle

    def quiet_for(self, now: float, wall: float) -> float:
        """Give the seconds since its end was reached, or since it was last written to or renamed, if that is longer."""
        return max(now - self.idle_since, wall - self._changed)

    def has_name(self) -> bool:
        """Tell whether it could be opened again."""
        return self._content is None or self._content.stat().st_nlink > 0

    def forget_end(self) -> None:
        """Take nothing for granted: at the next turn it is read as if anew."""
        self.more = False
        self.idle = None

    def has_more(self, status: Stamp) -> bool:
        """Tell of a finished file whether there is something to read in it after all."""
        if self.compressed:
            return self.error is not None and status != self.seen
        return status[0] > self.state.offset

    def found(self, path: str, key: Key, status: Stamp, *, live: bool) -> None:
        """Take note of where it is now; it is not finished if it has grown, or is the live file again."""
        was_packed = is_packed(path) and not is_packed(self.state.path)
        self.state.path = path
        self.state.dev, self.state.ino = key
        # lines may have come late, but before it was compressed
        came_late = was_packed and packed_length(path) != self.state.offset % (1 << 32)
        if self.finished and (came_late or (live and not self.compressed) or self.has_more(status)):
            self.finished = False
            self.forget_end()
        self.seen = status
        self.settled = shows_change(status[1])

    def holds(self, key: Key) -> bool:
        """Tell whether it is open and is the file of this device and inode, which nobody else can be then."""
        if self._content is None:
            return False
        status = self._content.stat()
        return (status.st_dev, status.st_ino) == key

    def is_intact(self) -> bool:
        """Tell whether the open file still has the bytes that were read; true of one that is not open."""
        if self._content is None:
            return True
        try:
            self._check(self._content.stat().st_size)
            self._learn_more()
        except Truncated:
            return False
        except OSError:  # a disk that cannot read says nothing about the bytes
            return True
        return True

    def read(self, now: float, *, block_bytes: int, max_line_bytes: int, ended: bool = False) -> Block | None:
        """Give the next lines and move on; None if there is no whole line yet.

        The file must be open. Raises `Truncated`, and OSError.
        """
        content, state = self._content, self.state
        assert content is not None
        before = None
        if self.more:
            self._check(state.offset)
        else:
            before = self._stamp(content.stat())
            self._check(before[0])
            if content.error and self.idle not in (None, before):  # it was incomplete, and has changed
                self.close()
                content = self._open()
        block = next_block(
            content, state.offset, state.part, block_bytes=block_bytes, max_line_bytes=max_line_bytes, ended=ended
        )
        self.error = content.error
        self._learn_more()  # after the block was read, so that the head covers it
        if block is None and before is None:  # the end, but how the file looked before is not known
            self.more = False
            return self.read(now, block_bytes=block_bytes, max_line_bytes=max_line_bytes, ended=ended)
        if block is None:
            if before != self.idle:
                self.idle, self.idle_since = before, now
            return None
        self._move(block.end, block.tail)
        state.part = 0 if block.last else block.part
        self.more = block.more
        return block

    def find_span(self, least: int, most: int) -> Bounds | None:
        """Move on by as many whole lines as have `most` bytes, for others to read them; None if `least` are not there.

        The file must be open. Raises `Truncated`, and OSError.
        """
        content, state = self._content, self.state
        assert content is not None
        size = content.stat().st_size
        if content.compressed or state.part or size - state.offset < least:
            return None
        self._check(size)
        end = min(size, state.offset + most)
        start = max(state.offset, end - _LOOK_BYTES)
        data = content.pread(end - start, start)
        length = data.rfind(b"\n") + 1
        if len(data) < end - start or not length:  # it is being truncated, or has a line that is too long for this
            return None
        bounds = Bounds(state.offset, start + length, data[max(0, length - TAIL_BYTES) : length])
        self._learn_more()
        self._move(bounds.end, bounds.tail)
        self.more = bounds.end < size
        return bounds

    def duplicate(self) -> int:
        """Give another descriptor of the open, plain file."""
        assert isinstance(self._content, Plain)
        return self._content.duplicate()

    def _move(self, offset: int, tail: bytes) -> None:
        """Everything before `offset` was given; `tail` are the last bytes of it."""
        self.state.offset = offset
        self._tail = tail
        self.state.tail = hash_bytes(tail)
        self.state.tail_len = len(tail)
        self.idle = None

    def skip_to_end(self, max_line_bytes: int) -> None:
        """Move to the end of the last whole line, but not back over more than `max_line_bytes`."""
        assert self._content is not None
        end = self._content.stat().st_size
        start = max(0, end - max_line_bytes)
        self.state.offset = start + self._content.pread(end - start, start).rfind(b"\n") + 1

    def _check(self, size: int) -> None:
        """Raise `Truncated` if a plain file is not what was read."""
        content = self._content
        if content is None or content.compressed:
            return
        if size < self.state.offset:
            raise Truncated(self.state.path)
        if content.pread(len(self._head), 0) != self._head or self._read_tail(content.pread) != self._tail:
            raise Truncated(self.state.path)

    def _learn_more(self) -> None:
        """Extend the head of a plain file that was short; a file truncated just now is left to the next check."""
        content = self._content
        if content is None or content.compressed or len(self._head) == HEAD_BYTES:
            return
        probe = content.pread(HEAD_BYTES, 0)
        if probe.startswith(self._head) and len(probe) > len(self._head):
            self._learn_head(probe)

    def _stamp(self, status: os.stat_result) -> Stamp:
        self._changed = max(status.st_mtime, status.st_ctime)
        return status.st_size, status.st_mtime_ns

    def _learn_head(self, probe: bytes) -> None:
        self._head = probe
        self.state.head = hash_bytes(probe)
        self.state.head_len = len(probe)
