"""Several requests under way at once: a thread for each, with a sender of its own.

The order of events does not matter to an index. What does is that a commit waits for all of them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Final

from tailrace import Reject, Retry
from tailrace_plugins.indexing.documents import Documents
from tailrace_plugins.indexing.sender import Sender

PATIENCE: Final = 15.0  # seconds that requests under way have when the pipeline shall stop; it has twice as long
_LOOK: Final = 0.2  # seconds after which who waits looks whether it shall stop

_Job = tuple[Future[list[Reject]], Documents]


class Lanes:
    """Gives documents to senders, for one thread, which waits while all of them are busy."""

    def __init__(self, senders: Sequence[Sender]) -> None:
        self._senders = senders
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._under_way: deque[tuple[Future[list[Reject]], int]] = deque()
        self._refused: list[Reject] = []
        self._stop_at: float | None = None
        # daemons, for the process may end without an answer: what was sent is sent again
        self._threads = [
            threading.Thread(target=self._work, args=(sender,), name="tailrace-send", daemon=True) for sender in senders
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, sender: Sender) -> None:
        while (job := self._jobs.get()) is not None:
            future, documents = job
            try:
                future.set_result(sender.send(documents))
            except BaseException as error:
                future.set_exception(error)  # for who waits
        sender.close()

    @property
    def held(self) -> int:
        """How many bytes are under way."""
        return sum(size for _, size in self._under_way)

    def send(self, documents: Documents) -> None:
        """Send documents as soon as a sender is free. Raises what one raised before."""
        while len(self._under_way) >= len(self._senders):
            self._settle()
        future: Future[list[Reject]] = Future()
        self._under_way.append((future, documents.size))
        self._jobs.put((future, documents))

    def finish(self) -> None:
        """Wait for all of them. Raises what a sender raised, and Retry if the pipeline shall stop meanwhile."""
        while self._under_way:
            self._settle()

    def _settle(self) -> None:
        future, _ = self._under_way.popleft()
        while not wait([future], _LOOK).done:
            if self._stop_at is not None and time.monotonic() > self._stop_at:
                raise Retry("there was no answer before the pipeline had to stop; what was sent is sent again")
        self._refused += future.result()

    def take_refused(self) -> list[Reject]:
        """Give, once, what was refused."""
        refused, self._refused = self._refused, []
        return refused

    def wake(self) -> None:
        """Let no sender wait for better times, and nobody long for an answer; for other threads."""
        if self._stop_at is None:
            self._stop_at = time.monotonic() + PATIENCE
        for sender in self._senders:
            sender.wake()

    def close(self) -> None:
        """Begin no more requests, and wait a while for those that are under way; then the connections are closed."""
        self.wake()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(max(0.0, (self._stop_at or 0.0) - time.monotonic()))
