"""What a receiver counts, and what it says of requests that it turned away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from tailrace import Context, Measure

QUIET_SECONDS = 60.0
"""Refusals of the same kind are logged once in so many seconds, with their number."""


class Figures:
    """Counts of one receiver."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._requests: Counter[int] = Counter()
        self._events = 0
        self._repeated = 0
        self._bytes = 0
        self._turned_away = 0
        self._told: dict[str, tuple[float, int]] = {}  # by message and status: when it was logged last, the count then

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
        what = {"status": status, "reason": reason, "client": client, "path": path}
        self._tell("requests are refused", what, "requests", self._requests[status])

    def turned_away(self, reason: str, client: str) -> None:
        """A peer was turned away before it brought a request, for its TLS handshake failed, or it spoke no HTTP."""
        self._turned_away += 1
        self._tell("connections are refused", {"reason": reason, "client": client}, "connections", self._turned_away)

    def _tell(self, message: str, what: Mapping[str, object], unit: str, count: int) -> None:
        now = self._context.clock.monotonic()
        key = f"{message} {what.get('status')}"
        last, before = self._told.get(key, (float("-inf"), 0))
        if now - last >= QUIET_SECONDS:
            self._told[key] = now, count
            self._context.log.warning(message, extra={**what, unit: count - before})

    def measures(self) -> Iterator[Measure]:
        """Give the figures for `/metrics`."""
        help_ = "Requests answered, by HTTP status."
        for status, count in sorted(self._requests.copy().items()):
            yield Measure("webhook_requests_total", help_, "counter", count, {"code": str(status)})
        yield Measure(
            "webhook_turned_away_total",
            "Connections without a request, for their TLS handshake failed, or they spoke no HTTP.",
            "counter",
            self._turned_away,
        )
        yield Measure("webhook_events_total", "Events acknowledged.", "counter", self._events)
        yield Measure(
            "webhook_repeated_events_total",
            "Events of bodies that were sent again, and had been stored before.",
            "counter",
            self._repeated,
        )
        yield Measure("webhook_received_bytes_total", "Bytes of acknowledged bodies, unpacked.", "counter", self._bytes)
