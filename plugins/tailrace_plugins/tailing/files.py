"""The files of one log, in the order in which they were written."""

from __future__ import annotations

import os
import sys
from typing import Any

import msgspec

from tailrace import Damaged
from tailrace_plugins.tailing.copies import is_copy, was_read_in
from tailrace_plugins.tailing.file import File, FileState, Key, Replaced, Stamp
from tailrace_plugins.tailing.history import Matches, Sighting, match
from tailrace_plugins.tailing.names import is_lumberjack
from tailrace_plugins.tailing.reading import Reading
from tailrace_plugins.tailing.survey import View

_KEPT_UNSEEN = 64
"""So many finished files that cannot be seen are remembered where they may all be back: no live file, or no listing."""

_KEPT_ASIDE = 8
"""So many are remembered that were taken from the live path, while another file lies there."""


class LogState(msgspec.Struct, forbid_unknown_fields=True):
    """What the checkpoint keeps of a log."""

    queue: list[FileState]  # unfinished, oldest first
    done: list[FileState]  # finished, still there


def parse_state(path: str, value: object) -> LogState:
    """Read what the checkpoint keeps of the log at `path`. Raises Damaged."""
    try:
        return msgspec.convert(value, LogState)
    except msgspec.ValidationError as error:
        raise Damaged(f"the checkpoint's position of {path} cannot be understood: {error}") from None


