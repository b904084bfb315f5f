"""How far events may have been sent since the last commit, so that the next one does not cut what was sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

CATCH_UP: Final = 5.0  # seconds that it takes to read what was sent since the last commit, at most
PATIENCE: Final = 30.0  # seconds that a commit waits for events to come again, at most: there must be one at some time


class CatchUp:
    """Says how long a commit shall wait.

    What this process has sent it knows, and what was left at a commit is recorded (the borders). What another process
    had sent before it was killed is not known; but all of it can be read again, and that does not take long.
    """

    def __init__(self) -> None:
        self._reached = 0  # so many events since the last commit were sent, or begun to be
        self._is_first = True  # nothing was committed yet: who knows what was sent before
        self.open(())

    def open(self, borders: Iterable[int]) -> None:
        """Begin at the last commit again."""
        self._until = max([self._reached, *borders])
        self._sending = 0.0
        self._is_flushed = False

    def reach(self, count: int) -> None:
        """So many events since the last commit are sent now, or perhaps."""
        self._reached = max(self._reached, count)

    def note_sending(self, seconds: float) -> None:
        """So long it took to send, which is no time for reading."""
        self._sending += seconds

    def flush(self) -> None:
        """All that was given is sent."""
        self._is_flushed = True

    def commit(self) -> None:
        """What was flushed is not sent again. A commit of nothing changes nothing."""
        if self._is_flushed:
            self._reached = self._until = 0
            self._is_first = self._is_flushed = False

    def wait(self, count: int) -> float:
        """Say how many seconds the commit of so many events shall wait for more; 0: all are there again."""
        if count < self._until:
            return PATIENCE
        return min(CATCH_UP + self._sending, PATIENCE) if self._is_first else 0.0
