"""Retention: which slices of a file sink are deleted, and when.

1. A slice that either generation of the checkpoint may record is never deleted, whatever its age and size.
2. Only what the path's template can have made is looked at: regular files and directories by their exact names. Links
   are not followed.
3. The age is that of the slice's own time; only where it has none, the time when the file was last written.
4. It happens after a commit, not more than once a minute, and takes at most a hundredth of the time. Nothing depends
   on it: what a crash leaves, or brings back, is found by the next look; so nothing is synced here.
5. What cannot be deleted stays, is logged and counted: that is no reason to stop collecting.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from tailrace import (
    Context,
    Measure,
    OptionError,
    SlicePaths,
    Template,
    TimeSlicer,
    parse_duration,
    parse_size,
)
from tailrace_plugins.checking import checked

INTERVAL = 60.0  # seconds between two looks, at least
SHARE = 100  # ... and so many times as long as the last one took
LOGGED = 20  # deletions that get a line each in the log, of one look
REASONS: Final = ("keep_for", "keep_bytes_per_name", "keep_files_per_name", "keep_bytes", "keep_files")


def retention(options: Mapping[str, str | float | None], template: Template, slicer: TimeSlicer) -> Retention | None:
    """Make what the options of the file sink ask for; raises OptionError."""
    limits: dict[str, float] = {}
    for name, value in options.items():
        if value is not None:
            limits[name] = checked(name, parse_duration if name == "keep_for" else parse_size, value)
    if not limits:
        return None
    try:
        return Retention(SlicePaths(template, slicer), limits)
    except ValueError as error:
        raise OptionError(next(iter(limits)), f"slices cannot be deleted by their time: {error}") from None


class Slice(NamedTuple):
    """A file that the template can have made."""

    path: str
    size: int
    end: float  # by when it is over, in seconds since the epoch
    name: tuple[str, ...]
    dated: bool = True  # the end is that of its name, not of the last write


def to_delete(
    slices: Iterable[Slice], recorded: Collection[str], now: float, limits: Mapping[str, float]
) -> list[tuple[Slice, str]]:
    """Choose what exceeds the limits, the oldest first, with the limit that it exceeds.

    What is recorded counts, and stays. First comes what is too old, then what its name has too much of, then what is
    too much in all.
    """
    ordered = sorted(slices, key=lambda each: (each.end, each.path))
    chosen = []
    for reason in REASONS:
        if reason not in limits:
            continue
        limit = limits[reason]
        held: Counter[tuple[str, ...]] = Counter()
        for each in ordered:
            held[_group(each, reason)] += _weight(each, reason)
        remaining = []
        for each in ordered:
            over = each.end < now - limit if reason == "keep_for" else held[_group(each, reason)] > limit
            if over and each.path not in recorded:
                held[_group(each, reason)] -= _weight(each, reason)
                chosen.append((each, reason))
            else:
                remaining.append(each)
        ordered = remaining
    return chosen


def _group(each: Slice, reason: str) -> tuple[str, ...]:
    return each.name if reason.endswith("_per_name") else ()


def _weight(each: Slice, reason: str) -> int:
    return each.size if "bytes" in reason else 1


class Retention:
    """Deletes what a file sink need not keep."""

    def __init__(self, paths: SlicePaths, limits: Mapping[str, float]) -> None:
        self._paths = paths
        self._limits = limits
        self._next_look = 0.0
        self._files = dict.fromkeys(REASONS, 0)
        self._bytes = dict.fromkeys(REASONS, 0)
        self._failures = 0

    def look(self, context: Context, *recorded: Collection[str]) -> None:
        """Delete what exceeds the limits and is not recorded, if it is time to look again."""
        started = context.clock.monotonic()
        if started < self._next_look:
            return
        failures: list[OSError] = []
        slices, emptied = self._find(failures)
        newest = max((each.end for each in slices if each.dated), default=math.inf)
        now = min(context.clock.time(), newest)  # a clock that jumped ahead makes nothing old
        chosen = to_delete(slices, frozenset().union(*recorded), now, self._limits)
        emptied |= {os.path.dirname(each.path) for each in self._delete(context, chosen, failures)}
        self._remove_empty(context, emptied)
        if failures:
            self._failures += len(failures)
            context.log.warning(
                "slices could not be deleted", extra={"failures": len(failures), "first": str(failures[0])}
            )
        ended = context.clock.monotonic()
        self._next_look = ended + max(INTERVAL, SHARE * (ended - started))

    def _find(self, failures: list[OSError]) -> tuple[list[Slice], set[str]]:
        """List the slices, and the directories of the template that hold nothing at all."""
        slices: list[Slice] = []
        empty: set[str] = set()
        for path, entry in self._paths.find(failures, empty):
            slices += self._slice(path, entry)
        return slices, empty

    def _slice(self, path: str, entry: os.DirEntry[str]) -> Iterator[Slice]:
        """Give the slice that the file is, if it is one."""
        found = self._paths.recognise(path)
        if found is None:
            return
        with contextlib.suppress(FileNotFoundError):
            about = entry.stat(follow_symlinks=False)
            end = about.st_mtime if found.end is None else found.end
            yield Slice(
                os.path.join(self._paths.root, path), about.st_size, end, found.name, dated=found.end is not None
            )

    def _delete(
        self, context: Context, chosen: Sequence[tuple[Slice, str]], failures: list[OSError]
    ) -> Iterator[Slice]:
        files = size = 0
        for each, reason in chosen:
            try:
                context.disk.unlink(each.path)
            except FileNotFoundError:
                continue
            except OSError as error:
                failures.append(error)
                continue
            yield each
            self._files[reason] += 1
            self._bytes[reason] += each.size
            files += 1
            size += each.size
            if files <= LOGGED:
                context.log.info("slice was deleted", extra={"path": each.path, "bytes": each.size, "reason": reason})
        if files > LOGGED:
            context.log.info("slices were deleted, those named before included", extra={"files": files, "bytes": size})

    def _remove_empty(self, context: Context, directories: Iterable[str]) -> None:
        """Remove directories that hold nothing any more, and then those above that held only them."""
        for directory in directories:
            while directory != self._paths.root:
                try:
                    context.disk.rmdir(directory)
                except OSError:  # not empty, in most cases; if it is, the next look finds it again
                    break
                directory = os.path.dirname(directory)

    def measures(self) -> Iterator[Measure]:
        """Give the figures for `/metrics`."""
        for reason in REASONS:
            labels = {"reason": reason}
            yield Measure(
                "retention_deleted_files_total",
                "Slices deleted, by the option that they exceeded.",
                "counter",
                self._files[reason],
                labels,
            )
            yield Measure(
                "retention_deleted_bytes_total",
                "Bytes of the slices deleted.",
                "counter",
                self._bytes[reason],
                labels,
            )
        yield Measure(
            "retention_failures_total", "Slices that could not be deleted or listed.", "counter", self._failures
        )
