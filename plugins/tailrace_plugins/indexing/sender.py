"""Sending documents until each of them is there, was there, or will never be.

1. The request goes to one node or another (`hosts.py`). One that is too large for them is sent in halves.
2. What the cluster has no time for now is sent again, alone, after a pause that grows.
3. What will never be taken is set aside, with the server's reason; its neighbours are not touched by that.
4. Where no event is at fault, or nothing gets through, Retry says why: the pipeline waits, and goes on from its
   checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from isal import igzip

from tailrace import Context, Reject, Retry
from tailrace_plugins.indexing.answers import NotTheProtocol, Verdict, failure, judge
from tailrace_plugins.indexing.documents import Documents
from tailrace_plugins.indexing.hosts import Hosts
from tailrace_plugins.sending.backoff import Backoff, retry_after
from tailrace_plugins.sending.client import Answer

_LATER: Final = (429, 502, 503, 504)
_HEADERS: Final = {"Content-Type": "application/x-ndjson"}


@dataclass
class Figures:
    """What a sender did so far; it outlives the sender."""

    indexed: int = 0
    present: int = 0  # events that were there already
    refused: int = 0
    retried: int = 0  # events that were sent again after a pause, each time
    requests: int = 0
    sent_bytes: int = 0


class Sender:
    """Sends documents, for one thread at a time."""

    def __init__(
        self, context: Context, hosts: Hosts, backoff: Backoff, figures: Figures, *, path: str, compress: bool
    ) -> None:
        self._context = context
        self._hosts = hosts
        self._backoff = backoff
        self._figures = figures
        self._path = path
        self._compress = compress
        self._too_large: int | None = None  # a request of so many bytes was not taken

    def send(self, documents: Documents) -> list[Reject]:
        """Send documents, and give those that will never be taken. Raises Retry if that cannot be done at present."""
        self._backoff.reset()
        refused: list[Reject] = []
        left = [documents]
        while left:
            part = left.pop()
            if self._is_too_large(part):
                left += part.halves()
                continue
            answer = self._post(part)
            if answer.status == 413 and len(part) > 1:
                self._note_too_large(part)
                left += part.halves()
                continue
            again, cause, reasons = self._settle(part, answer)
            refused += [part.originals[place].rejected(reason) for place, reason in reasons.items()]
            self._figures.refused += len(reasons)
            if len(again) < len(part):
                self._backoff.reset()
            if again:
                self._figures.retried += len(again)
                asked = retry_after(answer.headers, self._context.clock.time())
                self._backoff.wait(self._backoff.delay(cause, asked), cause)
                left.append(part.pick(again))
        return refused

    def _post(self, part: Documents) -> Answer:
        body = part.body()
        headers = _HEADERS
        if self._compress:
            body = igzip.compress(body, 1)
            headers = {**_HEADERS, "Content-Encoding": "gzip"}
        self._figures.requests += 1
        self._figures.sent_bytes += len(body)
        return self._hosts.post(self._path, body, headers)

    def _settle(self, part: Documents, answer: Answer) -> tuple[Sequence[int], str, Mapping[int, str]]:
        """Say which events have to be sent again, and why; and which never, each with the reason."""
        host = self._hosts.answered_by
        if answer.status == 200:
            verdict = self._judge(answer, part)
            self._figures.indexed += verdict.taken
            self._figures.present += verdict.present
            if verdict.blocked:
                raise Retry(f"{host} does not take events: {verdict.blocked}")
            return verdict.again, f"{host} cannot take all events at present: {verdict.trouble}", verdict.refused
        if answer.status == 413:
            return (), "", {0: f"{host} takes no request as large as this event ({part.size} bytes, status 413)"}
        cause = f"{host} does not take requests: {failure(answer.status, answer.body)}"
        if answer.status in _LATER:
            return range(len(part)), cause, {}
        raise Retry(cause)

    def _judge(self, answer: Answer, part: Documents) -> Verdict:
        ids = None if part.ids is None else [each.decode() for each in part.ids]
        try:
            if answer.is_cut:
                raise NotTheProtocol("it does not end")
            return judge(answer.body, ids, len(part))
        except NotTheProtocol as error:
            raise Retry(
                f"{self._hosts.answered_by} gave an answer that is none of the bulk API: {error}; "
                "check that this is the address of the cluster, and what stands in front of it"
            ) from None

    def _is_too_large(self, part: Documents) -> bool:
        return self._too_large is not None and len(part) > 1 and part.size >= self._too_large

    def _note_too_large(self, part: Documents) -> None:
        self._too_large = part.size
        self._context.log.warning(
            "requests are too large and are sent in halves",
            extra={"bytes": part.size, "do": "set bulk_max_size to less, or allow more there"},
        )

    def wake(self) -> None:
        """Wait for better times no more; for other threads."""
        self._backoff.wake()

    def close(self) -> None:
        """Close the connections."""
        self._hosts.close()
