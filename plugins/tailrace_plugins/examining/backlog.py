"""Files that are not read to their end, and when the first of them will be deleted.

lumberjack deletes right after each rotation: what exceeds the number of backups, and what is too old. So the time that
is left is told by the pace of the rotations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from tailrace import Finding
from tailrace_plugins.examining.gaps import duration

HOUR: Final = 3600.0
_READ_RATE: Final = 10 << 20  # bytes per second; a slow disk and several filters are quicker than that
_PACE_OF: Final = 5  # rotations of late tell how quick the next ones will be
_MARGIN: Final = 10  # times as long as reading takes at that rate
_STUCK: Final = 60.0  # seconds without a commit, though there is something to read


class Limits(NamedTuple):
    """Until when whoever rotates keeps files, and how that is known."""

    backups: int  # 0: all
    age: float  # seconds; 0: for ever
    source: str


class Unread(NamedTuple):
    """A file from which there is more to read than the checkpoint knows of."""

    path: str
    offset: int  # read up to there, in uncompressed bytes
    left: int  # about so many are left
    newer: int  # rotated files that are newer; -1: it is the live file
    rotated: float | None  # when it was rotated
    written: float  # when it was last written to


def pace(rotations: Sequence[float], now: float) -> float | None:
    """Give the seconds from one rotation to the next, of late; None if there were too few to tell.

    `rotations` are their times, oldest first.
    """
    late = rotations[-_PACE_OF - 1 :]
    if len(late) < 2:
        return None
    mean = (late[-1] - late[0]) / (len(late) - 1)
    since = now - late[-1]
    return max(0.0, mean if since <= mean else (now - late[0]) / len(late))


def time_left(unread: Unread, rotations: Sequence[float], limits: Limits, now: float) -> float | None:
    """Say in how many seconds this file will be deleted; None if it will not be, or if nobody knows."""
    times = []
    interval = pace(rotations, now)
    if limits.backups and interval is not None:
        ahead = max(1, limits.backups - unread.newer)  # rotations, and the last of them deletes it
        times.append(rotations[-1] + ahead * interval - now)
    if limits.age and unread.rotated is not None:
        times.append(unread.rotated + limits.age - now)
    return max(0.0, min(times)) if times else None


def judge(
    unread: Sequence[Unread],
    rotations: Sequence[float],
    limits: Limits | None,
    now: float,
    *,
    saved: float | None,
    is_running: bool,
) -> Finding | None:
    """Say how much there is to read, oldest first, and whether that will be in time; None if there is nothing.

    What is in the live file alone is read before long if the service runs. `saved` is when it committed last.
    """
    if not unread:
        return None
    oldest = unread[0]
    size = sum(each.left for each in unread)
    where = f"{oldest.path}:{oldest.offset}"
    what = f"from here on there are {size:,} bytes to read in {len(unread)} file{'s' if len(unread) > 1 else ''}"
    waiting = now - max(min(each.written for each in unread), saved or 0.0)
    is_stuck = is_running and waiting > _STUCK
    left = None if limits is None else time_left(oldest, rotations, limits, now)
    if left is not None and limits is not None:
        what += f"; {oldest.path} will be deleted in about {duration(left)}, by {limits.source}"
    if left is not None and left < _needed_time(size, is_read=is_running and not is_stuck):
        remedy = "raise --audit-log-maxbackup until it is read, or copy the file aside"
        if not is_running:
            remedy = f"start the service; {remedy}"
        return Finding("error" if left < size / _READ_RATE else "warning", what, where, remedy)
    if is_stuck:
        what += f"; nothing was committed for {duration(waiting)} though there was something to read"
        return Finding(
            "warning", what, where, "look into the log of the service, and at /readyz if it has an admin server"
        )
    is_at_work = is_running and len(unread) == 1 and oldest.newer < 0  # what is always the case for a moment
    return Finding("ok" if is_at_work else "note", what, where)


def _needed_time(size: int, *, is_read: bool) -> float:
    """Say within how many seconds a file may be deleted at the earliest without anybody having to worry."""
    least = _MARGIN * size / _READ_RATE
    return least if is_read else max(HOUR, least)
