"""What a receiver counts, and what it says of requests that it turned away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tailrace import Context, Measure

QUIET_SECONDS = 60.0
"""Refusals with the same status are logged once in so many seconds, with their number."""


class Figures:
    """Counts of one receiver."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._requests: Counter[int] = Counter()
        self._events = 0
        self._repeated = 0
        self._bytes = 0
        self._told: dict[int, tuple[float, int]] = {}  # by status: when it was logged last, and the count then

    def accepted(self, events: int, size: int) -> None:
        """Events were stored."""
        self._events += events
        self._bytes += size

    def repeated(self, events: int) -> None:
        """Events came in a body that was stored before."""
        self._repeated += events

    def answered(self, status: int) -> None:
        """A request was answered."""
        self._requests[status] += 1

    def refused(self, status: int, reason: str, client: str, path: str) -> None:
        """A request was turned away; say so, but not for each of a thousand."""
        now = self._context.clock.monotonic()
        last, before = self._told.get(status, (float("-inf"), 0))
        count = self._requests[status]
        if now - last >= QUIET_SECONDS:
            self._told[status] = now, count
            self._context.log.warning(
                "requests are refused",
                extra={"status": status, "reason": reason, "client": client, "path": path, "requests": count - before},
            )

    def measures(self) -> Iterator[Measure]:
        """Give the figures for `/metrics`."""
        help_ = "Requests answered, by HTTP status."
        for status, count in sorted(self._requests.copy().items()):
            yield Measure("webhook_requests_total", help_, "counter", count, {"code": str(status)})
        yield Measure("webhook_events_total", "Events acknowledged.", "counter", self._events)
        yield Measure(
            "webhook_repeated_events_total",
            "Events of bodies that were sent again, and had been stored before.",
            "counter",
            self._repeated,
        )
        yield Measure("webhook_received_bytes_total", "Bytes of acknowledged bodies, unpacked.", "counter", self._bytes)
