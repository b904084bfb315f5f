"""A pipeline: one source, filters, sinks, and the loop that moves events through them exactly once.

The commit, in the order that makes it safe (numbers as in the code below):

    1  prepare  each sink names the files that it will touch for the first time; their present lengths are saved, in
                both generations of the checkpoint
    2  flush    each sink makes what it was given durable
    3  save     source position and sink positions together, atomically   <- the commit point
    4  commit   sinks publish; the source may give up what the generation *before* covers

There is one way back from trouble: close everything and open again from the checkpoint. A crash, a full disk and a
`Retry` all take it. Nothing correct depends on a clean stop.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tailrace.batch import Batch, Position
from tailrace.checkpoint import Checkpoint, State
from tailrace.condition import Condition, Counts, Freshness, PipelineState
from tailrace.context import Context
from tailrace.deadletter import NAME as DEAD_LETTER
from tailrace.deadletter import DeadLetter
from tailrace.durable import make_directories
from tailrace.fields import Projection
from tailrace.match import TagPattern
from tailrace.reject import Reject
from tailrace.stage import Damaged, EndOfInput, Filter, Retry, Sink, Source, Stage

IDLE_WAIT = 0.5  # seconds that a read waits when there is nothing to commit
QUICK_COMMIT = 0.1  # seconds between commits, at least, when the source has nothing more to give
COMMIT_SHARE = 4  # ... and at least this many times as long as the last commit took
SLOW_SHARE = 4  # times `commit_bytes` may wait while commits are slow
BACKOFF = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds to wait before recovery; the last repeats


class PipelineFailed(Exception):  # noqa: N818
    """The pipeline cannot go on; the message says why and what to do."""


@dataclass
class _Unit:
    """What has been read since the last commit."""

    position: dict[str, Any] = field(default_factory=dict)
    bytes: int = 0
    since: float | None = None  # when its first event was read


class Pipeline:
    """One source → filters → sinks. `run` blocks until it is told to stop; use a thread for each pipeline.

    The stages must not have been used before. A commit is due `commit_interval` seconds after the first event that
    it holds, or after `commit_bytes` bytes of events, which bounds what sinks keep in memory.
    """

    def __init__(
        self,
        context: Context,
        source: Source,
        filters: Sequence[Filter],
        sinks: Mapping[str, Sink],
        *,
        commit_interval: float = 1.0,
        commit_bytes: int = 64 << 20,
    ) -> None:
        self.context = context
        self.counts = Counts()
        self.condition = Condition("starting", context.clock.time())
        self.freshness = Freshness(context.clock.monotonic())
        self.source = source
        self._filters = [(stage, _pattern(stage.match)) for stage in filters]
        self._sinks = dict(sinks)
        self._patterns = {name: _pattern(sink.match) for name, sink in sinks.items()}
        self._commit_interval = commit_interval
        self._commit_bytes = commit_bytes
        self.stages: tuple[Stage, ...] = (source, *filters, *sinks.values())
        for stage in self.stages:
            stage.attach(context)
        self._projection = Projection(
            [name for stage in self.stages for name in stage.reads()],
            [name for stage in self.stages for name in stage.writes()],
        )
        self._checkpoint = Checkpoint(context)
        self._dead_letter = DeadLetter(context)
        self._state = State()
        self._unit = _Unit()
        self._is_uncovered = False  # the last commit's events are in one generation of the checkpoint only
        self._last_commit = self._commit_took = 0.0

    def run(self, stop: threading.Event, *, once: bool = False) -> bool:
        """Move events until `stop` is set, or, with `once`, until there are none; False if it was recovering then.

        Raises PipelineFailed when it cannot go on; with `once` at the first failure: there is nobody to wait for.
        """
        try:
            drained = self._run(stop, once)
            self.enter("ended")
        finally:
            self.source.stop()
            with contextlib.suppress(OSError):
                self._checkpoint.restore()
        return drained

    def enter(self, state: PipelineState, cause: str = "") -> None:
        """Change the condition; it keeps its time for as long as the state stays the same."""
        since = self.condition.since if state == self.condition.state else self.context.clock.time()
        self.condition = Condition(state, since, cause)

    def _run(self, stop: threading.Event, once: bool) -> bool:
        failures = 0
        while True:
            commits = self.counts.commits
            try:
                self._open(once)
                if self.condition.state != "recovering":
                    self.enter("running")
                self._pump(stop, once)
                return True
            except Damaged as error:
                raise PipelineFailed(str(error)) from error
            except (Retry, OSError) as error:
                cause = _describe(error)
                if once:
                    raise PipelineFailed(f"{cause}; nothing is lost: run it again") from error
                failures = 1 if self.counts.commits > commits else failures + 1
                wait = BACKOFF[min(failures, len(BACKOFF)) - 1]
                self.counts.recoveries += 1
                self.enter("recovering", cause)
                self.context.log.error(
                    "pipeline will recover from its checkpoint", extra={"cause": cause, "wait_s": wait}
                )
            finally:
                self.close()
            if stop.wait(wait):
                return False

    def close(self) -> None:
        """Let go of everything; what was not committed is read again by the next `run`."""
        for stage in self.stages:
            stage.close()

    def _open(self, once: bool) -> None:
        """Load the checkpoint and take source and sinks back to it.

        The source comes first: one that others send to shall take what they send even while a sink cannot be opened.
        """
        make_directories(self.context.disk, str(self.context.state_dir))
        self._state = self._checkpoint.load() or State()
        self._unit = _Unit()
        self.freshness.go_back()
        self._dead_letter.open(self._state.sinks.get(DEAD_LETTER, {}))
        self.source.open(self._state.source)
        if not once:
            self.source.start()
        for name, sink in self._sinks.items():
            sink.open(self._state.sinks.get(name))

    def _pump(self, stop: threading.Event, once: bool) -> None:
        while not stop.is_set():
            try:
                batch = self.source.read(self._patience(once))
            except EndOfInput:
                break
            if batch is not None:
                empty = not len(batch)  # only its position matters, and that it is recorded
                self._process(batch)
                if empty or self._is_due():
                    self._commit()
                continue
            self.freshness.note_all_read(self.context.clock.monotonic(), self.counts.bytes_in)
            if once:
                break
            if self._unit.since is None:
                self._rest()
            elif self.context.clock.monotonic() >= self._early_commit_at():
                self._commit()
        if self._unit.since is not None:
            self._commit()

    def _patience(self, once: bool) -> float:
        """How long the next read may wait: not at all while there is something to commit and nothing else to do."""
        if once:
            return 0.0
        if self._unit.since is None:
            return IDLE_WAIT
        return max(0.0, self._early_commit_at() - self.context.clock.monotonic())

    def _early_commit_at(self) -> float:
        return self._last_commit + max(QUICK_COMMIT, COMMIT_SHARE * self._commit_took)

    def _is_due(self) -> bool:
        age = self.context.clock.monotonic() - (self._unit.since or 0.0)
        if age < self._commit_took:  # commits, of thousands of files perhaps, shall not take more than half of the time
            return self._unit.bytes >= self._commit_bytes * SLOW_SHARE
        return age >= self._commit_interval or self._unit.bytes >= self._commit_bytes

    def _process(self, batch: Batch) -> None:
        """Take one batch through filters and into the sinks' memory."""
        size = sum(map(len, batch.lines)) + len(batch)
        now = self.context.clock.monotonic()
        self._unit.position |= batch.position
        self._unit.bytes += size
        if self._unit.since is None:
            self._unit.since = now
        self.counts.add_batch(len(batch), size, now)
        batch.project(self._projection)
        self._set_aside(batch.settle())
        for stage, pattern in self._filters:
            self._apply(stage, pattern, batch)
        batch.encoded()  # what cannot be encoded is rejected before a sink sees it
        self._set_aside(batch.settle())
        self.counts.events_out += len(batch)
        if not len(batch):
            return
        for name, sink in self._sinks.items():
            pattern = self._patterns[name]
            mask = None if pattern is None else pattern.mask(batch.tags)
            if mask is None or all(mask):
                sink.write(sink.encode(batch))
            elif any(mask):
                sink.write(sink.encode(batch.part(mask)))

    def _apply(self, stage: Filter, pattern: TagPattern | None, batch: Batch) -> None:
        before = len(batch)
        if not before:
            return
        mask = None if pattern is None else pattern.mask(batch.tags)
        try:
            if mask is None or all(mask):
                stage.apply(batch)
            elif any(mask):
                matching, others = batch.part(mask), batch.part([not here for here in mask])
                stage.apply(matching)
                batch.rejoin([matching, others])
        except Exception as error:
            error.add_note(f"in filter {type(stage).__name__}, on {batch}")
            raise
        rejects = batch.settle()
        self._set_aside(rejects)
        self.counts.dropped += before - len(batch) - len(rejects)

    def _set_aside(self, rejects: Sequence[Reject]) -> None:
        if rejects:
            self.counts.add_rejects(rejects)
            self._dead_letter.add(rejects)

    def _commit(self) -> None:
        started = self.context.clock.monotonic()
        self._checkpoint.restore()  # if it was removed; else what a webhook read could not be read again
        outputs: dict[str, Callable[[], Position]]
        outputs = {name: sink.prepare for name, sink in self._sinks.items()} | {DEAD_LETTER: self._dead_letter.prepare}
        fresh = {name: delta for name, prepare in outputs.items() if (delta := prepare())}
        for _ in range(2 if fresh else 0):  # so that the generation to fall back to knows where to cut, too
            self._save({}, fresh)  # 1
        outputs = {name: sink.flush for name, sink in self._sinks.items()} | {DEAD_LETTER: self._dead_letter.flush}
        positions = {name: flush() for name, flush in outputs.items()}  # 2
        covered_before = self._state.source
        self._save(self._unit.position, positions)  # 3
        for name, sink in self._sinks.items():  # 4
            sink.commit(self._state.sinks[name])
        if covered_before is not None:
            self.source.commit(covered_before)
        self._dead_letter.commit()
        self._unit = _Unit()
        self._is_uncovered = True
        self._last_commit = self.context.clock.monotonic()
        self._commit_took = self._last_commit - started
        self.counts.add_commit(self._commit_took, self.context.clock.time())
        with contextlib.suppress(Exception):  # a figure that cannot be had is no reason to stop
            self.freshness.note_commit(self._last_commit, self.counts.bytes_in, self.source.lag())
        self.enter("running")

    def _rest(self) -> None:
        """Nothing is going on: make both checkpoint generations cover all, so that the source gives up the last too."""
        self._checkpoint.restore()
        if self._is_uncovered and self._state.source is not None:
            self._save({}, {})
            self.source.commit(self._state.source)
        self._is_uncovered = False
        self.freshness.note_rest()
        self.counts.uncommitted_since = None
        self.enter("running")

    def _save(self, source: Position, sinks: Mapping[str, Position]) -> None:
        state = self._state.advanced(source, sinks)
        self._checkpoint.save(state)
        self._state = state


def _pattern(match: str | None) -> TagPattern | None:
    return None if match is None else TagPattern(match)


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__
