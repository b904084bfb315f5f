"""The directories in which rotated files lie, each listed once for all logs in it.

A listing holds as long as the times of its directory stay what they were before it was made. Changes that lie close
together may bear the same time, so one that was made right after a change is good for that moment alone. And none is
believed for long: there are file systems whose directories do not tell.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from tailrace_plugins.tailing.content import shows_change
from tailrace_plugins.tailing.names import Rotation, rotation

_BELIEVED = 10.0
"""So many seconds after it was made, a listing is made anew."""

_FORGOTTEN = 60.0


class Entry(NamedTuple):
    """A name that rotation gives, as it was found in a directory."""

    name: str
    inode: int
    rotation: Rotation


class _Listing(NamedTuple):
    times: tuple[int, int]
    made: float
    sure: bool  # a change after it was made shows in the times
    by_live: dict[str, tuple[Entry, ...]]  # sorted by name
    read: dict[str, Rotation | None]  # what each name says, for reading it costs more than listing it


class Listings:
    """The listings of all directories of a source."""

    def __init__(self) -> None:
        self._listings: dict[str, _Listing] = {}
        self._checked: set[str] = set()
        self._swept = 0.0

    def begin(self) -> None:
        """A look at all logs begins: what was true in the last one need not be true any more."""
        self._checked.clear()
        now = time.time()
        if abs(now - self._swept) > _FORGOTTEN:
            self._swept = now
            self._listings = {path: each for path, each in self._listings.items() if abs(now - each.made) < _FORGOTTEN}

    def seen(self, directory: str, live: str) -> tuple[Entry, ...]:
        """Give the rotated names of one live name, as they were at some moment of this look. Raises OSError."""
        if directory in self._checked and directory in self._listings:
            return self._listings[directory].by_live.get(live, ())
        return self.present(directory, live)

    def present(self, directory: str, live: str, *, anew: bool = False) -> tuple[Entry, ...]:
        """Give the rotated names of one live name, as they are now; a directory that does not exist is empty.

        Raises OSError if it cannot be listed.
        """
        try:
            status = os.stat(directory)
            times = status.st_mtime_ns, status.st_ctime_ns
            listing = self._listings.get(directory)
            now = time.time()
            if anew or listing is None or not listing.sure or listing.times != times or _is_old(listing, now):
                sure = all(map(shows_change, times))
                read = listing.read if listing else {}
                listing = self._listings[directory] = _list(directory, times, now, sure=sure, read=read)
        except (FileNotFoundError, NotADirectoryError):
            self._listings.pop(directory, None)
            return ()
        self._checked.add(directory)
        return listing.by_live.get(live, ())


def _is_old(listing: _Listing, now: float) -> bool:
    return not 0 <= now - listing.made < _BELIEVED


def _list(
    directory: str, times: tuple[int, int], now: float, *, sure: bool, read: dict[str, Rotation | None]
) -> _Listing:
    by_live: dict[str, list[Entry]] = {}
    names: dict[str, Rotation | None] = {}
    with os.scandir(directory) as found:
        for entry in found:
            name = entry.name
            names[name] = rotated = read[name] if name in read else rotation(name)
            if rotated is not None:
                by_live.setdefault(rotated.live, []).append(Entry(name, entry.inode(), rotated))
    return _Listing(times, now, sure, {live: tuple(sorted(entries)) for live, entries in by_live.items()}, names)
