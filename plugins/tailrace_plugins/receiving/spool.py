"""The spool: what a receiver has acknowledged and the sinks have not committed yet, on disk.

The rules:

1. A body is acknowledged only when its record is fsynced; one fsync serves all bodies that wait for it (group commit).
2. Only what is fsynced is read, so that nothing reaches a sink that a sender was not told about.
3. What a failed write left behind is cut off before anything else is written, or refused until it can be.
4. A segment is appended to by one process; what is found at the start is synced, read, and never appended to.
5. A segment is deleted once the checkpoint generation *before* the newest covers it.
6. Beyond the size limit, on a full disk, or on one that fails, bodies are refused at once, and tried again soon.
7. A segment that was removed while it is written takes no more: what was not read of it is lost, and said to be.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, NamedTuple

from tailrace import Context
from tailrace.durable import make_directories, naming, sync_directory, write_all
from tailrace_plugins.receiving.digests import Digests
from tailrace_plugins.receiving.segments import Segment, delete_segments, find_segments, segment_path

RETRY_SECONDS: Final = 1.0
"""After a failed write bodies are refused for so long without trying."""

RESERVE_BYTES: Final = 64 << 20
"""So much of the disk is left free for the sinks to commit with, for they have to empty the spool; on a small disk
a tenth of it."""

SEGMENT_BYTES: Final = 16 << 20


class Refused(Exception):  # noqa: N818 - said of the body
    """The body cannot be stored now; the message says why. The sender shall try again."""


class Place(NamedTuple):
    """A place in the spool."""

    segment: int
    offset: int


class Storing(NamedTuple):
    """A body on its way to the disk."""

    stored: Future[None]  # done when it is durable; raises Refused
    repeated: bool  # the same body came before


class _Pending(NamedTuple):
    data: bytes
    digest: bytes | None
    received: float
    stored: Future[None]


class Spool:
    """The spool of one pipeline, in the directory `spool` of its state. Safe to be used by several threads."""

    def __init__(self, context: Context, *, limit: int, window: float, wake: Callable[[], None]) -> None:
        self.directory = context.state_dir / "spool"
        self._context = context
        self._limit = limit
        self._segment_bytes = min(SEGMENT_BYTES, max(limit // 8, 1))
        self._wake = wake  # called when there is more to read
        self._digests = Digests(context, window)
        self._changed = threading.Condition()  # guards all that follows
        self._ends: dict[int, int] = {}  # by segment, how far it may be read
        self._released = Place(0, 0)  # everything before was committed
        self._queue: list[_Pending] = []
        self._unstored: dict[bytes, Future[None]] = {}  # by digest, bodies that wait for their fsync
        self._unstored_bytes = 0
        self._trouble: tuple[str, float] | None = None  # why bodies are refused, and until when, on the monotonic clock
        self._writer: threading.Thread | None = None
        self._stopping = False
        # of the writer's thread alone
        self._next = 1
        self._active = -1  # the number of the segment that is written to
        self._descriptor = -1
        self._length = 0
        self._is_dirty = False  # there may be bytes behind `_length`

    # Opening and closing

    def open(self, place: Place | None) -> None:
        """Find what former lives left behind; `place` is where reading goes on. Raises OSError."""
        disk = self._context.disk
        make_directories(disk, str(self.directory))
        numbers = find_segments(self.directory)
        self._digests.load()
        for number in numbers:
            path = segment_path(self.directory, number)
            descriptor = disk.open(path, os.O_RDONLY)
            try:
                with naming(path):
                    disk.fsync(descriptor)  # before a repeated body is acknowledged because it is in there
            finally:
                disk.close(descriptor)
            segment = Segment(path)
            self._ends[number] = segment.size()
            for record in segment.records():
                if record.request.digest:
                    self._digests.add(bytes.fromhex(record.request.digest), record.request.received)
            segment.close()
        self._next = max([0, *numbers, place.segment if place else 0]) + 1
        self.release(place or Place(0, 0))

    def start(self) -> None:
        """Begin to take bodies."""
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_groups, name="spool", daemon=True)
            self._writer.start()

    def stop(self) -> None:
        """Store what waits, and take no more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        self._end_segment()

    # Taking bodies

    def append(self, data: bytes, digest: bytes | None, received: float) -> Storing:
        """Store the records of a body; one whose digest is that of a body stored before is not stored again.

        Raises Refused if it is known beforehand that it cannot be stored.
        """
        stored: Future[None] = Future()
        stored.set_running_or_notify_cancel()  # from now on nobody can cancel it, for others may wait for it too
        with self._changed:
            if digest is not None:
                if digest in self._digests:
                    stored.set_result(None)
                    return Storing(stored, repeated=True)
                if (first := self._unstored.get(digest)) is not None:
                    return Storing(first, repeated=True)
            refusal = self._refusal(len(data))
            if refusal is not None:
                raise Refused(refusal)
            if digest is not None:
                self._unstored[digest] = stored
            self._queue.append(_Pending(data, digest, received, stored))
            self._unstored_bytes += len(data)
            self._changed.notify_all()
        return Storing(stored, repeated=False)

    def refusal(self, size: int = 1) -> str | None:
        """Say why a body of `size` bytes would be refused now; None if it would not."""
        with self._changed:
            return self._refusal(size)

    def _refusal(self, size: int) -> str | None:
        if self._stopping:
            return "the receiver is stopping"
        if self._trouble is not None:
            reason, until = self._trouble
            if self._context.clock.monotonic() < until:
                return reason
        used = self._used()
        if used and used + size > self._limit:
            return f"the spool is full: {used} bytes wait to be written by the sinks, the limit is {self._limit}"
        try:
            disk = os.statvfs(self.directory)
        except OSError:  # whatever is wrong with it, to write is to find out
            return None
        free = disk.f_bavail * disk.f_frsize
        reserve = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 10)
        if free - size < reserve:
            return f"the disk of the spool is full: {free} bytes are free, {reserve} are kept for the sinks"
        return None

    # Writing

    def _write_groups(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._stopping:
                    self._changed.wait()
                group, self._queue = self._queue, []
            if not group:
                return
            problem: Exception | None = None
            try:
                self._write(group)
            except Exception as error:  # a bug too is answered with 503, and said
                problem = error
            self._settle(group, problem)

    def _write(self, group: list[_Pending]) -> None:
        disk = self._context.disk
        if self._descriptor >= 0:
            self._check_place()
        if self._is_dirty:
            disk.truncate(self._descriptor, self._length)
            self._is_dirty = False
        if self._descriptor < 0 or self._length >= self._segment_bytes:
            self._begin_segment()
        with naming(segment_path(self.directory, self._active)):
            self._is_dirty = True
            for pending in group:
                write_all(disk, self._descriptor, pending.data)
            disk.fsync(self._descriptor)
            self._is_dirty = False
        self._length += sum(len(pending.data) for pending in group)

    def _check_place(self) -> None:
        """Give up a segment that has no name any more, for nobody would find what is written there."""
        path = segment_path(self.directory, self._active)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(self._descriptor)):
                return
        self._end_segment()
        raise FileNotFoundError(errno.ENOENT, "a segment was removed while it was written", path)

    def _end_segment(self) -> None:
        if self._descriptor >= 0:
            self._context.disk.close(self._descriptor)
        self._descriptor, self._is_dirty = -1, False

    def _begin_segment(self) -> None:
        disk = self._context.disk
        self._end_segment()
        if not self.directory.is_dir():
            make_directories(disk, str(self.directory))
            self._context.log.error(
                "the directory of the spool was removed while it was in use; it is made again",
                extra={"path": str(self.directory)},
            )
        number, self._next = self._next, self._next + 1  # a number is used once, come what may
        path = segment_path(self.directory, number)
        descriptor = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            sync_directory(disk, str(self.directory))
        except OSError:
            disk.close(descriptor)
            raise
        self._descriptor, self._active, self._length = descriptor, number, 0

    def _settle(self, group: list[_Pending], problem: Exception | None) -> None:
        """Tell all who wait how it went."""
        with self._changed:
            for pending in group:
                self._unstored_bytes -= len(pending.data)
                if pending.digest is not None:
                    del self._unstored[pending.digest]
                    if problem is None:
                        self._digests.add(pending.digest, pending.received)
            if problem is None:
                self._ends[self._active] = self._length
                recovered, self._trouble = self._trouble is not None, None
            else:
                reason = f"the spool cannot be written: {problem}"
                known = self._trouble is not None
                self._trouble = (reason, self._context.clock.monotonic() + RETRY_SECONDS)
        for pending in group:
            if problem is None:
                pending.stored.set_result(None)
            else:
                pending.stored.set_exception(Refused(reason))
        if problem is None:
            self._wake()
            if recovered:
                self._context.log.info("the spool can be written again")
        elif not known:
            self._context.log.error(
                "bodies are refused with 503 until the spool can be written", extra={"cause": str(problem)}
            )

    # Reading and releasing

    def segments(self) -> dict[int, int]:
        """Give the segments there are, in order, and how far each may be read."""
        with self._changed:
            return dict(self._ends)

    def lose(self, place: Place) -> None:
        """Count what follows `place` in its segment as gone, for it cannot be found any more."""
        with self._changed:
            self._ends[place.segment] = place.offset

    def release(self, place: Place) -> None:
        """Let go of everything before `place`: it is committed, and will not be asked for again."""
        with self._changed:
            self._released = place
            numbers = [number for number in self._ends if number < place.segment]
            digests = self._digests.encode() if numbers else b""
        if not numbers:
            return
        try:
            self._digests.save(digests)
        except OSError as error:  # to delete is the better part: it is what makes room on a full disk
            self._context.log.warning(
                "the digests of stored bodies could not be saved; after a crash, a body may be stored twice",
                extra={"cause": str(error)},
            )
        delete_segments(self._context.disk, self.directory, numbers)
        with self._changed:
            for number in numbers:
                del self._ends[number]

    # Figures

    def used(self) -> int:
        """Give the number of bytes that wait to be committed by the sinks."""
        with self._changed:
            return self._used()

    def _used(self) -> int:
        released = min(self._released.offset, self._ends.get(self._released.segment, 0))
        return sum(self._ends.values()) - released + self._unstored_bytes

    def oldest(self) -> float | None:
        """Give the time (seconds since the epoch) at which the oldest body that waits was received; None if none."""
        with self._changed:
            ends, released = dict(self._ends), self._released
        for number, end in ends.items():
            offset = released.offset if number == released.segment else 0
            if offset < end:
                return _received(segment_path(self.directory, number), offset)
        return None


def _received(path: str, offset: int) -> float | None:
    try:
        segment = Segment(path)
    except FileNotFoundError:  # released just now
        return None
    try:
        return next((record.request.received for record in segment.records(offset)), None)
    finally:
        segment.close()
