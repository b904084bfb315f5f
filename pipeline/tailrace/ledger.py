"""The ledger: files that only grow, and can be cut back to what was committed.

The file sink and the dead letter write through it. Its rules make "exactly once" out of a checkpoint:

1. No byte is appended to a file whose present length is not in the durable checkpoint, in both of its generations
   (`prepare` comes first), so recovery knows where to cut, and bytes that somebody else wrote are never cut.
2. One append per file and commit, and it is whole: for gzip, whole members.
3. A file that is shorter than recorded, or gone, is `Damaged`, and so is one that somebody else wrote to.
4. Below the directory `below` no link is followed: who may write there shall not lead us elsewhere.
5. Files are open only while a commit writes them, so neither a cap nor an idle timer is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from tailrace.durable import Disk, make_directories, naming, sync_directory, write_all
from tailrace.stage import Damaged

_LOST = "restore it, or run `tailrace state forget` if its loss is accepted"


class Ledger:
    """The files that one sink appends to, with the length of each as of the checkpoint."""

    def __init__(
        self,
        disk: Disk,
        *,
        mode: int = 0o640,
        uid: int = -1,
        gid: int = -1,
        max_open: int = 256,
        below: str | None = None,
    ) -> None:
        self._disk = disk
        self._mode = mode
        self._uid = uid
        self._gid = gid
        self._max_open = max_open
        self._below = below
        self._entered: set[str] = set()  # directories that were looked at in this commit, or recovery
        self.lengths: dict[str, int] = {}

    def recover(self, recorded: Mapping[str, int]) -> int:
        """Cut every file back to its recorded length and say how many bytes that took away.

        Raises Damaged if one is shorter or gone.
        """
        self.lengths = dict(recorded)
        self._entered.clear()
        return sum(self._cut(path, length) for path, length in recorded.items())

    def _cut(self, path: str, length: int) -> int:
        self._enter(os.path.dirname(path))
        present = _size(path)
        if present is None:
            if length == 0:  # announced, and the crash came before it was made
                return 0
            raise Damaged(f"{path} is gone; the checkpoint has {length} bytes of it; {_LOST}")
        if present < length:
            raise Damaged(f"{path} has {present} bytes, but the checkpoint has {length} of it; {_LOST}")
        if length == 0:
            # an empty file is no valid gzip, and the checkpoint says that there was nothing in it
            self._disk.unlink(path)
            sync_directory(self._disk, os.path.dirname(path))
        elif present > length:
            descriptor = self._disk.open(path, os.O_WRONLY | os.O_NOFOLLOW)
            try:
                self._disk.truncate(descriptor, length)
                self._disk.fsync(descriptor)
            finally:
                self._disk.close(descriptor)
        return present - length

    def prepare(self, paths: Iterable[str]) -> dict[str, int]:
        """Give the present lengths of those files that the checkpoint does not know yet, to be recorded.

        Raises Damaged if one is not a regular file.
        """
        fresh = {path: _size(path) or 0 for path in paths if path not in self.lengths}
        self.lengths |= fresh
        return fresh

    def append(self, chunks: Mapping[str, Sequence[bytes]]) -> dict[str, int]:
        """Append to each file its chunks in one write, make all durable, and give the new lengths.

        The paths must have been prepared. Writes all files first and syncs them then, so that the file system
        can join the work; where there are more than may be open at once, it is synced as a whole.
        """
        lengths: dict[str, int] = {}
        touched: list[str] = []
        self._entered.clear()
        try:
            if len(chunks) > self._max_open:
                lengths = self._append_many(chunks, touched)
            else:
                lengths = self._append_group(list(chunks.items()), touched)
            for directory in {os.path.dirname(path): None for path in chunks if self.lengths[path] == 0}:
                sync_directory(self._disk, directory)
        except (OSError, Damaged):
            # the disk may stay full for long: until recovery no reader shall find a part of a member
            for path in touched:
                with contextlib.suppress(OSError, Damaged):
                    self._cut(path, self.lengths[path])
            raise
        self.lengths |= lengths
        return lengths

    def _append_many(self, chunks: Mapping[str, Sequence[bytes]], touched: list[str]) -> dict[str, int]:
        """Append to more files than may be open at once, and sync their file system."""
        lengths: dict[str, int] = {}
        directory = os.path.dirname(next(iter(chunks)))
        make_directories(self._disk, directory, self.directory_mode)
        # opened before anything is written, so that no error between write and sync is missed
        descriptor = self._disk.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            synced = os.fstat(descriptor).st_dev if self._disk.syncs_file_systems else None
            items = iter(chunks.items())
            with ThreadPoolExecutor(1, "tailrace-sync") as thread:
                syncing: Future[None] | None = None
                while group := list(islice(items, self._max_open)):
                    lengths |= self._append_group(group, touched, synced)
                    if synced is not None and (syncing is None or syncing.done()):
                        syncing = thread.submit(self._disk.begin_sync, directory)
            if synced is not None:
                with naming(directory):
                    self._disk.sync_file_system(descriptor)
        finally:
            self._disk.close(descriptor)
        return lengths

    def _append_group(
        self, group: Sequence[tuple[str, Sequence[bytes]]], touched: list[str], synced: int | None = None
    ) -> dict[str, int]:
        """Append to some files; those of the device `synced` are left for the caller to sync."""
        lengths: dict[str, int] = {}
        descriptors: dict[str, int] = {}
        devices: dict[str, int] = {}
        try:
            for path, parts in group:
                descriptor = descriptors[path] = self._open(path)
                devices[path] = self._check(path, descriptor)
                touched.append(path)
                if self.lengths[path] == 0:
                    self._hand_over(descriptor)
                data = b"".join(parts)
                with naming(path):
                    write_all(self._disk, descriptor, data)
                lengths[path] = self.lengths[path] + len(data)
            self._disk.fsync_all({path: descriptors[path] for path in descriptors if devices[path] != synced})
        finally:
            for descriptor in descriptors.values():
                self._disk.close(descriptor)
        return lengths

    def forget(self, paths: Iterable[str]) -> dict[str, None]:
        """Stop watching over files that are not being written any more; gives the delta that says so."""
        forgotten = dict.fromkeys(paths)
        for path in forgotten:
            del self.lengths[path]
        return forgotten

    def _open(self, path: str) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe in its place is not waited for
        directory = os.path.dirname(path)
        self._enter(directory)
        if self.lengths[path] > 0:
            try:
                return self._disk.open(path, flags)
            except FileNotFoundError:
                raise Damaged(f"{path} was removed while it was being written; {_LOST}") from None
        make_directories(self._disk, directory, self.directory_mode)
        return self._disk.open(path, flags | os.O_CREAT, self._mode)

    def _enter(self, directory: str) -> None:
        """Raise Damaged if a link leads to this directory, from where all of them lie."""
        if self._below is None or directory in self._entered:
            return
        place = directory
        while len(place) > len(self._below):
            if os.path.islink(place):
                raise Damaged(f"{place} is a link; output goes to real directories only: move it away, or mount there")
            place = os.path.dirname(place)
        self._entered.add(directory)

    def _hand_over(self, descriptor: int) -> None:
        """Give a new file its mode, exactly, and its owner; a change of owner could take some of the mode away."""
        if self._uid != -1 or self._gid != -1:
            self._disk.chown(descriptor, self._uid, self._gid)
        self._disk.chmod(descriptor, self._mode)

    @property
    def directory_mode(self) -> int:
        """Who may read a file may enter its directory."""
        return self._mode | (self._mode & 0o444) >> 2 | 0o300

    def _check(self, path: str, descriptor: int) -> int:
        """Refuse a file that somebody else writes to, or that is not as long as we left it; gives its device."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Damaged(f"{path} is being written by another process; two writers would destroy it") from None
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise Damaged(_irregular(path))
        present = about.st_size
        if present != self.lengths[path]:
            raise Damaged(
                f"{path} has {present} bytes where we left it with {self.lengths[path]}: somebody else changed it; "
                "give each pipeline an output path of its own, and see `tailrace state show`"
            )
        return about.st_dev


def _size(path: str) -> int | None:
    """Give the length of a file, None if there is none; raises Damaged if it is no regular file."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise Damaged(_irregular(path))
    return found.st_size


def _irregular(path: str) -> str:
    return f"{path} is a link, a directory or a device; output goes to regular files only: move it away"
