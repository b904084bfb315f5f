"""Files that say who may send and who receives: whether they changed, and whether others may read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

_Stamp = tuple[int, int, int, int, int]


class Watched:
    """Files whose change is noticed by looking at them, through symbolic links.

    Who writes into a file in place writes into it more than once, so a change counts once nothing has happened since.
    """

    def __init__(self, paths: Iterable[str | None]) -> None:
        self._paths = [path for path in paths if path]
        self._taken = self._last = self._look()

    def changed(self) -> bool:
        """Tell, once, that they are not what they were, and are as they were when this was asked the last time."""
        before, self._last = self._last, self._look()
        if self._last == self._taken or self._last != before:
            return False
        self._taken = self._last
        return True

    def _look(self) -> list[_Stamp | None]:
        return list(map(_stamp, self._paths))


def _stamp(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    # the time of change tells too that a file was made readable, or was written with the time of another
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def exposed(paths: Iterable[str | None]) -> Iterator[str]:
    """Give those of these files that every user of the machine may read or write."""
    for path in filter(None, paths):
        try:
            mode = os.stat(path).st_mode
        except OSError:
            continue
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            yield path
