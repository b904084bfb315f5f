"""A runner: one pipeline in a thread of its own, from its start to the log line that says how it ended."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Callable, Sequence

from tailrace.config import Plan
from tailrace.context import Context
from tailrace.hiring import Reserve
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.stage import Stage


class Runner:
    """Runs the pipeline of a plan, once. Nothing that the pipeline does ends another thread."""

    def __init__(self, plan: Plan, exposition: Callable[[], bytes], reserve: Reserve) -> None:
        self.plan = plan
        self.pipeline = Pipeline(
            Context(pipeline=plan.name, state_dir=plan.state_dir / plan.name, exposition=exposition),
            plan.source,
            plan.filters,
            plan.sinks,
            commit_interval=plan.commit_interval,
            workers=plan.workers,
            reserve=reserve,
        )
        self.well = False  # it has ended, and left nothing undone
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._ended = threading.Event()

    def start(self, once: bool, on_end: Callable[[], None]) -> None:
        """Begin; `on_end` is called by the thread as its last deed."""
        # a daemon, for one that hangs must not keep the process from ending
        self._thread = threading.Thread(target=self._work, args=(once, on_end), name=self.plan.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Tell the pipeline to commit and end; returns at once."""
        self._stop.set()
        with contextlib.suppress(Exception):  # a source that is not open yet may have nothing to wake
            self.pipeline.wake()

    def join(self, timeout: float) -> bool:
        """Wait for the end, so many seconds at most; tell whether it has come."""
        if self._thread is None:
            return True
        if not self._ended.wait(timeout):
            return False
        self._thread.join()
        return True

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread is not None and not self._ended.is_set()

    @property
    def leaving(self) -> bool:
        """Whether it was told to stop and has not ended."""
        return self.running and self._stop.is_set()

    def _work(self, once: bool, on_end: Callable[[], None]) -> None:
        try:
            self.well = _run(self.pipeline, self._stop, once)
        finally:
            self._ended.set()
            on_end()


def _run(pipeline: Pipeline, stop: threading.Event, once: bool) -> bool:
    """Run one pipeline to its end, log how that was, and tell whether it was well."""
    log = pipeline.context.log
    clock = pipeline.context.clock
    started = clock.monotonic()
    log.info("pipeline started")
    missing: Sequence[tuple[str, str]] = ()
    well = False
    try:
        well = pipeline.run(stop, once=once)
        if not well:
            log.warning("pipeline was stopped before it recovered; the next start goes on from its checkpoint")
        if once:
            missing = pipeline.incomplete()
            if stop.is_set():
                missing = [("input", "it was stopped before the end of its input; run it again, it goes on from there")]
            well = not missing
    except PipelineFailed as error:
        pipeline.enter("failed", str(error))
        log.error("pipeline failed", extra={"cause": str(error)})
    except BaseException as error:  # SystemExit too, which would end the thread without a word
        stage = _stage_of(error)
        pipeline.enter("failed", f"a bug in {stage or 'tailrace'} ({type(error).__name__}); the log says more")
        log.critical(
            "pipeline failed by a bug; what it had not committed is read again at the next start",
            exc_info=error,
            extra={"stage": stage},
        )
    counts = pipeline.counts
    seconds = clock.monotonic() - started
    log.info(
        "pipeline ended",
        extra={
            "events_in": counts.events_in,
            "events_out": counts.events_out,
            "dropped": counts.dropped,
            "dead_letters": counts.rejected,
            "bytes": counts.bytes_in,
            "seconds": round(seconds, 3),
            "events_per_s": round(counts.events_in / seconds) if seconds > 0 else 0,
        },
    )
    for what, cause in missing:
        pipeline.enter("failed", cause)
        log.error(f"{what} is incomplete", extra={"cause": cause})
    return well


def _stage_of(error: BaseException) -> str | None:
    """Name the stage in whose code the error arose: the innermost one on the stack."""
    name = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, Stage):
            name = type(owner).__name__
    return name
