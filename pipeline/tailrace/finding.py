"""What `tailrace doctor` says of the world around a stage, and what a stage is given to look at it with.

A stage knows best what should reach it, so it says itself whether that does (`Stage.examine`). It is not attached and
not open then, and a service may be running with the same config: it looks, and changes nothing. What it says has paths,
times, offsets and sizes in it, and nothing of what events hold.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from tailrace.batch import Position

Severity = Literal["ok", "note", "warning", "error"]
"""`ok`: looked at, and in order; `note`: good to know; `warning`: events may get lost; `error`: they are being lost."""

RANK: Final[Mapping[Severity, int]] = MappingProxyType({"ok": 0, "note": 1, "warning": 2, "error": 3})
ALARMING: Final = RANK["warning"]

_LEAST_ROOM: Final = 16 << 20  # bytes; with less than that nothing can be committed for long
_LITTLE_ROOM: Final = 10 << 30  # bytes; more is never little
_LITTLE_SHARE: Final = 0.05  # of the disk


class Finding(NamedTuple):
    """One thing that was looked at."""

    severity: Severity
    what: str  # one sentence, without a full stop
    where: str  # a path, perhaps with an offset behind a colon, or the name of a process
    remedy: str = ""  # what to do, in the imperative

    @property
    def is_alarming(self) -> bool:
        """Tell whether somebody should do something about it."""
        return RANK[self.severity] >= ALARMING


@dataclass(frozen=True)
class Surroundings:
    """Where a stage stands, and what the person who asks wants to know."""

    position: Position | None = None
    """That of this stage by the newest checkpoint that is whole; None if nothing was committed yet."""
    is_blind: bool = False
    """Where it stands could not be read; `position` says nothing."""
    saved: float | None = None
    """When that checkpoint was saved, in seconds since the epoch."""
    is_running: bool = False
    """Some process has the state directory: the service runs."""
    holder: int | None = None
    """The id of that process, if it can be seen from here; a process in another container cannot."""
    now: float = field(default_factory=time.time)
    gap: float = 60.0
    """Seconds without an event, from one file of a log to the next, that are worth a word."""
    max_backups: int | None = None
    """So many rotated files of a log are kept, if whoever asks knows; None: find out."""
    root: Path = Path("/")
    """The directory in which `/proc` and `/etc` are looked for."""

    def system_path(self, path: str) -> Path:
        """Give the place of an absolute path of the system's own, like `/proc`."""
        return self.root / path.lstrip("/")

    def room(self, path: str) -> Finding:
        """Say how much room there is where `path` lies, or would lie if its directories were made."""
        place = os.path.abspath(path)
        try:
            while not os.path.lexists(place):
                place = os.path.dirname(place)
            status = os.statvfs(place)
        except OSError as error:
            reason = error.strerror or str(error)
            return Finding("warning", f"it cannot be found out how much room there is: {reason}", path)
        names = status.f_favail if status.f_files else None
        return judge_room(path, status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize, names)


def judge_room(path: str, free: int, size: int, names: int | None) -> Finding:
    """Judge `free` of `size` bytes and the number of files that can still be made; None: there is no such limit."""
    if names == 0:
        return Finding("error", "no inode is free on its file system", path, "delete small files there")
    text = f"{spell_size(free)} are free on its file system"
    if free < _LEAST_ROOM:
        return Finding("error", text, path, "make room there; until then nothing is committed")
    if free < min(_LITTLE_ROOM, size * _LITTLE_SHARE):
        return Finding("warning", f"{text}, of {spell_size(size)}", path, "make room there, or keep fewer files")
    return Finding("ok", text, path)


def spell_size(count: float) -> str:
    """Write a number of bytes for people."""
    size, unit = (count / (1 << 30), "GiB") if count >= 1 << 30 else (count / (1 << 20), "MiB")
    return f"{size:,.1f} {unit}"
