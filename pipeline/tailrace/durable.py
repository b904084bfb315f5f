"""The disk: the only place that writes, fsyncs, renames and truncates files that must survive a crash.

Everything that has to be durable goes through a `Disk`, so that tests can pass one that fails at any operation,
tears a write or forgets what was not synced (`tailrace.testing.FaultyDisk`). Errors are the operating system's
own `OSError`s, with the path in `filename`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_TELLS_ERRORS = [5, 8]  # from this Linux on syncfs(2) says when something could not be written
SYNC_THREADS = 16  # a journal joins the fsyncs that wait together: 256 files take a tenth of the time or less


class Disk:
    """The operating system's disk, one method per operation."""

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        """Open `path`; the descriptor is not inherited by other programs."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)

    def write(self, descriptor: int, data: bytes) -> int:
        """Write some of `data` and say how much."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Return once the file's data and length are on the medium."""
        os.fsync(descriptor)

    def fsync_all(self, descriptors: Mapping[str, int]) -> None:
        """Return once all the files, by path, are on the medium."""
        files = list(descriptors.items())
        shares = [files[first::SYNC_THREADS] for first in range(min(SYNC_THREADS, len(files)))]
        if len(shares) < 2:
            for share in shares:
                _fsync_each(self, share)
            return
        with ThreadPoolExecutor(len(shares), "tailrace-sync") as threads:
            for _ in threads.map(lambda share: _fsync_each(self, share), shares):
                pass

    @property
    def syncs_file_systems(self) -> bool:
        """Whether `sync_file_system` is there, and tells whether all could be written."""
        about = os.uname()
        release = [int(part) for part in re.findall(r"\d+", about.release)[:2]]
        return about.sysname == "Linux" and release >= _TELLS_ERRORS

    def sync_file_system(self, descriptor: int) -> None:
        """Return once all that was written to the descriptor's file system since it was opened is on the medium.

        Ten thousand files take a quarter of the time that their fsyncs take, and an eighth of the CPU; the price is
        that the data of other programs is waited for.
        """
        import ctypes  # for a call that Python does not have, in processes that need it

        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def begin_sync(self, directory: str) -> None:
        """Sync the directory's file system, but promise nothing: what is to be synced later has less to do then.

        Called by a thread of its own while files are written: 10,000 of them take two thirds of the time.
        """
        with contextlib.suppress(OSError):  # it is seen once more by every descriptor that was open before
            descriptor = self.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self.sync_file_system(descriptor)
            finally:
                self.close(descriptor)

    def truncate(self, descriptor: int, length: int) -> None:
        """Cut the file to `length` bytes."""
        os.ftruncate(descriptor, length)

    def rename(self, source: str, target: str) -> None:
        """Rename within one file system, replacing `target` atomically."""
        os.replace(source, target)

    def link(self, source: str, target: str) -> None:
        """Give a file a second name; FileExistsError if `target` is there."""
        os.link(source, target)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)

    def mkdir(self, path: str, mode: int) -> None:
        """Make one directory."""
        os.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        os.rmdir(path)

    def chmod(self, descriptor: int, mode: int) -> None:
        """Set the file's mode exactly, whatever the umask."""
        os.fchmod(descriptor, mode)

    def chown(self, descriptor: int, uid: int, gid: int) -> None:
        """Give the file another owner and group; -1 leaves one as it is."""
        os.fchown(descriptor, uid, gid)


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Put `path` into an OSError that does not say which file it is about, as those of descriptors do not."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = path
        raise


def _fsync_each(disk: Disk, files: Sequence[tuple[str, int]]) -> None:
    for path, descriptor in files:
        with naming(path):
            disk.fsync(descriptor)


def write_all(disk: Disk, descriptor: int, data: bytes) -> None:
    """Write all of `data`, however many writes that takes."""
    while data and (written := disk.write(descriptor, data)) < len(data):
        data = data[written:]


def sync_directory(disk: Disk, path: str) -> None:
    """Make the names in a directory durable: what was created, renamed or removed in it."""
    descriptor = disk.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.fsync(descriptor)
    finally:
        disk.close(descriptor)


def make_directories(disk: Disk, path: str, mode: int = 0o750) -> None:
    """Make a directory and those above it that are missing, durably, with exactly this mode."""
    missing = []
    path = path.rstrip("/")
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        try:
            disk.mkdir(directory, mode)
        except FileExistsError:
            if not os.path.isdir(directory):
                raise
        else:
            _set_directory_mode(disk, directory, mode)
        sync_directory(disk, os.path.dirname(directory))


def _set_directory_mode(disk: Disk, path: str, mode: int) -> None:
    descriptor = disk.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.chmod(descriptor, mode)
    finally:
        disk.close(descriptor)


def replace_file(disk: Disk, path: Path, data: bytes, *, previous: Path | None = None, mode: int | None = None) -> None:
    """Put `data` in the place of the file, wholly or not at all; keep the former one as `previous`.

    A crash leaves the old file, the new one, or, between two renames, none of this name and the old one as
    `previous`. The file has what the umask leaves of 0640, or exactly `mode`, and nobody can have opened it before.
    """
    temporary = f"{path}.tmp"
    if mode is None:
        descriptor = disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    else:
        with contextlib.suppress(FileNotFoundError):
            disk.unlink(temporary)
        descriptor = disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with naming(temporary):
            if mode is not None:
                disk.chmod(descriptor, mode)
            write_all(disk, descriptor, data)
            disk.fsync(descriptor)
    finally:
        disk.close(descriptor)
    if previous is not None and path.exists():
        disk.rename(str(path), str(previous))
    disk.rename(temporary, str(path))
    sync_directory(disk, str(path.parent))
