"""One look at everything that lies on disk of a log."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal, NamedTuple

from tailrace_plugins.tailing.content import is_regular
from tailrace_plugins.tailing.file import Key
from tailrace_plugins.tailing.history import Sighting, rotated_files

_LISTINGS = 5


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

    While a directory is listed, a rename can hide a file from the listing; so when one of the `expected` files
    is not seen, the directory is listed until two listings are alike.
    """
    live, key, trouble = _see_live(path)
    complete = trouble is None or trouble.kind != "unreadable"
    try:
        sightings = _see_all(path, is_wanted, live)
        for _ in range(_LISTINGS):
            if expected <= {sighting.key for sighting in sightings}:
                break
            before, sightings = sightings, _see_all(path, is_wanted, live)
            if [sighting.key for sighting in sightings] == [sighting.key for sighting in before]:
                break
    except OSError as error:
        sightings = [live] if live else []
        complete = False
        reason = f"its directory cannot be listed, so rotated files are not found ({error.strerror})"
        trouble = trouble or Trouble("unreadable", reason)
    return View(sightings, live, key, trouble, complete)


def _see_live(path: str) -> tuple[Sighting | None, Key | None, Trouble | None]:
    key: Key | None = None
    try:
        status = os.stat(path)
        key = status.st_dev, status.st_ino
        if not is_regular(status):
            return None, key, Trouble("not a file", "it is a directory, pipe or device")
        live = Sighting(path, status)
        live.probe()
    except (FileNotFoundError, NotADirectoryError):
        return None, None, Trouble("missing", "no such file")
    except OSError as error:
        return None, key, Trouble("unreadable", error.strerror or str(error))
    return live, key, None


def _see_all(path: str, is_wanted: Callable[[str], bool], live: Sighting | None) -> list[Sighting]:
    sightings = [sighting for sighting in rotated_files(path) if is_wanted(sighting.path)]
    # if it is among the rotated ones, it was renamed since we looked; then there is another one, to be seen next time
    if live is not None and all(sighting.key != live.key for sighting in sightings):
        sightings.append(live)
    return sightings
