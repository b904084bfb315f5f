"""How far a log was read, by the checkpoint: the same rules by which the source itself goes on after a start."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from tailrace_plugins.examining.backlog import Unread
from tailrace_plugins.tailing.content import packed_length
from tailrace_plugins.tailing.copies import is_copy
from tailrace_plugins.tailing.file import File, Replaced
from tailrace_plugins.tailing.files import LogState
from tailrace_plugins.tailing.history import Sighting, match
from tailrace_plugins.tailing.names import rotation
from tailrace_plugins.tailing.patterns import Patterns
from tailrace_plugins.tailing.survey import View

_HALF_LINE: Final = 65_536


class Standing(NamedTuple):
    """What is to be read of a log."""

    files: list[Sighting]  # oldest first; without copies of the live file
    unread: list[Unread]  # oldest first
    gone: list[File]  # that were not finished, and are not seen any more
    known: list[File]


def stand(
    view: View, state: LogState | None, patterns: Patterns, read_from: Literal["beginning", "live", "end"]
) -> Standing:
    """Find out what of a log is not read. `state` is None if the checkpoint does not know it. Raises OSError."""
    known: list[File] = []
    if state is not None:
        known = [File(each, finished=True) for each in state.done] + [File(each) for each in state.queue]
    matches = match(known, view.sightings, guess=True)
    found = {sighting.key: file for file, sighting in [*matches.by_key.items(), *matches.by_head.items()]}
    model = None if view.live is None else found.get(view.live.key)
    files: list[Sighting] = []
    unread: list[Unread] = []
    rotated = sum(sighting is not view.live for sighting in view.sightings)
    for index, sighting in enumerate(view.sightings):
        file = found.get(sighting.key)
        if file is None and _is_copy(sighting, view.live, model):
            continue
        files.append(sighting)
        is_live = sighting is view.live
        if file is None and state is None and not _is_wanted(sighting, patterns, read_from, is_live=is_live):
            continue
        offset = 0 if file is None else file.state.offset
        left = _left(sighting, offset)
        if left and (file is None or not file.finished or file.has_more(sighting.stamp)):
            newer = -1 if is_live else rotated - 1 - index
            when = None if is_live else rotated_at(sighting)
            unread.append(Unread(sighting.path, offset, left, newer, when, sighting.stamp[1] / 1e9))
    gone = [file for file in known if not file.finished and file.state.head_len and file not in found.values()]
    return Standing(files, unread, gone if view.complete else [], known)


def rotated_at(sighting: Sighting) -> float:
    """Say when a file was rotated: by its name, if that has a time, else it was last written to right before."""
    return named_time(sighting.path) or sighting.stamp[1] / 1e9


def named_time(path: str) -> float | None:
    """Give the time in a name that lumberjack gave, in seconds since the epoch; None of other names."""
    found = rotation(path.rpartition("/")[2])
    if found is None or found.scheme != "lumberjack":
        return None
    try:
        return datetime.strptime(found.order[1], "%Y-%m-%dT%H-%M-%S.%f").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def rotations(view: View) -> Iterator[float]:
    """Give the times of all rotations of which the file is still there, oldest first."""
    yield from sorted(rotated_at(sighting) for sighting in view.sightings if sighting is not view.live)


def _is_copy(sighting: Sighting, live: Sighting | None, model: File | None) -> bool:
    try:
        return live is not None and sighting is not live and is_copy(sighting, live, model)
    except (OSError, Replaced):
        return False


def _is_wanted(
    sighting: Sighting, patterns: Patterns, read_from: Literal["beginning", "live", "end"], *, is_live: bool
) -> bool:
    """Tell whether a first start reads a file."""
    if read_from == "live":
        return is_live or patterns.matches(sighting.path)
    return read_from == "beginning"


def _has_no_line(sighting: Sighting, offset: int) -> bool:
    """Tell whether there is nothing but the beginning of a line, whose end is still to be written."""
    try:
        return b"\n" not in sighting.pread(_HALF_LINE, offset)
    except (OSError, Replaced):
        return False


def _left(sighting: Sighting, offset: int) -> int:
    """Give about how many bytes there are behind an offset; of compressed ones that is a guess."""
    size = sighting.stamp[0]
    if not sighting.compressed:
        left = max(0, size - offset)
        return 0 if left < _HALF_LINE and _has_no_line(sighting, offset) else left
    length = packed_length(sighting.path)
    if length is None or (length < offset % (1 << 32) and length != 0):
        return size
    return length - offset % (1 << 32)
