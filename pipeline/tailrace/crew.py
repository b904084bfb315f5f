"""The crew of a pipeline: processes that work on spans, while the pipeline writes what they made, in source order.

A process (`hand.py`) is told the stages once; then it is sent spans, each with the descriptor of its file, and answers
with a product. It lives as long as its socket does, so nothing is left behind by a kill -9 of the pipeline.

What is given in batches is worked on here and now, and waits behind the spans that came before it. So what `take` gives
comes in the order in which it was added, whoever worked on it. Without workers, that is all there is to it.
"""

from __future__ import annotations

import pickle
import queue
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tailrace.batch import Batch, Position
from tailrace.chain import Chain, Product
from tailrace.context import Context
from tailrace.hiring import Hired, Reserve
from tailrace.span import Span, SpanUnread
from tailrace.stage import Filter, Retry, Sink, Source
from tailrace.wire import receive, send

IDLE_SECONDS = 30.0  # after so long without a span the processes are sent away: they cost memory
QUEUED = 2  # spans per worker that are under way at most; one is worked on, one waits


class WorkerFailed(Exception):  # noqa: N818 - said of the worker
    """A stage failed by a bug in a worker; the message is what Python said there."""


@dataclass
class _Entry:
    position: Position
    work: Product | Future[Product]
    span: Span | None = None

    @property
    def is_ready(self) -> bool:
        return not isinstance(self.work, Future) or self.work.done()


class Crew:
    """Turns batches and spans into products, in order; spans in `workers` processes at once."""

    def __init__(
        self,
        context: Context,
        source: Source,
        filters: Sequence[Filter],
        sinks: Mapping[str, Sink],
        workers: int,
        reserve: Reserve,
    ) -> None:
        self._context = context
        self._reserve = reserve
        self._stages = tuple(filters), dict(sinks), tuple(source.reads())
        self._chain = Chain(*self._stages)
        self._workers = workers
        self._entries: deque[_Entry] = deque()
        self._threads: ThreadPoolExecutor | None = None
        self._idle: queue.LifoQueue[_Hand] = queue.LifoQueue()  # the last one first: its caches are warm
        self._hands: list[_Hand] = []
        self._used = context.clock.monotonic()

    @property
    def is_busy(self) -> bool:
        """Whether something was added and not taken."""
        return bool(self._entries)

    @property
    def is_due(self) -> bool:
        """Whether something is to be taken before more is added: it is ready, or there is enough."""
        return bool(self._entries) and (self._entries[0].is_ready or len(self._entries) >= QUEUED * self._workers)

    @property
    def size(self) -> int:
        """How many bytes of spans were added and not taken."""
        return sum(entry.span.size for entry in list(self._entries) if entry.span is not None)

    def add(self, given: Batch | Span) -> None:
        """Begin to work on something; a batch is worked on at once. Raises what a filter raises."""
        if isinstance(given, Batch):
            self._entries.append(_Entry(given.position, self._chain.run(given)))
            return
        self._used = self._context.clock.monotonic()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._workers, "tailrace-crew")
        self._entries.append(_Entry(given.position, self._threads.submit(self._work, given), given))

    def take(self) -> tuple[Position, Product]:
        """Wait for what was added first, and give its position and what became of it.

        Raises SpanUnread (then `unread` gives the span), Retry if a worker is gone, and whatever a filter raises;
        WorkerFailed for its bugs.
        """
        entry = self._entries[0]
        product = entry.work.result() if isinstance(entry.work, Future) else entry.work
        self._entries.popleft()
        if entry.span is not None:
            entry.span.close()
        return entry.position, product

    def unread(self) -> Span:
        """Give the span that `take` found unread."""
        span = self._entries[0].span
        assert span is not None
        return span

    def rest(self) -> None:
        """There is nothing to do at present: after a while the processes end."""
        if self._workers > 1 and self._context.clock.monotonic() - self._used >= IDLE_SECONDS:
            self._reserve.dismiss()
            if self._hands:
                self.close()

    def close(self) -> None:
        """Give up what was not taken, and end the processes."""
        for hand in list(self._hands):
            hand.end()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            self._threads = None
        for hand in self._hands:  # one may just have been made
            hand.end()
        for entry in self._entries:
            if entry.span is not None:
                entry.span.close()
        self._entries.clear()
        self._hands.clear()
        self._idle = queue.LifoQueue()

    def _work(self, span: Span) -> Product:
        """Have a process work on a span; runs in a thread, of which there are as many as processes."""
        try:
            hand = self._idle.get_nowait()
        except queue.Empty:
            hand = _Hand(self._reserve.hire(), *self._setup())
            self._hands.append(hand)
        product = hand.work(span)
        self._idle.put(hand)  # not after a failure: then the crew is closed
        return product

    def _setup(self) -> tuple[dict[str, Any], bytes]:
        """Give what a process must know before it can unpickle the stages, and the stages."""
        from tailrace.registry import folder_of  # not for those who only look at the package

        context = self._context
        filters, sinks, _ = self._stages
        folders = [folder for stage in (*filters, *sinks.values()) if (folder := folder_of(type(stage)))]
        told = context.pipeline, context.state_dir, context.log.getEffectiveLevel(), *self._stages
        return {"path": sys.path, "folders": list(dict.fromkeys(folders))}, pickle.dumps(told)


class _Hand:
    """One process, as its pipeline sees it."""

    def __init__(self, hired: Hired, *told: object) -> None:
        self._socket, self._process = hired
        for part in told:
            self._ask(part)

    def work(self, span: Span) -> Product:
        """Hand over a span and wait for its product."""
        self._ask(span.stretch, span.descriptor)
        try:
            kind, answer = receive(self._socket)[0]
        except (OSError, EOFError):
            raise self._gone() from None
        if kind == "product":
            product: Product = answer
            return product
        if kind == "unread":
            raise SpanUnread(answer)
        if kind == "retry":
            raise Retry(answer)
        raise WorkerFailed(answer)

    def _ask(self, question: object, descriptor: int | None = None) -> None:
        try:
            send(self._socket, question, descriptor)
        except OSError:
            raise self._gone() from None

    def _gone(self) -> Retry:
        self.end()
        return Retry(f"worker process {self._process.pid} ended by itself ({_how(self._process.wait())})")

    def end(self) -> None:
        """Let the process end; it does so by itself when its socket is closed, or is killed at work."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


def _how(code: int) -> str:
    return f"signal {-code}; too little memory, perhaps" if code < 0 else f"exit code {code}; its last words are above"
