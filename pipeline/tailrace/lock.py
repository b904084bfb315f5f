"""One process per state directory: the lock that sees to it.

The kernel holds the lock (flock(2)) and lets go of it when the process ends, however it ends. The file
`STATE_DIR/lock` stays; the process id in it is only for people to read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from tailrace.durable import Disk, make_directories, write_all
from tailrace.logs import ROOT
from tailrace.machine import network_file_system

NAME: Final = "lock"
_REMEDIES: Final = {
    errno.EROFS: "mount it writable; the kernel makes a file system read-only when its disk fails, dmesg tells",
    errno.ENOSPC: "make room there",
}


class LockError(Exception):
    """The state directory cannot be had; the message says why and what to do."""


@contextlib.contextmanager
def hold(state_dir: Path, disk: Disk | None = None) -> Iterator[None]:
    """Hold the right to change a state directory while the `with` block lasts; make it if it is missing.

    Raises LockError if another process holds it, or if it cannot be written.
    """
    disk = disk or Disk()
    path = state_dir / NAME
    with contextlib.ExitStack() as opened:
        try:
            make_directories(disk, str(state_dir))
            descriptor = disk.open(str(path), os.O_RDWR | os.O_CREAT)
            opened.callback(disk.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            pid = f"{os.getpid()}\n".encode()
            write_all(disk, descriptor, pid)  # before the cut, so that there is a first line at any time
            disk.truncate(descriptor, len(pid))
        except BlockingIOError:
            raise LockError(
                f"{path} is held by process {_read_pid(descriptor)}: one process per state directory; "
                "stop that one first"
            ) from None
        except OSError as error:
            raise LockError(
                f"state directory {state_dir} cannot be used: {error.strerror}: {error.filename or path}; "
                + _REMEDIES.get(error.errno or 0, "set state_dir to a directory that this user may write")
            ) from None
        yield


class Locks:
    """The state directories that this process holds; all are given up at the end of the `with` block."""

    def __init__(self) -> None:
        self._held: dict[Path, contextlib.ExitStack] = {}

    def __enter__(self) -> Locks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.keep([])

    def take(self, state_dirs: Iterable[Path]) -> None:
        """Hold these too. Raises LockError, and holds none of them that it did not hold before."""
        before = list(self._held)
        try:
            for state_dir in sorted({each.resolve() for each in state_dirs} - self._held.keys()):
                with contextlib.ExitStack() as taken:
                    taken.enter_context(hold(state_dir))
                    self._held[state_dir] = taken.pop_all()
                if kind := network_file_system(state_dir):
                    logging.getLogger(ROOT).warning(
                        "the state directory is on a network file system, which may lose what was synced and let two "
                        "hosts have it; set state_dir to a directory on a local disk",
                        extra={"path": str(state_dir), "type": kind},
                    )
        except LockError:
            self.keep(before)
            raise

    def keep(self, state_dirs: Iterable[Path]) -> None:
        """Give up all but these."""
        for state_dir in self._held.keys() - {each.resolve() for each in state_dirs}:
            self._held.pop(state_dir).close()


def holder(state_dir: Path) -> str | None:
    """Give the id of the process that holds the state directory; None if none does.

    Raises OSError if the lock file cannot be read.
    """
    try:
        descriptor = os.open(state_dir / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_pid(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def _read_pid(descriptor: int) -> str:
    text = os.pread(descriptor, 32, 0).partition(b"\n")[0]
    return text.decode() if text.isdigit() else "(unknown)"
