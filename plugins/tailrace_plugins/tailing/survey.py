"""One look at everything that lies on disk of a log."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal, NamedTuple

from tailrace_plugins.tailing.content import is_regular
from tailrace_plugins.tailing.file import Key, Replaced
from tailrace_plugins.tailing.history import Sighting, rotated_files

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


def survey(path: str, is_wanted: Callable[[str], bool], expected: set[Key]) -> View:
    """Look for the live file and the rotated ones.

    Nothing stands still meanwhile: a rename can hide a file from a listing, or give its name to another one, and
    a file can be compressed and deleted between two of our steps. So it is looked again until all of the
    `expected` files are seen, or two looks are alike, and until what is new is still what it was when it was seen.
    """
    before: list[Key] = []
    for _ in range(_LOOKS):
        view = _look(path, is_wanted)
        seen = [sighting.key for sighting in view.sightings]
        if (expected.issubset(seen) or seen == before) and _is_settled(path, view, expected):
            return view
        before = seen
    return view._replace(complete=False)


def _look(path: str, is_wanted: Callable[[str], bool]) -> View:
    live, key, trouble = _see_live(path)
    try:
        sightings = [sighting for sighting in rotated_files(path) if is_wanted(sighting.path)]
    except OSError as error:
        reason = f"its directory cannot be listed, so rotated files are not found ({error.strerror})"
        trouble = trouble or Trouble("unreadable", reason)
        sightings = []
    if live is not None:
        sightings.append(live)
    return View(sightings, live, key, trouble, complete=trouble is None or trouble.kind != "unreadable")


def _see_live(path: str) -> tuple[Sighting | None, Key | None, Trouble | None]:
    key: Key | None = None
    try:
        status = os.stat(path)
        key = status.st_dev, status.st_ino
        if not is_regular(status):
            return None, key, Trouble("not a file", "it is a directory, pipe or device")
        live = Sighting(path, status)
        live.probe()
    except (FileNotFoundError, NotADirectoryError, Replaced):  # replaced by what the next look finds
        return None, None, Trouble("missing", "no such file")
    except OSError as error:
        return None, key, Trouble("unreadable", error.strerror or str(error))
    return live, key, None


def _is_settled(path: str, view: View, expected: set[Key]) -> bool:
    """Tell whether the live file, and every file that was not expected, is still there under its name."""
    try:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) != view.live_key:
            return False
    except OSError:
        if view.live_key is not None:
            return False
    for sighting in view.sightings:
        if sighting.key not in expected:
            try:
                sighting.probe()
            except (FileNotFoundError, Replaced):
                return False
            except OSError:  # it is there, and cannot be read
                continue
    return True
