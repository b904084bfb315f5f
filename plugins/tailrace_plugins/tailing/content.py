"""The bytes of a file, plain or compressed, by offset."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from tailrace_plugins.tailing.names import compression_of

_CHUNK = 262_144

_TICK = 0.05
"""Seconds; the kernel's clock for files is that coarse at most."""

_COARSE_TICK = 2.0
"""Seconds; as coarse are file systems that keep whole seconds."""


class Content(Protocol):
    """An open file. Offsets are those of the uncompressed bytes."""

    compressed: bool
    error: str | None
    """Why the compressed bytes could not be read to their end; None while nothing is wrong."""

    def pread(self, size: int, offset: int) -> bytes:
        """Give `size` bytes from `offset` on, fewer only at the end. Raises OSError if one of them cannot be read."""

    def pread_some(self, size: int, offset: int) -> bytes:
        """Give as many of `size` bytes from `offset` on as can be read. Raises OSError if not even the first can be."""

    def next_data(self, offset: int) -> int:
        """Give the first offset from `offset` on that does not lie in a hole, or the end."""

    def stat(self) -> os.stat_result:
        """Give the state of the open file, which may have another name by now, or none."""

    def close(self) -> None:
        """Close the descriptor."""


class Stream(Protocol):
    """What can be read from its beginning."""

    def read(self, size: int, /) -> bytes:
        """Give `size` bytes, fewer only at the end."""

    def read1(self, size: int, /) -> bytes:
        """Give some bytes, none only at the end."""

    def seek(self, offset: int, /) -> int:
        """Go to the beginning, which is at offset 0."""

    def fileno(self) -> int:
        """Give the descriptor, if there is one."""

    def close(self) -> None:
        """Let go of it."""


def open_content(path: str) -> Content:
    """Open a file for reading; what ends in `.gz` or `.zst` is decompressed. Raises OSError."""
    # without O_NONBLOCK, a pipe that somebody put in the place of a file would hold us up for ever
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    compression = compression_of(path)
    return Compressed(os.fdopen(descriptor, "rb"), compression) if compression else Plain(descriptor)


def packed_length(path: str) -> int | None:
    """Give the length, modulo 2**32, that the trailer of a gzip file tells (RFC 1952); None where it cannot be had.

    Of several members it tells that of the last alone.
    """
    if not path.endswith(".gz"):
        return None
    try:
        with open(path, "rb") as file:
            file.seek(-4, os.SEEK_END)
            return int.from_bytes(file.read(4), "little")
    except OSError:  # also of a file that is shorter
        return None


def is_regular(status: os.stat_result) -> bool:
    """Tell whether it is a file with bytes, not a directory, pipe or device."""
    return stat.S_ISREG(status.st_mode)


def shows_change(changed: int) -> bool:
    """Tell whether a change from now on would bear another time than `changed`, in nanoseconds."""
    tick = _TICK if changed % 1_000_000_000 else _COARSE_TICK
    return time.time() - changed / 1e9 > tick  # the clock of the files, whatever that of the pipeline is


class Plain:
    """A file as it is."""

    compressed = False
    error: str | None = None

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pread(self, size: int, offset: int) -> bytes:
        """Read at `offset`."""
        data = os.pread(self._descriptor, size, offset)
        while 0 < len(data) < size:  # it is the end, or a place that cannot be read
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def pread_some(self, size: int, offset: int) -> bytes:
        """Read at `offset`, up to a place that cannot be read."""
        return os.pread(self._descriptor, size, offset)

    def next_data(self, offset: int) -> int:
        """Ask the file system, which knows its holes."""
        try:
            return os.lseek(self._descriptor, offset, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end
            return self.stat().st_size

    def duplicate(self) -> int:
        """Give another descriptor of the same file, for others to read at offsets of theirs, and to close."""
        return os.dup(self._descriptor)

    def stat(self) -> os.stat_result:
        """Ask the descriptor."""
        return os.fstat(self._descriptor)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


class Compressed:
    """A file that is read as a stream, compressed or (with "") not; going back means to begin again."""

    compressed = True

    def __init__(self, file: Stream, compression: str) -> None:
        self._file = file
        self._compression = compression
        self.error: str | None = None
        self._rewind()

    def _rewind(self) -> None:
        # imported here: it costs more than all of ours, and most logs are never compressed
        from smart_open.compression import compression_wrapper

        self._file.seek(0)
        self._read1: Callable[[int], bytes] = self._file.read1
        if self._compression:
            file: Any = self._file
            stream: Any = compression_wrapper(file, "rb", self._compression)
            # without its buffer, which throws away what was decoded before the place where the bytes are damaged
            self._read1 = stream.detach().read1
        self._start = 0  # the offset of the first byte of `_buffer`
        self._buffer = b""
        self.error = None

    def pread(self, size: int, offset: int) -> bytes:
        """Read on to `offset`, and from there."""
        if offset < self._start:
            self._rewind()
        while offset > self._start + len(self._buffer):
            self._start += len(self._buffer)
            self._buffer = self._more()
            if not self._buffer:
                return b""
        self._buffer = self._buffer[offset - self._start :]
        self._start = offset
        pieces = [self._buffer]
        missing = size - len(self._buffer)
        while missing > 0 and (piece := self._more()):
            pieces.append(piece)
            missing -= len(piece)
        self._buffer = b"".join(pieces)
        return self._buffer[:size]

    def pread_some(self, size: int, offset: int) -> bytes:
        """Read on; where the compressed bytes cannot be read, there are no others."""
        return self.pread(size, offset)

    def _more(self) -> bytes:
        if self.error is not None:
            return b""
        try:
            return self._read1(_CHUNK)
        except Exception as error:  # each decoder has its own: EOFError, zlib.error, BadGzipFile, ZstdError
            if isinstance(error, OSError) and error.errno:
                self._start = sys.maxsize  # what was decoded for this read is gone, so the next one begins again
                raise
            self.error = str(error)
            return b""

    def next_data(self, offset: int) -> int:
        """Compressed bytes have no holes."""
        return offset

    def stat(self) -> os.stat_result:
        """Ask the descriptor; the size is that of the compressed bytes."""
        return os.fstat(self._file.fileno())

    def close(self) -> None:
        """Close the descriptor."""
        self._file.close()
