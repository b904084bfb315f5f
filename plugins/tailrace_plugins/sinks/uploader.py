"""Threads that upload files to a store, each file as often as it takes.

1. A file is uploaded up to the length that was given with it, and only if it has so many bytes.
2. A file is in one thread's hands at a time, and a longer length waits for the shorter one: so what is in the store in
   the end is the longest.
3. A store that fails is left in peace for a while by all threads, longer each time; what failed goes to the end of the
   queue. A file that cannot be read is put aside until the next start, for that is not the store's fault; only one that
   is gone is given up.
4. `close` waits a little only, for a store may hang. Who comes next begins when those threads have ended.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tailrace import Context
from tailrace_plugins.stores import Store, describe

AT_ONCE: Final = 4  # files
BACKOFF: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # seconds of peace after failures in a row; the last repeats
ATTEMPTS: Final = 3  # failures in a row after which `wait` gives up
CLOSE_SECONDS: Final = 2.0
_PIECE_BYTES: Final = 1 << 20
_LOOK_SECONDS: Final = 0.1


class _Stopped(Exception):  # noqa: N818
    """The upload is given up, for the process ends or recovers."""


class _Unreadable(Exception):  # noqa: N818
    """The file is not what it should be."""


@dataclass
class Figures:
    """What was done since the process began."""

    uploads: int = 0
    bytes: int = 0
    failures: int = 0


class Uploader:
    """Uploads files below the directory `root` to a store; an object's name is the file's path from there on.

    Its threads begin when those `before` have ended. All methods are for one thread, `pending` is for any.
    """

    def __init__(
        self, context: Context, store: Store, root: str, figures: Figures, before: Sequence[threading.Thread] = ()
    ) -> None:
        self._log = context.log
        self._store = store
        self._root = root
        self._figures = figures
        self._before = before
        self._changed = threading.Condition()
        self._waiting: dict[str, int] = {}  # by path, the length; whose turn it is stands first
        self._busy: set[str] = set()
        self._done: dict[str, int] = {}
        self._aside: dict[str, str] = {}  # by path, why it cannot be read
        self._gone: list[str] = []
        self._stopped = False
        self._failed_in_a_row = 0
        self._again = 0.0  # when the store is tried again
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._cause = ""  # of the last failure, if nothing went well since

    @property
    def pending(self) -> int:
        """Say how many files are still to be uploaded."""
        with self._changed:
            return len(self._waiting.keys() | self._busy | self._aside.keys())

    @property
    def alive(self) -> Sequence[threading.Thread]:
        """The threads that have not ended."""
        return [thread for thread in (*self._before, *self._threads) if thread.is_alive()]

    @property
    def has_news(self) -> bool:
        """Whether `take_done` has something to give."""
        return bool(self._done or self._error)

    def add(self, files: Mapping[str, int]) -> None:
        """Upload these, up to the given lengths."""
        with self._changed:
            self._waiting |= files
            for _ in range(len(self._threads), min(AT_ONCE, len(self._waiting) + len(self._busy))):
                thread = threading.Thread(target=self._work, name="tailrace-upload", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify_all()

    def take_done(self) -> Mapping[str, int]:
        """Give what was uploaded, or is gone, since the last call, with its length; raises what a thread died of."""
        with self._changed:
            if self._error is not None:
                raise self._error
            done, self._done = self._done, {}
        return done

    def wait(self, stop: threading.Event) -> None:
        """Return when all is uploaded, the store has failed a few times in a row, or `stop` is set."""
        with self._changed:
            self._failed_in_a_row, self._again = 0, 0.0
            self._changed.notify_all()
            while (self._waiting or self._busy) and self._failed_in_a_row < ATTEMPTS and self._error is None:
                if stop.is_set():
                    return
                self._changed.wait(_LOOK_SECONDS)

    def left(self) -> Sequence[str]:
        """Say what was not uploaded, in sentences."""
        sentences = [f"{path} is gone and could not be uploaded" for path in self._gone]
        sentences += [f"{path} could not be uploaded: {why}" for path, why in self._aside.items()]
        if pending := self.pending - len(self._aside):
            cause = f": {self._cause}" if self._cause else ""
            sentences.append(f"{pending} files could not be uploaded{cause}; run it again, they are kept until then")
        return sentences

    def close(self) -> None:
        """Give up what is under way; it is not done."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        try:
            for thread in self._before:
                thread.join()
            while (job := self._next()) is not None:
                self._upload(*job)
        except BaseException as error:  # a bug, or a death that is simulated: the pipeline's thread raises it
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> tuple[str, int] | None:
        """Wait for a file that is to be uploaded now; None: there will be none any more."""
        with self._changed:
            while not self._stopped:
                pause = self._again - time.monotonic()
                path = next((path for path in self._waiting if path not in self._busy), None)
                if path is not None and pause <= 0:
                    self._busy.add(path)
                    return path, self._waiting.pop(path)
                self._changed.wait(None if path is None else pause)
            return None

    def _upload(self, path: str, length: int) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            self._give_up(path, length)
            return
        except OSError as error:
            self._put_aside(path, str(error))
            return
        try:
            self._store.put(os.path.relpath(path, self._root), self._pieces(descriptor, length), length)
        except _Stopped:
            return
        except _Unreadable as error:
            self._put_aside(path, str(error))
        except Exception as error:  # each store has its own
            self._fail(path, length, describe(error))
        else:
            self._succeed(path, length)
        finally:
            os.close(descriptor)

    def _pieces(self, descriptor: int, length: int) -> Iterator[bytes]:
        offset = 0
        while offset < length:
            if self._stopped:
                raise _Stopped
            try:
                piece = os.pread(descriptor, min(_PIECE_BYTES, length - offset), offset)
            except OSError as error:
                raise _Unreadable(str(error)) from error
            if not piece:
                raise _Unreadable(f"it has {offset} bytes where {length} were committed; restore it")
            offset += len(piece)
            yield piece

    def _succeed(self, path: str, length: int) -> None:
        with self._changed:
            self._settle(path, length)
            self._figures.uploads += 1
            self._figures.bytes += length
            was_down, self._failed_in_a_row, self._again, self._cause = self._cause, 0, 0.0, ""
        self._log.debug("slice was uploaded", extra={"path": path, "bytes": length})
        if was_down:
            self._log.info("uploads go on", extra={"path": path})

    def _give_up(self, path: str, length: int) -> None:
        with self._changed:
            self._settle(path, length)
            self._gone.append(path)
            self._figures.failures += 1
        self._log.error("slice is gone, and was not uploaded before", extra={"path": path, "bytes": length})

    def _put_aside(self, path: str, why: str) -> None:
        with self._changed:
            self._busy.discard(path)
            self._aside[path] = why
            self._figures.failures += 1
            self._changed.notify_all()
        self._log.error(
            "slice cannot be read to be uploaded; the next start tries it", extra={"path": path, "cause": why}
        )

    def _settle(self, path: str, length: int) -> None:
        self._busy.discard(path)
        self._done[path] = length
        self._changed.notify_all()

    def _fail(self, path: str, length: int, cause: str) -> None:
        with self._changed:
            self._busy.discard(path)
            self._waiting.setdefault(path, length)
            self._figures.failures += 1
            now = time.monotonic()
            is_first = now >= self._again  # of the threads that tried at the same time
            if is_first:
                self._failed_in_a_row += 1
                pause = BACKOFF[min(self._failed_in_a_row, len(BACKOFF)) - 1]
                self._again = now + pause
                self._cause = f"{path}: {cause}"
            self._changed.notify_all()
        if is_first:
            self._log.warning(
                "slice could not be uploaded; it is kept and tried again",
                extra={"path": path, "cause": cause, "wait_s": pause},
            )
