"""One log: a live file and those that rotation made of it, read as one sequence of lines.

The rules:

1. The live path is looked at by name; the live file is whatever is there now. Nothing depends on an event.
2. A line is given only when all older files were found to be at their end *after* its own file had been seen.
3. An older file stays under watch until it has been quiet for `rotate_wait` seconds, for its writer may not have
   noticed yet; lines that come late are given late. Then, and only then, what follows its last newline is a line.
4. A file that was read stays known for as long as it exists, so that a new name never makes it new; and for as long
   as there is no live file, for then it may come back: a volume that is not mounted yet, a file that was put aside.
5. Files that are waiting to be read are held open, so that deleting them takes nothing from us.
6. A copy of the live file is read only where the live file was truncated, from the place up to which it had been read.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from tailrace import LEAST_SPAN_BYTES, Batch, Span
from tailrace_plugins.tailing.file import Bounds, File, Key, Replaced, Truncated
from tailrace_plugins.tailing.files import Files, LogState
from tailrace_plugins.tailing.history import directories
from tailrace_plugins.tailing.lines import Block
from tailrace_plugins.tailing.listings import Entry
from tailrace_plugins.tailing.reading import Reading
from tailrace_plugins.tailing.stretch import TailStretch, batch_of
from tailrace_plugins.tailing.survey import Trouble, survey

DELETED_WAIT = 60.0
"""So many seconds a file that was deleted and has no successor must be quiet before it is let go of."""

MISSING_WAIT = 1.0
"""So many seconds a file that was there may be missing before it is said: between rename and create it is."""


_SURVEYS = 5
"""So many times it is looked again if what was seen is gone before it is known."""


class Log:
    """A log that is followed."""

    def __init__(self, path: str, reading: Reading, state: LogState | None, *, named: bool, first_start: bool) -> None:
        self.path = path
        self.named = named  # by the user, not found by a glob
        self.trouble: Trouble | None = None
        self._reading = reading
        if state is None:
            reading.changed.add(path)
        self._files = Files(reading, state, first_start=first_start)
        self._stale = True  # what is known of the files on disk is not true any more
        self._live_key: Key | None = None
        self._live_status: os.stat_result | None = None  # of this look
        self._names: list[tuple[Entry, ...]] = []  # of its rotated files, when they were last surveyed
        self._directories: list[tuple[str, str]] = []  # where they lie
        self._looked = float("-inf")
        self._surveyed = float("-inf")
        self._was_seen = bool(self._files)
        self._missing_since: float | None = None
        self._said: Trouble | None = None
        self._told: dict[str, str] = {}

    @property
    def is_gone(self) -> bool:
        """Tell whether nothing is left of it."""
        return not self._files.in_sight and self.trouble is not None and self.trouble.kind == "missing"

    @property
    def unfinished(self) -> int:
        """Give the number of files from which more may come."""
        return len(self._files.unfinished)

    def position(self) -> dict[str, Any]:
        """Give what the checkpoint keeps."""
        return self._files.position()

    def lag(self) -> int:
        """Give the number of bytes that wait in plain files; of compressed ones nobody knows before."""
        waiting = 0
        for file in self._files.unfinished:
            try:
                if not file.compressed:
                    waiting += max(0, file.stat().st_size - file.state.offset)
            except OSError:
                continue
        return waiting

    def incomplete(self) -> list[str]:
        """Say what could not be read."""
        sentences = [f"{path}: cannot be read: {reason}" for path, reason in self._files.unreadable.items()]
        if self.trouble is not None and not (self.trouble.kind == "missing" and (self._was_seen or not self.named)):
            sentences.append(f"{self.path}: {self.trouble.kind}: {self.trouble.reason}")
        return sentences

    # Reading

    def read(self, *, look: bool, thorough: bool, span_bytes: int = 0) -> Batch | Span | None:
        """Give the next lines, or a span of at most `span_bytes` (0: none), or None.

        `look`: look at the live path, however short ago the last look was; `thorough`: and at the rotated files.
        """
        now = self._reading.clock.monotonic()
        if look or now - self._looked >= self._reading.poll_interval:
            self._looked = now
            self.look(now, thorough=thorough)
        elif not any(file.more for file in self._files.unfinished):
            return None
        else:
            self._live_status = None
        batch = self._read_files(now, span_bytes)
        if batch is None and self._stale:
            self._live_status = None
            self._survey(now)
            batch = self._read_files(now, span_bytes)
        self._tell_unreadable()
        return batch

    def _tell_unreadable(self) -> None:
        unreadable = self._files.unreadable
        if unreadable != self._told:
            for path in unreadable.keys() - self._told.keys():
                self._reading.reports.unreadable(path, unreadable[path])
            self._told = dict(unreadable)

    def _read_files(self, now: float, span_bytes: int) -> Batch | Span | None:
        for file in self._files.unfinished:
            block = self._take(file, now, span_bytes=span_bytes)
            if isinstance(block, Bounds):
                return self._span(file, block)
            if block is None and not self._stale and self._is_over(file, now):
                end = file.idle
                block = self._take(file, now, ended=True)
                assert not isinstance(block, Bounds)
                if block is None and file.idle == end:
                    self._finish(file)
            if block is not None:
                return self._batch(file, block)
            if self._stale:
                return None
        return None

    def _take(self, file: File, now: float, *, ended: bool = False, span_bytes: int = 0) -> Block | Bounds | None:
        """Read on in one file, or find a span; None if there is nothing, or if it is not what or where it was.

        In the last case we are stale.
        """
        reading = self._reading
        try:
            if not ended and file.is_idle(self._live_status if file.key == self._live_key else None):
                return None
            reading.descriptors.use(file)
            block: Block | Bounds | None = None
            if span_bytes and file.key not in reading.refused:
                block = file.find_span(LEAST_SPAN_BYTES, span_bytes)
            block = block or self._read_block(file, now, ended)
        except (FileNotFoundError, NotADirectoryError, Replaced, Truncated):
            file.more = False
            self._stale = True
            return None
        except OSError as error:
            file.forget_end()
            reading.descriptors.release(file)
            if file.state.path != self.path or self.trouble is None:  # the survey has said it
                self._files.unreadable[file.state.path] = error.strerror or str(error)
            return None
        if self._files.unreadable.pop(file.state.path, None):
            reading.reports.recovered(file.state.path)
        return block

    def _read_block(self, file: File, now: float, ended: bool) -> Block | None:
        """Read the next block that has lines."""
        reading = self._reading
        while True:
            block = file.read(now, block_bytes=reading.block_bytes, max_line_bytes=reading.max_line_bytes, ended=ended)
            if block is not None and block.nuls:
                reading.reports.nuls(file.state.path, block.offset - block.nuls, block.nuls)
                reading.changed.add(self.path)
            if block is None or block.lines:
                return block

    def _batch(self, file: File, block: Block) -> Batch:
        limit = self._reading.max_line_bytes
        batch = batch_of(block, tag=self._reading.tag, origin=file.origin, max_line_bytes=limit)
        batch.position = {self.path: self._files.position()}
        self._reading.changed.discard(self.path)
        if block.part == 1:
            self._reading.reports.long_line(file.state.path, block.offset, limit)
        return batch

    def _span(self, file: File, bounds: Bounds) -> Span:
        reading = self._reading
        stretch = TailStretch(file.state.path, reading.tag, *bounds, reading.block_bytes, reading.max_line_bytes)
        self._reading.changed.discard(self.path)
        return Span({self.path: self._files.position()}, bounds.end - bounds.offset, file.duplicate(), stretch)

    def _is_over(self, file: File, now: float) -> bool:
        """Tell whether nothing will be appended any more to a file that was read to its end."""
        if file.idle is None:
            return False
        if file.compressed and file.error is None:
            return True
        is_last = not file.compressed and self._files.is_youngest(file)
        if is_last and self._live_key is not None:
            return False
        quiet = file.quiet_for(now, self._reading.clock.time())
        if not is_last:
            return quiet >= self._reading.rotate_wait
        return not file.has_name() and quiet >= DELETED_WAIT

    def _finish(self, file: File) -> None:
        if file.error is not None:
            self._reading.reports.damaged(file.state.path, file.state.offset, file.error)
        self._files.finish(file)
        self._reading.changed.add(self.path)

    # Looking

    def look(self, now: float, *, thorough: bool = False) -> None:
        """Find out whether the live file is still the one we know, and survey the log if it is not."""
        key: Key | None = None
        self._live_status = None
        try:
            status = os.stat(self.path)
            key = status.st_dev, status.st_ino
        except OSError:
            pass  # the survey says why
        if key is not None and key == self._live_key:
            self._live_status = status
        if self._stale or key != self._live_key:
            self._survey(now)
        elif thorough or now - self._surveyed >= self._reading.scan_interval:
            self._surveyed = now
            if self._has_changed():
                self._survey(now)

    def _has_changed(self) -> bool:
        """Tell whether names came or went, or somebody wrote to a file that was finished."""
        if self.trouble is not None or self._files.unreadable:
            return True
        listings = self._reading.listings
        try:
            if self._names != [listings.seen(*place) for place in self._directories]:
                return True
        except OSError:
            return True
        return self._files.has_late_lines()

    def _survey(self, now: float) -> None:
        self._surveyed = now
        reading = self._reading
        for left in reversed(range(_SURVEYS)):
            self._directories = directories(self.path)
            with suppress(OSError):  # the survey says why
                # before the survey, so that what comes while it goes on is noticed
                self._names = [reading.listings.present(*place) for place in self._directories]
            view = survey(
                self.path, reading.listings, lambda path: not reading.patterns.is_excluded(path), self._files.known
            )
            self._live_key = view.live_key
            if self._files.arrange(view, guess=not left):
                self._reading.changed.add(self.path)
            if not self._files.missed:
                break
        # names came and went faster than we could look
        self._stale = self._files.missed or (not view.complete and view.trouble is None)
        self._judge(view.trouble, now)

    def _judge(self, trouble: Trouble | None, now: float) -> None:
        """Report a change for the worse or the better, once."""
        self.trouble = trouble
        if trouble is None:
            self._was_seen = True
        if trouble is None or trouble.kind != "missing":
            self._missing_since = None
        else:
            if self._missing_since is None:
                self._missing_since = now
            if not self.named or (self._was_seen and now - self._missing_since < MISSING_WAIT):
                return
        if trouble != self._said:
            self._said = trouble
            if trouble is None:
                self._reading.reports.recovered(self.path)
            else:
                self._reading.reports.trouble(self.path, trouble.kind, trouble.reason)
