"""Waiting for better times: waits that grow, as the other side asks for if it does, and that a stop ends."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from tailrace import Clock, Retry

LOOK: Final = 0.2  # seconds after which a wait looks at the clock again, whoever moved that
LONGEST: Final = 300.0  # seconds; whoever asks for more patience is asked again then
_ASKED: Final = 10  # waits that the other side asked for count as one try


class Backoff:
    """Says how long to wait before the next try, and waits; after so many `tries` it raises Retry.

    As client-go does: `initial` seconds, then each time `factor` times as long, each lengthened by a random share of
    up to `jitter`. Where the other side says when to come again, that is done up to ten times for each try.
    """

    def __init__(
        self, clock: Clock, *, initial: float, factor: float = 1.5, jitter: float = 0.2, tries: int = 5
    ) -> None:
        self._clock = clock
        self._initial, self._factor, self._jitter, self._tries = initial, factor, jitter, tries
        self._woken = threading.Event()
        self.waited = 0.0
        """Seconds that were waited, in all."""
        self.reset()

    def open(self) -> None:
        """Begin anew, also after `wake`."""
        self._woken.clear()
        self.reset()

    def reset(self) -> None:
        """Something got through: the next trouble is a new one."""
        self._failed = self._asked = 0
        self._next = self._initial

    def wake(self) -> None:
        """End the present wait, and those to come until `open`; for other threads."""
        self._woken.set()

    def delay(self, cause: str, asked: float | None = None) -> float:
        """Say how many seconds to wait after a failure; `asked` is what the other side asked for.

        Raises Retry with the cause if that was the last try.
        """
        if asked is not None and self._asked < _ASKED:
            self._asked += 1
            return min(asked, LONGEST)
        self._asked = 0
        self._failed += 1
        if self._failed >= self._tries:
            raise Retry(cause)
        seconds = self._next * (1 + random.uniform(0, self._jitter))  # noqa: S311 - spreads load, guards nothing
        self._next *= self._factor
        return min(max(seconds, asked or 0.0), LONGEST)

    def wait(self, seconds: float, cause: str) -> None:
        """Wait so long by the clock. Raises Retry with the cause if it is woken before that."""
        if not self.pause(seconds):
            raise Retry(cause)

    def pause(self, seconds: float) -> bool:
        """Wait so long by the clock; False if it is woken before that."""
        begun = self._clock.monotonic()
        try:
            while (left := begun + seconds - self._clock.monotonic()) > 0:
                if self._woken.wait(min(left, LOOK)):
                    return False
        finally:
            self.waited += max(0.0, self._clock.monotonic() - begun)
        return True


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Give the seconds that the header `Retry-After` asks for, as a number or as a date; None if it says nothing.

    `now` is in seconds since the epoch. RFC 9110, section 10.2.3.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
