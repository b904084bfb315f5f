"""The source `tail`."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta, field

from tailrace import Batch, Context, Finding, Measure, OptionError, Position, Source, Span, Surroundings
from tailrace_plugins.tailing.descriptors import Descriptors
from tailrace_plugins.tailing.file import Key
from tailrace_plugins.tailing.files import LogState, parse_state
from tailrace_plugins.tailing.listings import Listings
from tailrace_plugins.tailing.log import Log
from tailrace_plugins.tailing.patterns import Patterns, is_url
from tailrace_plugins.tailing.reading import Reading
from tailrace_plugins.tailing.reports import Reports

if TYPE_CHECKING:
    from tailrace_plugins.tailing.objects import Objects
    from tailrace_plugins.tailing.wakeup import Wakeup

_LOOK_SHARE = 9  # the pause between two looks is at least that many times as long as a look
_THOROUGH_SHARE = 20  # a look at all that may have changed is taken that many times as rarely as it takes long


class Tail(Source, kw_only=True):
    """Follow log files through every kind of rotation.

        - type: tail
          paths: [/var/log/kube-audit/audit.log]

    A log is a live file and the files that rotation made of it: `audit-2026-11-23T07-04-36.411.log` (kube-apiserver),
    `audit.log.1` and `audit.log-20261123` (logrotate), each perhaps compressed. Rotated files are the log's past and
    never logs of their own, even where a glob matches them. Each line is given once, as it was written, whatever
    happens between two looks or while nobody looks.

    With `--once`, paths may be objects in a store instead, `s3://bucket/audit/**/*.gz`: each is read from its beginning
    to its end, in the order of their names, and the next run reads only what is new, or was made longer. Credentials
    are found as boto3 does; `pip install 'tailrace[s3]'` brings it.

    The position has one key for each log, its live path; the value holds the unfinished files and how far each was
    read, and the finished ones that still exist.
    """

    gives_spans: ClassVar[bool] = True

    paths: Annotated[
        list[str],
        Meta(description="Files, or globs of files (`*`, `?`, `[...]`, and `**` for any number of directories)."),
    ]
    exclude: Annotated[
        list[str], Meta(description="Globs of files that are not read: of the whole path, or of the base name.")
    ] = field(default_factory=list)
    tag: Annotated[str, Meta(description="The tag of every event.")] = "log"
    read_from: Annotated[
        Literal["beginning", "live", "end"],
        Meta(
            description="Where to begin at the first start: at the beginning of what there is, rotated files "
            "included; at the beginning of the live file; or at the end. Rotated files that a glob matches are read "
            "in the second case too."
        ),
    ] = "beginning"
    max_line_bytes: Annotated[
        int, Meta(gt=0, description="A longer line is rejected, in pieces of at most so many bytes.")
    ] = 16_777_216
    block_bytes: Annotated[
        int, Meta(gt=0, description="So many bytes are read of a file at a time; more if a line is longer.")
    ] = 524_288
    poll_interval: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds between two looks at the files, while there is nothing to read; longer where there "
            "are so many files that the looks alone would take more than a tenth of the time.",
        ),
    ] = 0.1
    scan_interval: Annotated[float, Meta(gt=0, description="Seconds between two searches for new files.")] = 1.0
    rotate_wait: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds for which a rotated file must be quiet before an unfinished last line of it is "
            "given as it is. New lines in the live file do not wait for it.",
        ),
    ] = 1.0
    max_open_files: Annotated[int, Meta(gt=0, description="So many files are held open at most.")] = 256
    endpoint_url: Annotated[
        str | None,
        Meta(description="Of a store that speaks like S3, for paths with s3://: `https://minio.example:9000`."),
    ] = None
    watch: Annotated[
        bool, Meta(description="Let the kernel wake us when a file is rotated, instead of polling alone.")
    ] = True

    def __post_init__(self) -> None:
        if not self.paths or not all(self.paths):
            raise OptionError("paths", "name at least one file, like /var/log/kube-audit/audit.log")
        if self.endpoint_url or any(map(is_url, self.paths)):
            from tailrace_plugins.tailing.objects import check_urls  # not for those who follow files

            check_urls(self.paths, self.read_from, self.endpoint_url or None)
        self._objects: Objects | None = None

    def once_only(self) -> str | None:
        """Objects in a store are listed once."""
        return "objects of s3:// are read to their end, and not followed" if is_url(self.paths[0]) else None

    def attach(self, context: Context) -> None:
        """Take clock and log."""
        super().attach(context)
        self.reports = Reports(context.log)
        self._awake = threading.Event()
        self._interrupted = False
        self._logs: dict[str, Log] = {}
        self._wakeup: Wakeup | None = None
        self._descriptors = Descriptors(self.max_open_files)
        self._refused: set[Key] = set()

    def open(self, position: Position | None) -> None:
        """Recognise the files of `position`, and begin with the others as the options say."""
        self.close()
        self._reading = Reading(
            patterns=Patterns(self.paths, self.exclude),
            tag=self.tag,
            from_end=self.read_from == "end",
            backfill=self.read_from == "beginning",
            block_bytes=self.block_bytes,
            max_line_bytes=self.max_line_bytes,
            poll_interval=self.poll_interval,
            scan_interval=self.scan_interval,
            rotate_wait=self.rotate_wait,
            clock=self.context.clock,
            refused=self._refused,
            descriptors=self._descriptors,
            listings=Listings(),
            reports=self.reports,
        )
        if is_url(self.paths[0]):
            from tailrace_plugins.tailing.objects import Objects

            self._objects = Objects(self.paths, self.exclude, self.endpoint_url or None, self._reading)
            self._objects.open(position)
            return
        self._logs = {}
        self._turn: deque[Log] = deque()  # whose turn it is next stands first
        self._gone: set[str] = set()  # keys that the checkpoint may forget
        self._scanned = self.context.clock.monotonic()
        self._thorough_again = self._scanned
        patterns = self._reading.patterns
        for key, value in (position or {}).items():
            if value is not None and patterns.matches(key):
                self._add(key, parse_state(key, value), first_start=False)
        for path in patterns.literals:
            if patterns.matches(path):
                # without a position of its own, it is a path that the config did not name before
                self._add(patterns.live_path(path), None, first_start=True)
        self._scan(first_start=position is None)
        self._is_recorded = position is not None
        for path in patterns.mounted():
            self.reports.mounted(path)
        for log in self._turn:
            log.look(self._scanned)  # now, so that what appears from now on is told from what was there

    def read(self, timeout: float) -> Batch | None:
        """Give the next lines of one file; the logs take turns."""
        batch = self.find(timeout, 0)
        assert not isinstance(batch, Span)
        return batch

    def find(self, timeout: float, span_bytes: int) -> Batch | Span | None:
        """Give the next lines of one file, or a span of a plain one; the logs take turns.

        At the first start the first batch has no lines, so that it is recorded which files are not to be read again
        from their beginning, or not at all, should there be a crash before the first commit.
        """
        if self._objects is not None:
            return self._objects.read()
        if not self._is_recorded:
            self._is_recorded = True
            return Batch([], position=self._complete({}))
        clock = self.context.clock
        deadline = clock.monotonic() + timeout
        look = False
        while True:
            began = clock.monotonic()
            batch = self._next(look, span_bytes)
            if batch is not None:
                return batch
            if self._gone or self._reading.changed:
                return Batch([], position=self._complete({}))
            now = clock.monotonic()
            remaining = deadline - now
            if remaining > 0 and not self._interrupted:
                pause = max(self.poll_interval, _LOOK_SHARE * (now - began))
                look = self._wait(min(pause, remaining))
            elif look:
                self._interrupted = False
                return None
            else:
                look = True

    def refuse(self, span: Span) -> None:
        """Give this file in batches from now on."""
        status = os.fstat(span.descriptor)
        self._refused.add((status.st_dev, status.st_ino))

    def take_note(self, name: str, *values: Any) -> None:
        """Say and count NUL bytes and lines that are too long."""
        {"nuls": self.reports.nuls, "long_line": self.reports.long_line}[name](*values)

    def lag(self) -> int:
        """Give the number of bytes not yet read; what is compressed is not counted."""
        if self._objects is not None:
            return self._objects.lag()
        return sum(log.lag() for log in list(self._logs.values()))

    def measures(self) -> Iterable[Measure]:
        """Give what went wrong with the files, and how many there are."""
        yield from self.reports.measures()
        logs = list(self._logs.values())
        unfinished = sum(log.unfinished for log in logs)
        yield Measure("tail_logs", "Logs that are followed.", "gauge", len(logs))
        yield Measure("tail_unfinished_files", "Files from which more may come.", "gauge", unfinished)
        yield Measure("tail_open_files", "Files that are held open.", "gauge", len(self._descriptors))

    def descriptors(self) -> int:
        """Files, and what wakes it."""
        return self.max_open_files + 1

    def examine(self, surroundings: Surroundings) -> Iterable[Finding]:
        """Look at the files, at who writes them, and at whoever else has a hand in it."""
        from tailrace_plugins.examining.logs import Following, examine  # only one command needs it

        patterns = Patterns(self.paths, self.exclude)
        return examine(Following(patterns, self.read_from, self.max_line_bytes, self.watch), surroundings)

    def incomplete(self) -> Sequence[str]:
        """Name the files that are missing or cannot be read."""
        if self._objects is not None:
            return self._objects.incomplete()
        return [sentence for log in self._logs.values() for sentence in log.incomplete()]

    def wake(self) -> None:
        """Let a waiting `read` look once more and return."""
        self._interrupted = True
        self._awake.set()

    def close(self) -> None:
        """Close all files and stop watching."""
        if self._wakeup is not None:
            self._wakeup.close()
            self._wakeup = None
        self._descriptors.release_all()
        if self._objects is not None:
            self._objects.close()

    def _add(self, path: str, state: LogState | None, *, first_start: bool) -> None:
        if path not in self._logs:
            named = path in self._reading.patterns.literals
            log = Log(path, self._reading, state, named=named, first_start=first_start)
            self._logs[path] = log
            self._turn.append(log)
            self._gone.discard(path)

    def _scan(self, *, first_start: bool) -> None:
        """Find new logs, and forget those of which nothing is left."""
        patterns = self._reading.patterns
        for path in patterns.find():
            self._add(path, None, first_start=first_start)
        for log in [log for log in self._turn if log.is_gone and not log.named]:
            self._turn.remove(log)
            del self._logs[log.path]
            self._reading.changed.discard(log.path)
            self._gone.add(log.path)
        self._watch_directories()

    def _wait(self, seconds: float) -> bool:
        """Wait for so long, or until somebody wakes us; tell whether that happened."""
        if self.watch and self._wakeup is None:
            from tailrace_plugins.tailing.wakeup import Wakeup  # costs as much as all of ours; `--once` never waits

            self._wakeup = Wakeup(self._awake.set, self.context.log)
            self._watch_directories()
        awake = self._awake.wait(seconds)
        self._awake.clear()
        return awake

    def _watch_directories(self) -> None:
        if self._wakeup is not None:
            self._wakeup.watch(filter(os.path.isdir, self._reading.patterns.directories()))

    def _next(self, look: bool, span_bytes: int) -> Batch | Span | None:
        """Give the next lines. `look`: look at every file, however short ago the last look was."""
        clock = self.context.clock
        now = clock.monotonic()
        self._reading.listings.begin()
        thorough = look and now >= self._thorough_again
        if thorough or now - self._scanned >= self.scan_interval:
            self._scanned = now
            self._scan(first_start=False)
        for _ in range(len(self._turn)):
            log = self._turn[0]
            self._turn.rotate(-1)
            batch = log.read(look=look, thorough=thorough, span_bytes=span_bytes)
            if batch is not None:
                batch.position = self._complete(batch.position)
                return batch
        if thorough:
            done = clock.monotonic()
            self._thorough_again = done + _THOROUGH_SHARE * (done - now)
        return None

    def _complete(self, position: Position) -> Position:
        """Add to a position what changed in the other logs without giving lines."""
        changed: dict[str, Any] = dict(position)
        for path in self._reading.changed:
            changed[path] = self._logs[path].position()
        self._reading.changed.clear()
        if self._gone:
            changed.update(dict.fromkeys(self._gone))
            self._gone.clear()
        return changed
