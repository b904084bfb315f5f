"""A disk that fails when it is told to: for proving what survives a crash, a torn write, a full or broken disk.

`FaultyDisk` counts the operations that change something. At the chosen one it dies (`Crash`, which no `except
Exception` catches) or raises an `OSError` of the chosen kind. A write that fails has been torn: some of its bytes
are there. After a crash `lose_unsynced` does what a power cut may do: bytes that were not fsynced are gone or
garbage, and names whose directory was not fsynced are as they were before, from some point on.

    disk = FaultyDisk(fail_at=7)
    with pytest.raises(Crash):
        pipeline(disk).run(stop, once=True)
    disk.lose_unsynced()
    pipeline(Disk()).run(stop, once=True)       # and the output is exact
"""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable, Mapping

from tailrace.durable import Disk


class Crash(BaseException):
    """The process is dead; the message names the operation at which it died."""


class FaultyDisk(Disk):
    """A disk that fails at its `fail_at`-th changing operation, counted from 1; None counts only.

    What is dead stays dead: every later operation dies too. `error` is the errno to raise instead of dying; then
    `failures` operations in a row fail, from `fail_at` on. Real fsyncs are left out: what they are for is simulated.
    """

    def __init__(
        self, fail_at: int | None = None, *, error: int | None = None, failures: int = 1, seed: int = 0
    ) -> None:
        self.operations = 0
        self._fail_at = fail_at
        self._error = error
        self._failures = failures
        self._random = random.Random(f"{seed}/{fail_at}")  # noqa: S311 - repeatable, not secret
        self._paths: dict[int, str] = {}
        self._synced_lengths: dict[str, int] = {}  # of files with unsynced bytes, how much of them is safe
        self._cut_contents: dict[str, bytes] = {}  # of files with an unsynced truncation, what they held before
        self._name_changes: dict[str, list[Callable[[], None]]] = {}  # by directory, how to undo what is unsynced

    def _fails(self) -> bool:
        self.operations += 1
        if self._fail_at is None or self.operations < self._fail_at:
            return False
        if self._error is not None:
            return self.operations < self._fail_at + self._failures
        if self.operations > self._fail_at:
            raise Crash(f"dead since operation {self._fail_at}")
        return True

    def _fail(self, operation: str, path: str) -> BaseException:
        if self._error is not None:
            return OSError(self._error, os.strerror(self._error), path)
        return Crash(f"{operation} {path} (operation {self.operations})")

    def _either(self) -> bool:
        return self._random.random() < 0.5

    def _undo_later(self, path: str, undo: Callable[[], None]) -> None:
        self._name_changes.setdefault(os.path.dirname(path) or ".", []).append(undo)

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        """Open; making a file is an operation that can fail and can be lost."""
        makes = bool(flags & os.O_CREAT) and not os.path.exists(path)
        if makes:
            if self._fails():
                raise self._fail("create", path)
            self._undo_later(path, lambda: _remove(path))
        descriptor = super().open(path, flags, mode)
        self._paths[descriptor] = path
        if flags & os.O_TRUNC:
            self._synced_lengths.setdefault(path, 0)
        return descriptor

    def close(self, descriptor: int) -> None:
        """Close; closing makes nothing durable."""
        self._paths.pop(descriptor, None)
        super().close(descriptor)

    def write(self, descriptor: int, data: bytes) -> int:
        """Write; a failing write leaves some of its bytes."""
        path = self._paths[descriptor]
        self._synced_lengths.setdefault(path, os.fstat(descriptor).st_size)
        if self._fails():
            torn = data[: self._random.randint(0, len(data))]
            if torn:
                super().write(descriptor, torn)
            raise self._fail("write", path)
        return super().write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Mark the file's bytes, or the directory's names, as safe."""
        path = self._paths[descriptor]
        if self._fails():
            raise self._fail("fsync", path)
        self._forget(path)
        self._name_changes.pop(path, None)

    def fsync_all(self, descriptors: Mapping[str, int]) -> None:
        """Sync one after the other, so that each can be the one that fails."""
        for descriptor in descriptors.values():
            self.fsync(descriptor)

    def sync_file_system(self, descriptor: int) -> None:
        """Mark everything as safe: all files lie on one file system."""
        if self._fails():
            raise self._fail("syncfs", self._paths[descriptor])
        for path in {*self._synced_lengths, *self._cut_contents}:
            self._forget(path)
        self._name_changes.clear()

    def begin_sync(self, directory: str) -> None:
        """Nothing: it promises nothing, and another thread would make the count of operations a matter of chance."""

    def _forget(self, path: str) -> None:
        """No byte of the file is in danger: it is synced, or not there any more."""
        self._synced_lengths.pop(path, None)
        self._cut_contents.pop(path, None)

    def truncate(self, descriptor: int, length: int) -> None:
        """Cut the file; until it is synced a power cut may bring the rest back."""
        path = self._paths[descriptor]
        fails = self._fails()
        if not fails or self._either():
            with open(path, "rb") as file:
                self._cut_contents.setdefault(path, file.read())
            super().truncate(descriptor, length)
        if fails:
            raise self._fail("truncate", path)

    def rename(self, source: str, target: str) -> None:
        """Rename; until the directory is synced a power cut may undo it."""
        fails = self._fails()
        if not fails or self._either():
            held = _content(target)

            def undo() -> None:
                if os.path.exists(target):
                    os.replace(target, source)
                if held is not None:
                    _write(target, held)

            super().rename(source, target)
            self._undo_later(target, undo)
            self._forget(target)
            if source in self._synced_lengths:
                self._synced_lengths[target] = self._synced_lengths.pop(source)
            if source in self._cut_contents:
                self._cut_contents[target] = self._cut_contents.pop(source)
        if fails:
            raise self._fail("rename", target)

    def link(self, source: str, target: str) -> None:
        """Give a second name; until the directory is synced a power cut may take it away."""
        fails = self._fails()
        if not fails or self._either():
            super().link(source, target)
            self._undo_later(target, lambda: _remove(target))
        if fails:
            raise self._fail("link", target)

    def unlink(self, path: str) -> None:
        """Remove; until the directory is synced a power cut may bring the file back."""
        fails = self._fails()
        if not fails or self._either():
            held = _content(path) or b""
            super().unlink(path)
            self._undo_later(path, lambda: _write(path, held))
            self._forget(path)
        if fails:
            raise self._fail("unlink", path)

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory; until the one above is synced a power cut may take it away."""
        fails = self._fails()
        if not fails or self._either():
            super().mkdir(path, mode)
            self._undo_later(path, lambda: shutil.rmtree(path, ignore_errors=True))
        if fails:
            raise self._fail("mkdir", path)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory; until the one above is synced a power cut may bring it back."""
        fails = self._fails()
        if not fails or self._either():
            mode = stat.S_IMODE(os.stat(path).st_mode)
            super().rmdir(path)
            self._undo_later(path, lambda: _make(path, mode))
        if fails:
            raise self._fail("rmdir", path)

    def chmod(self, descriptor: int, mode: int) -> None:
        """Set the mode; it can fail."""
        if self._fails():
            raise self._fail("chmod", self._paths[descriptor])
        super().chmod(descriptor, mode)

    def chown(self, descriptor: int, uid: int, gid: int) -> None:
        """Set the owner; it can fail."""
        if self._fails():
            raise self._fail("chown", self._paths[descriptor])
        super().chown(descriptor, uid, gid)

    def die(self) -> None:
        """Close what the dead process had open, which also gives up its locks."""
        for descriptor in list(self._paths):
            os.close(descriptor)
        self._paths.clear()

    def lose_unsynced(self) -> None:
        """Die, and let a power cut take what was not synced, or a part of it."""
        self.die()
        for path, length in self._synced_lengths.items():
            self._lose_bytes(path, length)
        for path, content in self._cut_contents.items():
            if os.path.exists(path) and self._either():
                _write(path, content)
        for changes in self._name_changes.values():  # a journal keeps their order, so those after some point are gone
            survived = self._random.randint(0, len(changes))
            for undo in reversed(changes[survived:]):
                undo()
        self._synced_lengths.clear()
        self._cut_contents.clear()
        self._name_changes.clear()

    def _lose_bytes(self, path: str, length: int) -> None:
        if not os.path.exists(path):
            return
        present = os.path.getsize(path)
        if present > length:
            kept = self._random.randint(length, present)
            os.truncate(path, kept)
            if kept > length and self._either():  # the length reached the medium, the bytes did not
                with open(path, "r+b") as file:
                    file.seek(length)
                    file.write(self._random.choice([bytes(kept - length), self._random.randbytes(kept - length)]))


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _write(path: str, content: bytes) -> None:
    if os.path.isdir(os.path.dirname(path) or "."):
        with open(path, "wb") as file:
            file.write(content)


def _make(path: str, mode: int) -> None:
    if not os.path.exists(path):
        os.mkdir(path, mode)


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
