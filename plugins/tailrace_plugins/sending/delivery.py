"""Sending batches until they are taken: what is tried again, what is taken apart, and what is put aside.

1. An answer of 2xx: the batch was taken.
2. 400, 413, 422: the batch is halved, and each half is sent by itself. What is refused alone is put aside, so no event
   costs its neighbours. A receiver that takes nothing at all, of many events or of its first batch, is not as it
   should be: that is no event's fault.
3. Anything else (no answer, a redirect, 401, 404, 429, 5xx) says nothing about events. The same body is sent again,
   after pauses that grow or that the receiver asks for; after the last try the pipeline recovers, and reads them again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from tailrace import Context, Measure, Reject, Retry
from tailrace_plugins.sending.backoff import Backoff, retry_after
from tailrace_plugins.sending.client import Answer, Client, Unanswered, place_of
from tailrace_plugins.sending.cutting import Item
from tailrace_plugins.sending.pace import Pace

MOST_IN_VAIN: Final = 64
"""After so many refusals in a row, of parts of one batch, the receiver is asked about no more of them."""

_REFUSALS: Final = (400, 413, 422)
_SHOWN: Final = 200  # characters of what the receiver says that are repeated
_HEADERS: Final = {"Accept": "application/json, */*", "Content-Type": "application/json"}
_CHECK: Final = {
    401: "does not accept the credentials; check token, password or client certificate",
    403: "knows who sends, and does not allow it; check what is allowed there",
    404: "takes nothing at this path; check the path of the URL",
    405: "takes no POST at this path; check the path of the URL",
    407: "is behind a proxy that wants credentials; check the proxy",
    429: "has no room for more at present",
    503: "has no room for more at present",
}


class Figures:
    """What was sent, counted over all recoveries."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.events = self.bytes = self.refused = self.again = 0

    def measures(self, waited: float) -> Iterable[Measure]:
        """Give them for `/metrics`; `waited` is how many seconds were spent waiting for the receiver."""
        for answer in ("2xx", "3xx", "4xx", "5xx", "none"):
            help_ = "Requests by their answers; none: there was no whole one."
            yield Measure("sent_requests_total", help_, "counter", self.requests[answer], {"answer": answer})
        yield Measure("sent_events_total", "Events that the receiver took.", "counter", self.events)
        yield Measure("sent_bytes_total", "Bytes of the bodies that it took, unpacked.", "counter", self.bytes)
        help_ = "Events that it refused by themselves; they went to the dead letter."
        yield Measure("sent_refused_events_total", help_, "counter", self.refused)
        yield Measure("sent_again_total", "Bodies that were sent once more.", "counter", self.again)
        help_ = "Time that was spent waiting until a body was sent again, or until the rate allowed it."
        yield Measure("sent_wait_seconds_total", help_, "counter", waited)


def event_list(items: Sequence[Item], version: str) -> bytes:
    """Make a body as the API server does, of the own bytes of one event or more."""
    lines = [item.line for item in items]
    lines[0] = b'{"kind":"EventList","apiVersion":"%b","metadata":{},"items":[%b' % (version.encode(), lines[0])
    lines[-1] += b"]}\n"  # so that all is copied once
    return b",".join(lines)


class Delivery:
    """Sends batches by one client; `refused` is what will never be taken."""

    def __init__(
        self, context: Context, client: Client, backoff: Backoff, pace: Pace | None, version: str, figures: Figures
    ) -> None:
        self._log, self._clock = context.log, context.clock
        self._client = client
        self._backoff = backoff
        self._pace = pace
        self._version = version
        self._figures = figures
        self.refused: list[Reject] = []

    def send(self, batch: Sequence[Item]) -> None:
        """Send a batch, in parts if need be. Raises Retry when it is time to recover."""
        refused: list[Reject] = []
        parts = [batch]
        in_vain = 0
        while parts:
            part = parts.pop()
            body = event_list(part, self._version)
            answer = self._post(body)
            if answer.is_taken:
                in_vain = -len(batch) * 2  # it does take something
                self._figures.events += len(part)
                self._figures.bytes += len(body)
                continue
            if len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
            else:
                refused.append(part[0].original.rejected(self._said(answer)))
            if answer.status == 413:  # which is said of what is sent, and of nothing else
                continue
            in_vain += 1
            is_all = len(refused) == len(batch) > 1 and not self._figures.events
            if in_vain == MOST_IN_VAIN or is_all:
                raise Retry(
                    f"{self._said(answer)}, to whatever it is sent; check the path of the URL, and what runs there"
                )
        if refused:
            self._figures.refused += len(refused)
            self.refused += refused
            self._log.warning(
                "the receiver refuses events; they go to the dead letter",
                extra={"host": self._client.host, "events": len(refused)},
            )

    def _post(self, body: bytes) -> Answer:
        """Send a body until there is an answer that says something about it."""
        self._keep_pace()
        while True:
            answer, asked = None, None
            try:
                answer = self._client.post("", body, _HEADERS)
            except Unanswered as error:
                cause = str(error)
            self._figures.requests["none" if answer is None else f"{answer.status // 100}xx"] += 1
            if answer is not None:
                if answer.is_taken or answer.status in _REFUSALS:
                    self._backoff.reset()
                    return answer
                cause = self._cause(answer)
                if answer.status == 429 or answer.status >= 500:
                    asked = retry_after(answer.headers, self._clock.time())
            seconds = self._backoff.delay(cause, asked)
            self._log.warning(
                "a batch was not taken; it will be sent again", extra={"cause": cause, "wait_s": round(seconds, 3)}
            )
            self._backoff.wait(seconds, cause)
            self._figures.again += 1

    def _keep_pace(self) -> None:
        """Wait until the rate allows a request; not at a stop, which sends what is left."""
        if self._pace is not None and (seconds := self._pace.delay()) > 0:
            self._backoff.pause(seconds)

    def _cause(self, answer: Answer) -> str:
        if 300 <= answer.status < 400:
            place = place_of(answer.headers.get("location", ""))
            return f"{self._client.host} answered {answer.status}: nothing is sent on to {place}; give the right URL"
        check = _CHECK.get(answer.status)
        if check is not None:
            return f"{self._client.host} answered {answer.status}: it {check}"
        return f"{self._said(answer)}; check the log there"

    def _said(self, answer: Answer) -> str:
        text = " ".join(answer.body[: 4 * _SHOWN].decode("utf-8", "replace").split())[:_SHOWN]
        return f"{self._client.host} answered {answer.status}" + (f" ({text})" if text else "")