class Files:
    """The known files of a log: finished ones for as long as they exist, unfinished ones until they are finished."""

    def __init__(self, reading: Reading, state: LogState | None, *, first_start: bool) -> None:
        self._reading = reading
        self._first_start = first_start  # what is there now was there before us
        self._all: list[File] = []  # oldest first
        if state is not None:
            self._all = [File(done, finished=True) for done in state.done]
            self._all += [File(unfinished) for unfinished in state.queue]
        self._done: list[dict[str, Any]] | None = None
        self.missed = False  # a file was renamed or removed right after it was seen: what was seen is not true any more
        self.unreadable: dict[str, str] = {}  # files that are there and could not be read, and why
        self.in_sight = False  # some of them are still to be had
        self._copies: dict[str, tuple[Key, Stamp]] = {}  # of the live file, and so not read
        self._truncated: list[File] = []  # since the look before, and their copies were not found

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def unfinished(self) -> list[File]:
        """The files from which more may come, oldest first."""
        return [file for file in self._all if not file.finished]

    def is_youngest(self, file: File) -> bool:
        """Tell whether no file is known that was begun later."""
        return file is self._all[-1]

    @property
    def known(self) -> dict[Key, Stamp | None]:
        """Device and inode of each file, and how it was when it was last seen."""
        return {file.key: file.seen for file in self._all}

    def position(self) -> dict[str, Any]:
        """Give what the checkpoint keeps."""
        if self._done is None:  # built only when it changes: it is long, and every batch carries it
            self._done = [file.position() for file in self._all if file.finished]
        return {"queue": [file.position() for file in self._all if not file.finished], "done": self._done}

    def finish(self, file: File) -> None:
        """Expect nothing more of a file."""
        self._reading.descriptors.release(file)
        file.finished = True
        self._done = None

    def has_late_lines(self) -> bool:
        """Tell whether somebody wrote to a file that was finished, or to one that was taken for a copy."""
        for path, known in self._copies.items():
            try:
                if _look(path) != known:
                    return True
            except OSError:
                return True
        for file in self._all:
            if file.finished and not file.away:
                try:
                    key, stamp = _look(file.state.path)
                except OSError:
                    return True
                if key != file.key or file.has_more(stamp):
                    return True
        return False

    def arrange(self, view: View, *, guess: bool = True) -> bool:
        """Bring the files in line with what was seen; tell whether there is anything new to record.

        Nothing is changed if something that was seen is not there any more by now, unless it may `guess`.
        """
        before = [(file, file.finished) for file in self._all]
        matches = self._match(view, guess)
        if matches is None:
            return False
        self.in_sight = False
        self._truncated.clear()
        indexes = {sighting.key: index for index, sighting in enumerate(view.sightings)}
        free = dict(indexes)
        places: list[tuple[int, File]] = []
        index = -1  # a file that is not seen any more stays behind its elder, but before the live file
        live_index = len(view.sightings) if view.live is None else len(view.sightings) - 1
        model: File | None = None
        for file in self._all:
            sighting = matches.by_key.get(file) or matches.by_head.get(file)
            if not self._stays(file, sighting, matches, view):
                continue
            file.away = sighting is None
            place = index if sighting is None else indexes[sighting.key]
            if sighting is not None:
                if sighting is not view.live:  # else it is back, and says nothing of those that were begun after it
                    index = place
                del free[sighting.key]
                if sighting is view.live and file.state.path == sighting.path:
                    model = file
                file.found(sighting.path, sighting.key, sighting.stamp, live=sighting is view.live)
                if file.lost:
                    file.lost = False
                    self._reading.reports.back(file.state.path, file.state.offset)
                if not file.finished and not file.is_open:
                    self._hold(file)
            places.append((place if sighting is not None else min(place, live_index - 1), file))
            self.in_sight |= sighting is not None or file.is_open
        _put_before_younger(places)
        self._copies.clear()
        paths = {sighting.path for sighting in view.sightings}
        self.unreadable = {path: reason for path, reason in self.unreadable.items() if path in paths}
        for place in free.values():
            sighting = view.sightings[place]
            new = self._new(sighting, view.live, model)
            if new is not None:
                places.append((place, new))
                self.in_sight = True
        places.sort(key=lambda pair: pair[0])
        self._all = [file for _, file in places]
        self._done = None
        self._first_start = False
        if view.sightings:
            self._forget_away(_KEPT_UNSEEN if view.live is None or not view.complete else _KEPT_ASIDE)
        return [(file, file.finished) for file in self._all] != before

    def _match(self, view: View, guess: bool) -> Matches | None:
        for file in self._all:
            file.is_intact()  # learns what was appended to the head, by which it is recognised
        self.missed = False
        try:
            return match(self._all, view.sightings, guess=guess)
        except (FileNotFoundError, Replaced):
            self.missed = True
            return None

    def _forget_away(self, limit: int) -> None:
        """Keep the number of finished files bounded that cannot be seen."""
        away = [file for file in self._all if file.finished and file.away]
        for file in away[:-limit]:
            self._all.remove(file)

    def _stays(self, file: File, sighting: Sighting | None, matches: Matches, view: View) -> bool:
        """Tell whether a file is still to be had, and report it if it is not."""
        if file in matches.by_key:
            return True
        state, reports = file.state, self._reading.reports
        if file.is_open:
            if file.is_intact():
                return True  # deleted or moved away, but its bytes are still ours to read
            reports.truncated(state.path, state.offset)
            self._reading.descriptors.release(file)
            if sighting is None:
                self._truncated.append(file)
            return sighting is not None  # in a copy that was made before
        was_truncated = any(other.key == file.key and other.path == state.path for other in view.sightings)
        if sighting is not None:
            moved = sighting.path != state.path and not is_lumberjack(sighting.path)
            was_copied = moved and not sighting.compressed and sighting.key[1] != state.ino
            if not file.finished and (was_copied or (was_truncated and moved)):
                reports.truncated(state.path, state.offset)
            return True
        if not view.complete:
            return True
        was_read = file.idle is not None and file.idle[0] == state.offset
        if not file.finished and state.head_len:
            if was_truncated:
                reports.truncated(state.path, state.offset)
                self._truncated.append(file)
            elif not was_read:
                reports.lost(state.path, state.offset)
                file.lost = True
        file.finished = True  # until it is seen again
        was_put_aside = bool(state.head_len) and view.live is not None and state.path == view.live.path
        return (view.live is None or was_put_aside) and not was_truncated

    def _new(self, sighting: Sighting, live_one: Sighting | None, model: File | None) -> File | None:
        """Make a file of what was never seen before; None if it is not to be read now.

        `model` is what is known of the live file, if it is still the same. What a copy has, perhaps a part as yet, is
        read from the live file; or, if that is truncated before, from the copy then.
        """
        live = sighting is live_one
        try:
            if not live and live_one is not None and is_copy(sighting, live_one, model):
                self._copies[sighting.path] = sighting.key, sighting.stamp
                return None
            file = File(sighting.new_state())
        except (FileNotFoundError, Replaced):  # the next survey sees it under another name, if it has one
            self.missed = True
            return None
        except OSError as error:
            self.unreadable[sighting.path] = error.strerror or str(error)
            return None
        self.unreadable.pop(sighting.path, None)
        file.seen = sighting.stamp
        if not live and self._has_nothing(file, sighting):
            file.finished = True
            return file
        reading = self._reading
        if self._first_start:
            wanted = live or reading.backfill or reading.patterns.matches(sighting.path)
            if not wanted or (reading.from_end and (sighting.compressed or not live)):
                file.state.offset = 0 if sighting.compressed else sighting.stamp[0]
                file.finished = True
                return file
        self._hold(file)
        if self._first_start and reading.from_end and file.is_open:
            file.skip_to_end(reading.max_line_bytes)
        return file

    def _has_nothing(self, file: File, sighting: Sighting) -> bool:
        """Tell whether there is nothing to be read in a new rotated file, at present."""
        if not file.state.head_len and not sighting.compressed:
            return True  # it may become a copy, which would be read as soon as it grows if it were unfinished
        original = next((each for each in self._truncated if was_read_in(each, sighting)), None)
        if original is None:
            return False
        self._truncated.remove(original)  # one copy for each
        file.state.offset = sighting.stamp[0]
        return True

    def _hold(self, file: File) -> None:
        """Open a file that will be read: then it can be deleted, and its inode is not used again, before its turn."""
        try:
            self._reading.descriptors.use(file)
        except (FileNotFoundError, Replaced):
            self.missed = True
        except OSError:
            pass  # said when it is read


def _put_before_younger(places: list[tuple[int, File]]) -> None:
    """Let no file that is not seen come after one that was begun later; its elder may have been put aside and back."""
    lowest = sys.maxsize
    for number, (place, file) in reversed(list(enumerate(places))):
        if file.away:
            places[number] = min(place, lowest), file
        else:
            lowest = min(lowest, place)


def _look(path: str) -> tuple[Key, Stamp]:
    status = os.stat(path)
    return (status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns)
