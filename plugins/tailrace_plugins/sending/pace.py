"""So many requests a second and no more, but some at once after a pause."""

from __future__ import annotations

from tailrace import Clock


class Pace:
    """A bucket of `burst` tokens that fills at `qps` a second, as client-go's rate limiter is."""

    def __init__(self, clock: Clock, qps: float, burst: int) -> None:
        self._clock = clock
        self._qps, self._burst = qps, burst
        self._tokens = float(burst)
        self._at = clock.monotonic()

    def delay(self) -> float:
        """Take a token, and say how many seconds to wait until it is there."""
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._qps) - 1
        self._at = now
        return max(0.0, -self._tokens / self._qps)
