"""The service: all pipelines of one process, none of which can stop another, and the change to another config.

The thread that calls `run` only waits. Whatever it has to know (a pipeline ended, the process was told to stop, or
to read its config again) comes through one queue, which a signal handler may write to as well: `SimpleQueue.put` is
reentrant, the locks inside a `threading.Event` are not.

Another config takes over in three steps:

1. It is read and checked, its state directories are locked, its admin address is bound. If one of these fails,
   nothing has changed.
2. The pipelines that it does not have, or has with other options, are told to stop: they commit and end.
3. When they have ended, those of its pipelines that do not run are started, from their checkpoints. It is not waited
   longer than the stop timeout; then one whose predecessor hangs is started when that has ended after all. So there
   are never two on one checkpoint.

Pipelines that run and whose options are the same are not touched.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Sequence
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, Final

from tailrace.address import Address
from tailrace.config import Config, ConfigError, Plan
from tailrace.hiring import Reserve
from tailrace.lock import LockError, Locks
from tailrace.logs import ROOT
from tailrace.machine import warn_of_few_descriptors
from tailrace.pipeline import Pipeline
from tailrace.runner import Runner

if TYPE_CHECKING:
    from tailrace.serving import HttpServer

TICK: Final = 0.25  # seconds between two calls of `tick`
LOOK: Final = 1.0  # ... and at most between two looks around: a signal may reach another thread, and wake nobody here
STOP_TIMEOUT: Final = 30.0  # seconds

_log = logging.getLogger(ROOT)


class _News(Enum):
    """What `run` is waiting for."""

    STOP = "stop"
    RELOAD = "reload"
    END = "end"  # of a pipeline


class Service:
    """Runs pipelines side by side, and an admin server at `admin`, and says whether all went well. Runs once.

    `reread` gives the config anew for `reload`, or raises ConfigError; `locks` hold its state directories already;
    `reserve` has processes for workers. Pipelines have `stop_timeout` seconds to commit and end.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        admin: Address | None = None,
        *,
        reread: Callable[[], Config] | None = None,
        locks: Locks | None = None,
        reserve: Reserve | None = None,
        stop_timeout: float = STOP_TIMEOUT,
    ) -> None:
        self.admin: HttpServer | None = None
        self.stopping = False
        self.abandoned: tuple[str, ...] = ()  # pipelines that had not ended at the deadline; their threads go on
        self._config = Config(tuple(plans), admin)
        self._reread = reread
        self._locks = locks or Locks()
        self._reserve = reserve or Reserve()
        self._stop_timeout = stop_timeout
        self._runners = {plan.name: self._runner(plan) for plan in plans}  # replaced, never changed: others read it
        self._successors: dict[str, Runner] = {}  # to be started when what leaves has ended
        self._change: dict[str, list[str]] | None = None  # what the config that is taking over changes
        self._deadline: float | None = None  # for what leaves, on the monotonic clock
        self._once = False
        self._news: queue.SimpleQueue[_News] = queue.SimpleQueue()

    @property
    def pipelines(self) -> Sequence[Pipeline]:
        """The pipelines there are at present."""
        return [runner.pipeline for runner in self._runners.values()]

    def exposition(self) -> bytes:
        """Give the metrics of all pipelines in Prometheus' text format."""
        from tailrace.metrics import exposition

        return exposition(self.pipelines)

    def stop(self) -> None:
        """Make `run` stop all pipelines, which commit and end. May be called from a signal handler."""
        self.stopping = True
        self._news.put(_News.STOP)

    def reload(self) -> None:
        """Make `run` read the config again and change to it. May be called from a signal handler."""
        self._news.put(_News.RELOAD)

    def run(self, once: bool = False, *, tick: Callable[[], None] | None = None) -> int:
        """Run all pipelines until each has ended; give 0, or 1 if one of them failed or had something left to do.

        They end when `stop` was called; with `once`, at the end of their input, and then it counts as a failure if
        not all of it could be read. An admin server that cannot start is one too. `tick` is called a few times per
        second meanwhile.
        """
        self._once = once
        try:
            self._serve(self._config.admin)
        except OSError as error:
            _log.error(
                "the admin server cannot start (take another address, or end who has it)",
                extra={"address": error.filename, "cause": error.strerror},
            )
            return 1
        try:
            self._count_descriptors()
            for runner in self._runners.values():
                self._start(runner)
            self._attend(tick)
        finally:
            self._end()
        return 0 if all(runner.well for runner in self._runners.values()) else 1

    def _runner(self, plan: Plan) -> Runner:
        return Runner(plan, self.exposition, self._reserve)

    def _start(self, runner: Runner) -> None:
        if self.stopping:
            runner.stop()
        runner.start(self._once, lambda: self._news.put(_News.END))

    def _attend(self, tick: Callable[[], None] | None) -> None:
        """Act on what comes, until no pipeline runs or the deadline of the stop has come."""
        while self._successors or any(runner.running for runner in self._runners.values()):
            match self._hear(TICK if tick else LOOK):
                case _News.STOP:
                    self._begin_to_stop()
                case _News.RELOAD if not self.stopping:
                    self._reload()
            late = self._deadline is not None and time.monotonic() >= self._deadline
            if self.stopping and late:
                return
            if not self.stopping and (late or self._change is None or not self._leaving()):
                self._settle()
            if tick:
                tick()

    def _hear(self, timeout: float) -> _News | None:
        """Wait for news, until the deadline at most."""
        if self._deadline is not None:
            timeout = min(timeout, max(0.0, self._deadline - time.monotonic()))
        try:
            return self._news.get(timeout=timeout)
        except queue.Empty:
            return None

    def _begin_to_stop(self) -> None:
        running = [runner for runner in self._runners.values() if runner.running]
        _log.info("stopping", extra={"pipelines": len(running)})
        self._successors, self._change = {}, None
        self._deadline = time.monotonic() + self._stop_timeout
        for runner in running:
            runner.stop()

    def _end(self) -> None:
        """Wait for what still runs, until the deadline, and let go of it then."""
        deadline = self._deadline or time.monotonic() + self._stop_timeout
        runners = self._runners.values()
        for runner in runners:
            runner.stop()
        hanging = [runner.plan.name for runner in runners if not runner.join(max(0.0, deadline - time.monotonic()))]
        self.abandoned = tuple(hanging)
        if hanging:  # and a request that hangs with them may keep the admin server from ending
            _log.error(
                "pipelines did not end in time and are abandoned; "
                "what they had not committed is simply read again at the next start",
                extra={"pipelines": hanging, "stop_timeout": self._stop_timeout},
            )
        elif self.admin is not None:
            self.admin.stop()

    # Another config

    def _reload(self) -> None:
        """Take another config over, or say why that cannot be."""
        if self._reread is None:
            _log.warning("the config is not read again in this run")
            return
        try:
            config = self._reread()
            kept = [plan.name for plan in config.plans if self._keeps(plan)]
            successors = {plan.name: self._runner(plan) for plan in config.plans if plan.name not in kept}
            self._locks.take(plan.state_dir for plan in config.plans)
            self._serve(config.admin)
        except ConfigError as error:
            self._refuse(*map(str, error.problems))
        except LockError as error:
            self._refuse(str(error))
        except OSError as error:
            self._refuse(f"{error.strerror}: {error.filename}")
        except (Exception, SystemExit) as error:  # whatever the code of a plug-in raises
            self._refuse(f"a bug ({type(error).__name__}: {error})", error=error)
        else:
            self._config, self._successors = config, successors
            self._replace(kept)

    def _keeps(self, plan: Plan) -> bool:
        runner = self._runners.get(plan.name)
        return runner is not None and runner.running and not runner.leaving and runner.plan.is_same(plan)

    def _refuse(self, *causes: str, error: BaseException | None = None) -> None:
        self._give_up_locks()
        for cause in causes:
            _log.error("the config is not taken over; nothing has changed", extra={"cause": cause}, exc_info=error)

    def _replace(self, kept: Sequence[str]) -> None:
        """Stop what does not stay; `_settle` does the rest when that has ended."""
        leaving = [runner for name, runner in self._runners.items() if runner.running and name not in kept]
        names = [runner.plan.name for runner in leaving]
        self._change = {
            "started": [name for name in self._successors if name not in names],
            "restarted": [name for name in self._successors if name in names],
            "stopped": [name for name in names if name not in self._successors],
            "kept": list(kept),
        }
        if self._deadline is None:  # else another config came while pipelines are leaving for the one before
            self._deadline = time.monotonic() + self._stop_timeout
        for runner in leaving:
            runner.stop()

    def _settle(self) -> None:
        """Start what was waiting for others to end, as far as they have, and forget what is gone."""
        ready = {name: runner for name, runner in self._successors.items() if not self._is_running(name)}
        for name, runner in ready.items():
            self._start(runner)
            del self._successors[name]
        names = {plan.name for plan in self._config.plans}
        runners = self._runners | ready
        self._runners = {name: runner for name, runner in runners.items() if name in names or runner.running}
        self._give_up_locks()
        self._deadline = None
        if self._change is not None:
            if hanging := [runner.plan.name for runner in self._leaving()]:
                _log.warning(
                    "pipelines do not stop; the others go on, and what replaces these is started when they have ended",
                    extra={"pipelines": hanging, "stop_timeout": self._stop_timeout},
                )
            _log.info("config reloaded", extra=self._change)
            self._count_descriptors()
            self._change = None

    def _count_descriptors(self) -> None:
        warn_of_few_descriptors(chain.from_iterable(pipeline.stages for pipeline in self.pipelines))

    def _is_running(self, name: str) -> bool:
        return name in self._runners and self._runners[name].running

    def _leaving(self) -> list[Runner]:
        return [runner for runner in self._runners.values() if runner.leaving]

    def _give_up_locks(self) -> None:
        """Let go of the state directories that nobody has any more: neither the config nor a pipeline that hangs."""
        plans = [*self._config.plans, *(runner.plan for runner in self._runners.values())]
        self._locks.keep(plan.state_dir for plan in plans)

    def _serve(self, address: Address | None) -> None:
        """Have the admin server at this address, or none; raises OSError if that cannot be, and leaves it where it is.

        An address that the config did not change is kept, also with port 0.
        """
        former = self.admin
        if address == (None if former is None else self._config.admin):
            return
        if address is None:
            self.admin = None
        else:
            from tailrace.admin import server  # with FastAPI, which only those who use it shall pay for

            fresh = server(lambda: self.pipelines, address)
            fresh.start(instead_of=former)
            self.admin = fresh
            _log.info("the admin server answers", extra={"address": str(fresh.address)})
        if former is not None:
            former.stop()
