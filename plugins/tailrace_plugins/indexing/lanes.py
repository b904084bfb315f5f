"""Several requests under way at once: a thread for each, with a sender of its own.

The order of events does not matter to an index. What does is that a commit waits for all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from tailrace import Reject
from tailrace_plugins.indexing.documents import Documents
from tailrace_plugins.indexing.sender import Sender


class Lanes:
    """Gives documents to senders, for one thread, which waits while all of them are busy."""

    def __init__(self, senders: Sequence[Sender]) -> None:
        self._senders = senders
        self._free: SimpleQueue[Sender] = SimpleQueue()
        for sender in senders:
            self._free.put(sender)
        self._threads = ThreadPoolExecutor(len(senders), "tailrace-send")
        self._under_way: deque[tuple[Future[list[Reject]], int]] = deque()
        self._refused: list[Reject] = []

    @property
    def held(self) -> int:
        """How many bytes are under way."""
        return sum(size for _, size in self._under_way)

    def send(self, documents: Documents) -> None:
        """Send documents as soon as a sender is free. Raises what one raised before."""
        while len(self._under_way) >= len(self._senders):
            self._settle()
        self._under_way.append((self._threads.submit(self._send, documents), documents.size))

    def finish(self) -> None:
        """Wait for all of them. Raises what a sender raised."""
        while self._under_way:
            self._settle()

    def _settle(self) -> None:
        future, _ = self._under_way.popleft()
        self._refused += future.result()

    def _send(self, documents: Documents) -> list[Reject]:
        sender = self._free.get()
        try:
            return sender.send(documents)
        finally:
            self._free.put(sender)

    def take_refused(self) -> list[Reject]:
        """Give, once, what was refused."""
        refused, self._refused = self._refused, []
        return refused

    def wake(self) -> None:
        """Let no sender wait for better times any more."""
        for sender in self._senders:
            sender.wake()

    def close(self) -> None:
        """Wait for the requests that are under way, and close the connections."""
        self.wake()
        self._threads.shutdown(cancel_futures=True)
        for sender in self._senders:
            sender.close()
