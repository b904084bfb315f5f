"""The nodes of a cluster: requests go to one after the other, and past those that do not answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tailrace import Context, Retry
from tailrace_plugins.sending.client import Answer, Client, Unanswered
from tailrace_plugins.sending.target import Target

AVOIDED: Final = 30.0  # seconds during which a node that did not answer is asked last; twice as long each further time
LONGEST: Final = 600.0  # ... up to this
_AWAY: Final = (502, 503, 504)  # of a node that starts or ends, or of a proxy in front of one


class Hosts:
    """Sends requests to the nodes of a cluster, for one thread; `first` is where to begin.

    Raises ValueError if the files of a target cannot be used.
    """

    def __init__(self, context: Context, targets: Sequence[Target], first: int = 0) -> None:
        self._context = context
        self._clients: list[Client] = []
        for target in targets:
            self._clients.append(Client(context, target))
        self._avoided_until = [0.0] * len(targets)
        self._failures = [0] * len(targets)  # in a row
        self._next = first
        self.answered_by = ""
        """Host and port of the node that answered last."""

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a request to the next node, and to another one if it does not answer, or is away.

        Raises Retry if none answers; it says why of each. What a node is away for is an answer if all are away.
        """
        causes: list[str] = []
        away: Answer | None = None
        for number in self._order():
            client = self._clients[number]
            try:
                answer = client.post(path, body, headers)
            except Unanswered as error:
                causes.append(str(error))
                self._avoid(number, str(error))
                continue
            self.answered_by = client.host
            if answer.status not in _AWAY:
                self._failures[number] = 0
                self._avoided_until[number] = 0.0
                return answer
            away = answer
            self._avoid(number, f"{client.host} answered with status {answer.status}")
        if away is not None:
            return away
        raise Retry("; ".join(causes))

    def _order(self) -> list[int]:
        """Say in which order to ask: in turn, but last those that did not answer of late."""
        count = len(self._clients)
        turn = [(self._next + step) % count for step in range(count)]
        self._next = (self._next + 1) % count
        now = self._context.clock.monotonic()
        return sorted(turn, key=lambda number: self._avoided_until[number] > now)

    def _avoid(self, number: int, cause: str) -> None:
        if len(self._clients) > 1:
            seconds = min(AVOIDED * 2 ** self._failures[number], LONGEST)
            self._failures[number] += 1
            self._avoided_until[number] = self._context.clock.monotonic() + seconds
            self._context.log.warning("a node is asked last for a while", extra={"cause": cause, "seconds": seconds})

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()
