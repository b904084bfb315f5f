"""Holes in the time of a log's events, where one of its files follows another.

A hole is silence or a missing file, and often that can be told: lumberjack rotates right before the event that has no
room any more, so the next file begins when the one before got its name. Events that begin much later do not follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tailrace import Finding
from tailrace_plugins.examining.ends import Ends, Moment, spell


class Part(NamedTuple):
    """A file of a log."""

    path: str
    ends: Ends
    renamed: float | None  # when it got its name, if that tells; seconds since the epoch


class Hole(NamedTuple):
    """No event between the last one of a file and the first one of the next."""

    before: Part
    after: Part
    begin: Moment
    end: Moment

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end.time - self.begin.time


def holes(parts: Iterable[Part], gap: float) -> Iterator[Hole]:
    """Give the holes longer than `gap` seconds; the parts are given oldest first, those without events left out.

    Behind a part that was not read to its end there may be one that nobody sees.
    """
    before: Part | None = None
    begin: Moment | None = None
    for part in parts:
        first, last, _, trouble = part.ends
        if before is not None and first is last is None and not trouble:
            before = before._replace(renamed=None)  # whether a file is missing does not show behind an empty one
            continue
        if before is not None and begin is not None and first is not None and first.time - begin.time > gap:
            yield Hole(before, part, begin, first)
        before, begin = part, None if trouble else last


def judge(hole: Hole, gap: float) -> Finding:
    """Say how long a hole is, between which events, and what it comes from."""
    before, after = hole.before, hole.after
    where = f"{before.path}:{hole.begin.offset}"
    span = f"no event for {duration(hole.seconds)}: the last one here is of {spell(hole.begin.time)}, the next one "
    span += f"({after.path}:{hole.end.offset}) of {spell(hole.end.time)}"
    if before.renamed is None:
        reason = "the log was silent, or a file between them is gone"
        remedy = "find out whether its writer was stopped then, or who removes rotated files"
    elif hole.end.time - before.renamed > gap:
        reason = (
            f"it was rotated at {spell(before.renamed)}, so what was written then is gone: a file, or the head of one"
        )
        remedy = "find out who removes rotated files"
    else:
        reason = f"it was rotated at {spell(before.renamed)}, so no file is missing: nothing was written"
        remedy = "find out whether its writer was stopped then"
    return Finding("warning", f"{span}; {reason}", where, remedy)


def duration(seconds: float) -> str:
    """Write a span of time for people, by its two greatest units."""
    parts: list[str] = []
    left = round(seconds)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
