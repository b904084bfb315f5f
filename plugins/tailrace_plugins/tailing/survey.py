"""One look at everything that lies on disk of a log."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Literal, NamedTuple

from tailrace_plugins.tailing.content import is_regular, open_content
from tailrace_plugins.tailing.file import Key, Replaced, Stamp
from tailrace_plugins.tailing.history import Sighting, rotated_files
from tailrace_plugins.tailing.listings import Listings

_LOOKS = 5


class Trouble(NamedTuple):
    """Why a live file cannot be read."""

    kind: Literal["missing", "not a file", "unreadable"]
    reason: str


class View(NamedTuple):
    """What was seen."""

    sightings: list[Sighting]  # oldest first, the live file last
    live: Sighting | None
    live_key: Key | None  # of whatever lies at the live path
    trouble: Trouble | None
    complete: bool  # what was not seen does not exist


def survey(
    path: str, listings: Listings, is_wanted: Callable[[str], bool], expected: Mapping[Key, Stamp | None]
) -> View:
    """Look for the live file and the rotated ones.

    Nothing stands still meanwhile: a rename can hide a file from a listing, or give its name to another one, and
    a file can be compressed and deleted between two of our steps. So it is looked again until all of the
    `expected` files are seen, or two looks are alike, and until what is new is still what it was when it was seen.
    What is new is told by the stamps with which the expected files were seen last; None if they never were.
    """
    before: list[Key] = []
    for number in range(_LOOKS):
        with ExitStack() as held:
            view = _look(path, listings, is_wanted, held, anew=number > 0)
            seen = [sighting.key for sighting in view.sightings]
            if (expected.keys() <= set(seen) or seen == before) and _is_settled(path, view, expected):
                return view
            before = seen
    return view._replace(complete=False)


def _look(path: str, listings: Listings, is_wanted: Callable[[str], bool], held: ExitStack, *, anew: bool) -> View:
    live, key, trouble = _see_live(path, held)
    try:
        rotated = rotated_files(path, listings, anew=anew)  # after the live file, so that none lies between them
        sightings = [sighting for sighting in rotated if is_wanted(sighting.path)]
    except OSError as error:
        reason = f"its directory cannot be listed, so rotated files are not found ({error.strerror})"
        trouble = trouble or Trouble("unreadable", reason)
        sightings = []
    if live is not None:
        sightings.append(live)
    return View(sightings, live, key, trouble, complete=trouble is None or trouble.kind != "unreadable")


def _see_live(path: str, held: ExitStack) -> tuple[Sighting | None, Key | None, Trouble | None]:
    """Find the live file, and keep it open for as long as we look, lest its inode be used again meanwhile."""
    key: Key | None = None
    try:
        status = os.stat(path)
        key = status.st_dev, status.st_ino
        if not is_regular(status):
            return None, key, Trouble("not a file", "it is a directory, pipe or device")
        content = open_content(path)
        held.callback(content.close)
        live = Sighting(path, content.stat())
        live.probe(content)
        key = live.key
    except (FileNotFoundError, NotADirectoryError):
        return None, None, Trouble("missing", "no such file")
    except OSError as error:
        return None, key, Trouble("unreadable", error.strerror or str(error))
    return live, key, None


def _is_settled(path: str, view: View, expected: Mapping[Key, Stamp | None]) -> bool:
    """Tell whether the live file, and every file that is new or has changed, is still there under its name."""
    try:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) != view.live_key:
            return False
    except OSError:
        if view.live_key is not None:
            return False
    for sighting in view.sightings:
        if expected.get(sighting.key) != sighting.stamp:
            try:
                sighting.probe()
            except (FileNotFoundError, Replaced):
                return False
            except OSError:  # it is there, and cannot be read
                continue
    return True
