"""The way back from a path to what it was made of: whether a template can have made it, and for which time.

Only the name counts, and that values are encoded in it: `audit-%41.log` is no path of `audit-{user}.log`. A part of a
path that `fit_path` shortened is recognised by its beginning, its hash and its end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tailrace.names import HASH_PATTERN, NAME_PATTERN, SHORTENED_PATTERN, TAG_PART_PATTERN
from tailrace.template import UNPARSED_NAME, Piece, TagPiece, Template, TimePiece
from tailrace.timeslice import TimeSlicer

_TIMES = ("year", "month", "day", "hour", "minute", "second")


class Recognised(NamedTuple):
    """What a path says."""

    name: tuple[str, ...]  # of its values; slices that differ only in their time share it
    end: float | None  # by when the slice is over, in seconds since the epoch; None where there was no time


class TemplatePaths:
    """The paths that a template can make: files below the directory `root`, at one depth.

    Raises ValueError if such a path does not tell for certain what was put into it.
    """

    def __init__(self, template: Template) -> None:
        self.root = os.path.dirname(os.path.abspath(template.literal_prefix + "_"))
        timed = _levels(template.pieces)
        untimed = _levels([UNPARSED_NAME if isinstance(piece, TimePiece) else piece for piece in template.untimed])
        self._levels = [
            re.compile("|".join(_pattern(level, {}, str(number)) for number, level in enumerate(pair)))
            for pair in zip(timed, untimed, strict=True)
        ]
        self._paths = []
        for levels in (timed, untimed):
            groups: dict[str, str] = {}
            self._paths.append(re.compile("/".join(_pattern(each, groups, str(n)) for n, each in enumerate(levels))))
        self.depth = len(self._levels)

    def matches(self, level: int, name: str) -> bool:
        """Say whether the directory or file `level` levels below the root can have this name."""
        return self._levels[level].fullmatch(name) is not None

    def made(self, path: str) -> bool:
        """Say whether the template can have made this path, which is relative to the root."""
        return any(pattern.fullmatch(path) for pattern in self._paths)

    def find(self, failures: list[OSError], empty: set[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Give the regular files whose directories and name match, by their paths relative to the root.

        Not each of them is one that was `made`. Takes down directories that cannot be listed, and those below the root
        that hold nothing at all. Links are not followed.
        """
        waiting = [("", 0)]
        while waiting:
            below, level = waiting.pop()
            directory = os.path.join(self.root, below)
            count = 0
            try:
                with os.scandir(directory) as entries:
                    for count, entry in enumerate(entries, 1):  # noqa: B007
                        if not self.matches(level, entry.name):
                            continue
                        path = os.path.join(below, entry.name)
                        if level + 1 < self.depth:
                            if entry.is_dir(follow_symlinks=False):
                                waiting.append((path, level + 1))
                        elif entry.is_file(follow_symlinks=False):
                            yield path, entry
            except FileNotFoundError:
                continue
            except OSError as error:
                failures.append(error)
                continue
            if level and not count:
                empty.add(directory)


class SlicePaths(TemplatePaths):
    """Likewise, and which slice each of them is.

    Raises ValueError if such a path does not tell for certain which time its slice has.
    """

    def __init__(self, template: Template, slicer: TimeSlicer) -> None:
        times = {piece.attribute for piece in template.pieces if isinstance(piece, TimePiece)}
        if not times:
            raise ValueError("the path has no time to go by; add one, like %Y%m%d%H")
        self._times = _TIMES[: len(times)]
        if times != set(self._times):
            raise ValueError("the path tells only a part of the time; it needs all from the year on, like %Y%m%d%H")
        self._slicer = slicer
        super().__init__(template)

    def recognise(self, path: str) -> Recognised | None:
        """Read a path, relative to the root; None if the template cannot have made it."""
        for pattern in self._paths:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            groups = found.groupdict()
            name = tuple(groups[key] for key in sorted(groups) if key.startswith("values"))
            if pattern is self._paths[-1]:
                return Recognised(name, None)
            try:
                return Recognised(name, self._slicer.end([int(groups[time]) for time in self._times]))
            except ValueError:  # a 31st of February
                return None
        return None


def _levels(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Split pieces at each `/`, without those that the root covers."""
    levels: list[list[Piece]] = [[]]
    for number, piece in enumerate(pieces):
        if not isinstance(piece, str):
            levels[-1].append(piece)
            continue
        first, *others = piece.split("/")
        if number == 0 and others:
            first, others = others[-1], []
        levels[-1].append(first)
        levels += [[text] for text in others]
    levels = [level for stripped in levels if (level := [piece for piece in stripped if piece]) not in ([], ["."])]
    if [".."] in levels:
        raise ValueError("the path goes up with .. behind a value or a time")
    return levels


def _pattern(level: Sequence[Piece], groups: dict[str, str], label: str) -> str:
    """Give the regular expression of one part of a path; `groups` names what an earlier part has already."""
    values = [number for number, piece in enumerate(level) if not isinstance(piece, str | TimePiece)]
    if not values:
        return "".join(_piece(piece, groups, label) for piece in level)
    first, last = values[0], values[-1] + 1
    if any(isinstance(piece, TimePiece) for piece in level[first:last]):
        raise ValueError("a time between two values cannot be told from them; set it off with a /")
    start, middle, end = (
        "".join(_piece(piece, groups, label) for piece in part)
        for part in (level[:first], level[first:last], level[last:])
    )
    shortened = f"short{label}"
    return (
        f"(?:(?P<{shortened}>(?={SHORTENED_PATTERN}))|){start}"
        f"(?P<values{label}>(?({shortened})[^/]*{HASH_PATTERN}[^/]*|{middle})){end}"
    )


def _piece(piece: Piece, groups: dict[str, str], label: str) -> str:
    if isinstance(piece, str):
        return re.escape(piece)
    key = repr(piece)
    if key in groups:
        return f"(?P={groups[key]})"
    if isinstance(piece, TimePiece):
        groups[key] = piece.attribute
        return f"(?P<{piece.attribute}>[0-9]{{{piece.width}}})"
    groups[key] = f"value{label}_{len(groups)}"
    return f"(?P<{groups[key]}>{TAG_PART_PATTERN if isinstance(piece, TagPiece) else NAME_PATTERN})"
