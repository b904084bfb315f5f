"""The claim: one pipeline at a time may write the files of a template, whatever state directory it has.

It is a lock (flock(2)) on a hidden file in the directory that all those paths share, for that directory is the one
thing that two such pipelines have in common: they may be in different containers. The rules:

* The kernel holds the lock and lets go of it when the process ends, however it ends. Then the file is left behind; it
  hinders nobody, and the next holder takes it over.
* Who lets go of the lock removes the file before. So who gets the lock looks whether the file is still that of the
  name, and else begins anew.
* What is in the file is only for people to read.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from typing import Final

from tailrace.context import Context
from tailrace.durable import naming, write_all
from tailrace.stage import Damaged, Retry
from tailrace.template import Template

_MODE: Final = 0o640
_TEXT_BYTES: Final = 4096  # of what a holder says of itself


class Claim:
    """The right to write the files that a template makes; not held before `take`.

    Templates that differ in their text are different ones, also if some of their paths are the same: that is found out
    when both write such a file.
    """

    def __init__(self, template: Template) -> None:
        self._what = os.path.abspath(template.text)
        self.directory = os.path.dirname(os.path.abspath(template.literal_prefix + "_"))
        name = os.path.relpath(self._what, self.directory)  # the same by whatever links the directory is reached
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
        self.path = os.path.join(self.directory, f".tailrace-{digest}.lock")
        self._descriptor: int | None = None

    def take(self, context: Context) -> None:
        """Take it; nothing happens if it is held by this object. Its directory must be there.

        Raises Damaged if somebody else has it, Retry if the directory cannot be written, and OSError.
        """
        if self._descriptor is None and not os.access(self.directory, os.W_OK | os.X_OK, effective_ids=True):
            raise Retry(f"output directory {self.directory} is not writable")
        disk = context.disk
        while self._descriptor is None:
            descriptor = disk.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _MODE)
            try:
                with naming(self.path):  # some network file systems have no locks
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_named(descriptor):
                    self._descriptor = descriptor
            except BlockingIOError:
                raise Damaged(
                    f"{self._what} is the output of another pipeline ({_read(descriptor)}), which holds {self.path}; "
                    "two would destroy each other's files: end that one, or give this one a path of its own"
                ) from None
            finally:
                if self._descriptor is None:
                    disk.close(descriptor)
        self._say(context)

    def _say(self, context: Context) -> None:
        about = f"pipeline {context.pipeline}, state in {context.state_dir}, process {os.getpid()} on {os.uname()[1]}\n"
        data = os.fsencode(about)
        assert self._descriptor is not None
        with contextlib.suppress(OSError):  # a full disk; the lock is held all the same
            write_all(context.disk, self._descriptor, data)
            if os.fstat(self._descriptor).st_size > len(data):  # of one who was killed
                context.disk.truncate(self._descriptor, len(data))

    def release(self, context: Context) -> None:
        """Let go of it, and leave no file behind; nothing happens if it is not held."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            with contextlib.suppress(OSError):
                if self._is_named(descriptor):
                    context.disk.unlink(self.path)
        finally:
            context.disk.close(descriptor)

    def _is_named(self, descriptor: int) -> bool:
        """Tell whether the open file is the one that others find under the name."""
        held = os.fstat(descriptor)
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)


def _read(descriptor: int) -> str:
    """Give what the holder says of itself."""
    text = os.pread(descriptor, _TEXT_BYTES, 0).partition(b"\n")[0]
    return os.fsdecode(text) or "which has not said its name yet"
