"""The dead letter: events that can never be processed, kept verbatim with the reason and the place they came from.

One JSON object a line, in `dead-letter.jsonl` in the pipeline's state directory, written exactly once by the same
rules as the output. `event` holds the line if it is UTF-8, else `event_base64` does.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson

from tailrace.batch import Position
from tailrace.context import Context
from tailrace.ledger import Ledger
from tailrace.reject import Reject

NAME = "dead-letter"  # stages are named in snake case
FILE = "dead-letter.jsonl"


class DeadLetter:
    """Where the rejected events of one pipeline go."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._path = str(context.state_dir / FILE)
        self._ledger = Ledger(context.disk)
        self._pending: list[bytes] = []
        self._count = 0  # of the events since the last commit
        self._first: Reject | None = None

    def open(self, position: Position) -> None:
        """Cut the file back to what was committed."""
        self._pending = []
        self._count = 0
        self._first = None
        self._ledger.recover(dict(position))

    def add(self, rejects: Sequence[Reject]) -> None:
        """Take rejected events; they are written at the next commit."""
        now = datetime.fromtimestamp(self._context.clock.time(), UTC).isoformat(timespec="milliseconds")
        self._pending += [envelope(reject, now) + b"\n" for reject in rejects]
        self._count += len(rejects)
        self._first = self._first or next(iter(rejects), None)

    def prepare(self) -> Position:
        """Announce the file before the first event is written to it."""
        return self._ledger.prepare([self._path]) if self._pending else {}

    def flush(self) -> Position:
        """Write and sync what was added."""
        if not self._pending:
            return {}
        lengths = self._ledger.append({self._path: self._pending})
        self._pending = []
        return lengths

    def commit(self) -> None:
        """Say that there are new events in the file: once per commit, however many they are."""
        if self._first is not None:
            self._context.log.warning(
                "events were put into the dead letter",
                extra={
                    "events": self._count,
                    "first_reason": self._first.reason,
                    **{f"first_{key}": value for key, value in self._first.origin.items()},
                    "first_offset": self._first.offset,
                },
            )
        self._count = 0
        self._first = None


def envelope(reject: Reject, now: str) -> bytes:
    """Wrap a rejected event; a line that is not UTF-8 goes as base64."""
    about = {
        "time": now,
        "kind": reject.kind,
        "reason": _text(reject.reason),
        "tag": _text(reject.tag),
        "origin": {key: _text(value) for key, value in reject.origin.items()},
        "offset": reject.offset,
    }
    try:
        return orjson.dumps(about | {"event": reject.line.decode()})
    except UnicodeDecodeError:
        return orjson.dumps(about | {"event_base64": base64.b64encode(reject.line).decode()})


def _text(text: str) -> str:
    """Escape what UTF-8 cannot hold: parts of a poisoned value, or of a file name that is not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
