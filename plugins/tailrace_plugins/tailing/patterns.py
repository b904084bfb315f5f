"""Which files are wanted: the options `paths` and `exclude`, and which log a file belongs to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from glob import has_magic, iglob
from pathlib import Path

from tailrace import mounts
from tailrace_plugins.tailing.names import rotation


def is_url(path: str) -> bool:
    """Tell whether a path is no file of this machine."""
    return "://" in path


class Patterns:
    """Paths and globs as the user wrote them, made absolute."""

    def __init__(self, paths: Sequence[str], exclude: Sequence[str]) -> None:
        absolute = [os.path.abspath(path) for path in paths]
        self.literals = list(dict.fromkeys(path for path in absolute if not has_magic(path)))
        self.globs = list(dict.fromkeys(path for path in absolute if has_magic(path)))
        self._exclude = exclude

    def is_excluded(self, path: str) -> bool:
        """Tell whether a glob of `exclude` matches the whole path or its base name."""
        name = os.path.basename(path)
        return any(fnmatchcase(name, glob) or glob_matches(path, glob) for glob in self._exclude)

    def matches(self, path: str) -> bool:
        """Tell whether a file of this path, which need not exist, is wanted."""
        wanted = path in self.literals or any(glob_matches(path, glob) for glob in self.globs)
        return wanted and not self.is_excluded(path)

    def live_path(self, path: str) -> str:
        """Give the live path of the log to which a wanted file belongs; its own, unless it is some log's history."""
        directory, name = os.path.split(path)
        rotated = rotation(name)
        if rotated is not None:
            live = os.path.join(directory, rotated.live)
            if self.matches(live):
                return live
        return path

    def find(self) -> Iterator[str]:
        """Give the live paths of all logs of which the globs find a file."""
        for pattern in self.globs:
            for path in iglob(pattern, recursive=True):
                if self.is_excluded(path) or not os.path.isfile(path):
                    continue
                if os.path.islink(path) and self.matches(os.path.realpath(path)):
                    continue  # the target is found by its own name; following both would give its lines twice
                yield self.live_path(path)

    def mounted(self, table: Path | None = None) -> Iterator[str]:
        """Give the wanted files that are mounted by themselves, by a table of /proc, or else by that of this process.

        What such a mount shows stays the same file when its writer begins another.
        """
        for point, _ in mounts(table):
            if self.matches(point) and os.path.isfile(point):
                yield point

    def directories(self) -> set[str]:
        """Give the directories in which a new file may appear, as far as the patterns name them."""
        found = {os.path.dirname(path) for path in self.literals}
        for pattern in self.globs:
            while has_magic(pattern):
                pattern = os.path.dirname(pattern)
            found.add(pattern)
        return found


def glob_matches(path: str, glob: str) -> bool:
    """Tell whether `glob.glob` would find this path."""
    return _parts_match(path.split("/"), glob.split("/"))


def _parts_match(parts: list[str], globs: list[str]) -> bool:
    """Compare as `glob.glob` does: `*` stays within a name and leaves out hidden ones, `**` spans directories."""
    if not globs:
        return not parts
    first, rest = globs[0], globs[1:]
    if first == "**":
        if _parts_match(parts, rest):
            return True
        return bool(parts) and not parts[0].startswith(".") and _parts_match(parts[1:], globs)
    if not parts or (parts[0].startswith(".") and not first.startswith(".")):
        return False
    return fnmatchcase(parts[0], first) and _parts_match(parts[1:], rest)
