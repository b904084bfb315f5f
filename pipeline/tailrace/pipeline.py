"""A pipeline: one source, filters, sinks, and the loop that moves events through them exactly once.

The commit, in the order that makes it safe (numbers as in the code below):

    1  prepare  each sink names the files that it will touch for the first time; their present lengths are saved, in
                both generations of the checkpoint
    2  flush    each sink makes what it was given durable, or has sent it; what was refused there, and what stages
                rejected, is written to the dead letter
    3  save     source position, sink positions and what filters remember together, atomically   <- the commit point
    4  commit   sinks publish; the source may give up what the generation *before* covers

There is one way back from trouble: close everything and open again from the checkpoint. A crash, a full disk and a
`Retry` all take it. Nothing correct depends on a clean stop.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tailrace.batch import Batch, Position
from tailrace.checkpoint import Checkpoint, State
from tailrace.condition import Condition, Counts, Freshness, PipelineState
from tailrace.context import Context
from tailrace.crew import Crew
from tailrace.deadletter import NAME as DEAD_LETTER
from tailrace.deadletter import DeadLetter
from tailrace.durable import make_directories
from tailrace.hiring import Reserve
from tailrace.letters import REPLAY
from tailrace.remembering import Remembering
from tailrace.span import SPAN_BYTES, Span, SpanUnread
from tailrace.stage import Damaged, EndOfInput, Filter, Retry, Sink, Source, Stage

IDLE_WAIT = 0.5  # seconds that a read waits when there is nothing to commit
QUICK_COMMIT = 0.1  # seconds between commits, at least, when the source has nothing more to give
COMMIT_SHARE = 4  # between commits there is at least this many times as long as the last one took, if memory allows
SLOW_SHARE = 8  # times `commit_bytes` of events may wait while commits are slow
HELD_SHARE = 2.25  # ... if sinks hold no more than that many times as much of them in memory
BACKOFF = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds to wait before recovery; the last repeats


class PipelineFailed(Exception):  # noqa: N818
    """The pipeline cannot go on; the message says why and what to do."""


class _Again(Retry):
    """Recover at once, without a word: it is not the same that will be tried again."""


@dataclass
class _Unit:
    """What has been read since the last commit."""

    position: dict[str, Any] = field(default_factory=dict)
    bytes: int = 0
    since: float | None = None  # when its first event was read


class Pipeline:
    """One source → filters → sinks. `run` blocks until it is told to stop; use a thread for each pipeline.

    The stages must not have been used before. A commit is due `commit_interval` seconds after the first event that
    it holds, or after `commit_bytes` bytes of events, which bounds what sinks keep in memory. With several `workers`,
    spans of the source are worked on by so many processes at once, of `reserve` if it has some; what is written is the
    same.
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
        workers: int = 1,
        reserve: Reserve | None = None,
    ) -> None:
        self.context = context
        self.counts = Counts()
        self.condition = Condition("starting", context.clock.time())
        self.freshness = Freshness(context.clock.monotonic())
        self.source = source
        self._remembering = Remembering(filters)
        if self._remembering:
            workers = 1
        self._span_bytes = SPAN_BYTES if workers > 1 else 0
        self._sinks = dict(sinks)
        self._commit_interval = commit_interval
        self._commit_bytes = commit_bytes
        self.stages: tuple[Stage, ...] = (source, *filters, *sinks.values())
        for stage in self.stages:
            stage.attach(context)
        self.crew = Crew(context, source, filters, sinks, workers, reserve or Reserve())
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

    def incomplete(self) -> Sequence[tuple[str, str]]:
        """Say what a run with `once` has left undone, now that it has ended: each with what it is about, then why."""
        about: dict[str, Sequence[Source | Sink]] = {"input": [self.source], "output": list(self._sinks.values())}
        return [(what, why) for what, stages in about.items() for stage in stages for why in stage.incomplete()]

    def lag(self) -> int:
        """Give how many bytes the source knows of that did not go into the sinks yet; for other threads too."""
        return self.source.lag() + self.crew.size

    def wake(self) -> None:
        """Make stages that wait look up; for other threads."""
        self.source.wake()
        for sink in self._sinks.values():
            sink.wake()

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
                if once and not stop.is_set():
                    self._finish(stop)
                return True
            except Damaged as error:
                raise PipelineFailed(str(error)) from error
            except _Again:
                wait = 0.0
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
        self.crew.close()
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
        self._remembering.restore(self._state.filters)
        self._dead_letter.open(self._state.sinks.get(DEAD_LETTER, {}))
        self.source.open(self._state.source)
        if not once:
            self.source.start()
        for name, sink in self._sinks.items():
            sink.open(self._state.sinks.get(name))

    def _pump(self, stop: threading.Event, once: bool) -> None:
        while not stop.is_set():
            try:
                given = self._read(self._patience(once))
            except EndOfInput:
                break
            if given is not None:
                # only its position matters if it is empty, and that it is recorded
                empty = isinstance(given, Batch) and not len(given)
                self.counts.note_read(self.context.clock.monotonic())
                self.crew.add(given)
                while self.crew.is_due or (empty and self.crew.is_busy):
                    self._take()
                if empty and self._unit.since is not None:
                    self._commit()
                continue
            if self.crew.is_busy:
                self._take()
                continue
            self.freshness.note_all_read(self.context.clock.monotonic(), self.counts.bytes_in)
            if once:
                break
            if self._unit.since is None:
                self._rest()
            elif self.context.clock.monotonic() >= self._early_commit_at():
                self._commit()
        while self.crew.is_busy and not stop.is_set():
            self._take()
        if self._unit.since is not None:
            self._commit()

    def _read(self, timeout: float) -> Batch | Span | None:
        return self.source.find(timeout, self._span_bytes) if self._span_bytes else self.source.read(timeout)

    def _patience(self, once: bool) -> float:
        """How long the next read may wait: not at all while there is something to commit and nothing else to do."""
        if once or self.crew.is_busy:
            return 0.0
        if self._unit.since is None:
            return IDLE_WAIT
        return max(0.0, self._early_commit_at() - self.context.clock.monotonic())

    def _early_commit_at(self) -> float:
        at = self._last_commit + max(QUICK_COMMIT, COMMIT_SHARE * self._commit_took)
        return max(at, (self._unit.since or 0.0) + self._linger())

    def _linger(self) -> float:
        return max((sink.linger() for sink in self._sinks.values()), default=0.0)

    def _is_due(self) -> bool:
        age = self.context.clock.monotonic() - (self._unit.since or 0.0)
        if age < COMMIT_SHARE * self._commit_took:  # of thousands of files, perhaps
            held = sum(self._unit.bytes if (size := sink.held()) is None else size for sink in self._sinks.values())
            return self._unit.bytes >= self._commit_bytes * SLOW_SHARE or held >= self._commit_bytes * HELD_SHARE
        return age >= max(self._commit_interval, self._linger()) or self._unit.bytes >= self._commit_bytes

    def _take(self) -> None:
        """Take what the crew made of a batch or a span into the sinks' memory; commit if that is due."""
        try:
            position, product = self.crew.take()
        except SpanUnread as error:
            self.source.refuse(self.crew.unread())
            raise _Again(str(error)) from None
        now = self.context.clock.monotonic()
        self._unit.position |= position
        self._unit.bytes += product.bytes_in
        if self._unit.since is None:
            self._unit.since = now
        self.counts.add(product)
        for note in product.notes:
            self.source.take_note(*note)
        for record in product.log:
            self.context.log.handle(record)
        self._dead_letter.add(product.rejects)
        for name, payload in product.payloads.items():
            if product.is_packed:
                self._sinks[name].write_packed(payload)
            else:
                self._sinks[name].write(payload)
        if self._is_due():
            self._commit()

    def _commit(self) -> None:
        started = self.context.clock.monotonic()
        self._checkpoint.restore()  # if it was removed; else what a webhook read could not be read again
        prepared = {name: sink.prepare() for name, sink in self._sinks.items()}
        self._announce(prepared | {DEAD_LETTER: self._dead_letter.prepare()})  # 1
        positions = {name: sink.flush() for name, sink in self._sinks.items()}  # 2
        refused = [reject for sink in self._sinks.values() for reject in sink.refused()]
        if refused:
            self.counts.add_rejects(refused)
            self._dead_letter.add(refused)
            self._announce({DEAD_LETTER: self._dead_letter.prepare()})
        positions[DEAD_LETTER] = self._dead_letter.flush()
        covered_before = self._state.source
        # all that was read is committed, for with filters that remember there are no spans; a replay goes without them
        remembered = None if REPLAY in self._sinks else self._remembering.states()
        self._save(self._unit.position, positions, remembered)  # 3
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
        if self.crew.is_busy:
            self.counts.note_read(self._last_commit)
        with contextlib.suppress(Exception):  # a figure that cannot be had is no reason to stop
            self.freshness.note_commit(self._last_commit, self.counts.bytes_in, self.lag())
        self.enter("running")

    def _announce(self, prepared: Mapping[str, Position]) -> None:
        """Record what will be written to for the first time."""
        fresh = {name: delta for name, delta in prepared.items() if delta}
        for _ in range(2 if fresh else 0):  # so that the generation to fall back to knows where to cut, too
            self._save({}, fresh)

    def _finish(self, stop: threading.Event) -> None:
        """All is committed, and nothing more will come: let sinks complete what goes on beside the commits."""
        for sink in self._sinks.values():
            for _ in sink.finish(stop):
                self._commit_if_due()

    def _commit_if_due(self) -> bool:
        """Commit for sinks that need it, though there are no events."""
        is_due = any(sink.is_due() for sink in self._sinks.values())
        if is_due:
            self._commit()
        return is_due

    def _rest(self) -> None:
        """Nothing is going on: make both checkpoint generations cover all, so that the source gives up the last too."""
        if self._commit_if_due():
            return
        self._checkpoint.restore()
        if self._is_uncovered and self._state.source is not None:
            self._save({}, {})
            self.source.commit(self._state.source)
        self._is_uncovered = False
        self.crew.rest()
        self.freshness.note_rest()
        self.counts.uncommitted_since = None
        self.enter("running")

    def _save(
        self, source: Position, sinks: Mapping[str, Position], filters: Mapping[str, Position] | None = None
    ) -> None:
        state = self._state.advanced(source, sinks, filters)
        self._checkpoint.save(state)
        self._state = state


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__
