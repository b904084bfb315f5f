"""The service: all pipelines of one process, each in a thread of its own, none of which can stop another.

The thread that calls `run` only waits. Whatever it has to know (a pipeline ended, the process was told to
stop) comes through one queue, which a signal handler may write to as well: `SimpleQueue.put` is reentrant,
the locks inside a `threading.Event` are not.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tailrace.address import Address
from tailrace.config import Plan
from tailrace.context import Context
from tailrace.logs import ROOT
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.stage import Stage

if TYPE_CHECKING:
    from tailrace.serving import HttpServer

TICK = 0.25  # seconds between two calls of `tick`


class Service:
    """Runs pipelines side by side, and an admin server at `admin`, and says whether all went well. Runs once."""

    def __init__(self, plans: Sequence[Plan], admin: Address | None = None) -> None:
        self.pipelines = [
            Pipeline(
                Context(pipeline=plan.name, state_dir=plan.state_dir / plan.name, exposition=self.exposition),
                plan.source,
                plan.filters,
                plan.sinks,
                commit_interval=plan.commit_interval,
            )
            for plan in plans
        ]
        self.admin: HttpServer | None = None
        if admin is not None:
            from tailrace.admin import server  # with FastAPI, which only those who use it shall pay for

            self.admin = server(self.pipelines, admin)
        self.stopping = False
        self._failed = False
        self._news: queue.SimpleQueue[Pipeline | None] = queue.SimpleQueue()

    def exposition(self) -> bytes:
        """Give the metrics of all pipelines in Prometheus' text format."""
        from tailrace.metrics import exposition

        return exposition(self.pipelines)

    def stop(self) -> None:
        """Make `run` stop all pipelines, which commit and end. May be called from a signal handler."""
        self.stopping = True
        self._news.put(None)

    def run(self, stop: threading.Event, once: bool = False, *, tick: Callable[[], None] | None = None) -> int:
        """Run all pipelines until each has ended; give 0, or 1 if one of them failed or the admin server cannot start.

        They end when `stop` is set or `stop()` called; with `once`, at the end of their input, and then it
        counts as a failure if not all of it could be read. `tick` is called a few times per second meanwhile.
        """
        if not self._start_admin():
            return 1
        threads: list[threading.Thread] = []
        try:
            for pipeline in self.pipelines:
                name = pipeline.context.pipeline
                thread = threading.Thread(target=self._work, args=(pipeline, stop, once), name=name)
                thread.start()
                threads.append(thread)
            self._wait(len(threads), stop, tick)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            if self.admin is not None:
                self.admin.stop()
        return 1 if self._failed else 0

    def _start_admin(self) -> bool:
        if self.admin is None:
            return True
        log = logging.getLogger(ROOT)
        try:
            self.admin.start()
        except OSError as error:
            log.error(
                "the admin server cannot start (take another address, or end who has it)",
                extra={"address": str(self.admin.address), "cause": error.strerror},
            )
            return False
        log.info("the admin server answers", extra={"address": str(self.admin.address)})
        return True

    def _wait(self, running: int, stop: threading.Event, tick: Callable[[], None] | None) -> None:
        while running:
            try:
                ended = self._news.get(timeout=TICK if tick else None)
            except queue.Empty:
                pass
            else:
                if ended is not None:
                    running -= 1
                else:
                    logging.getLogger(ROOT).info("stopping", extra={"pipelines": running})
                    stop.set()
                    self._wake()
            if tick:
                tick()

    def _wake(self) -> None:
        for pipeline in self.pipelines:
            # a source that is not open yet may have nothing to wake; it sees `stop` all the same
            with contextlib.suppress(Exception):
                pipeline.source.wake()

    def _work(self, pipeline: Pipeline, stop: threading.Event, once: bool) -> None:
        try:
            if not _run(pipeline, stop, once):
                self._failed = True
        finally:
            self._news.put(pipeline)


def _run(pipeline: Pipeline, stop: threading.Event, once: bool) -> bool:
    """Run one pipeline to its end, log how that was, and tell whether it was well."""
    log = pipeline.context.log
    clock = pipeline.context.clock
    started = clock.monotonic()
    log.info("pipeline started")
    missing: Sequence[str] = ()
    well = False
    try:
        pipeline.run(stop, once=once)
        if once:
            missing = pipeline.source.incomplete()
            if stop.is_set():
                missing = ["it was stopped before the end of its input; run it again, it goes on from there"]
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
    for sentence in missing:
        pipeline.enter("failed", sentence)
        log.error("input is incomplete", extra={"cause": sentence})
    return well


def _stage_of(error: BaseException) -> str | None:
    """Name the stage in whose code the error arose: the innermost one on the stack."""
    name = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, Stage):
            name = type(owner).__name__
    return name
