"""Events on their way to an index: the lines of the bulk protocol, and what each event was when it was read.

A request has two lines for each event: an action that says index and id, and the event's own bytes. The protocol
knows an event's end by its newline alone; so an event with a newline in it would be two lines, and the second one an
action of its own making.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, repeat
from typing import Final

from tailrace import Original, Reject

_ID_BYTES: Final = 24  # 32 signs, which servers keep in 24 bytes; to make two events of one id takes 2^96 attempts
_AROUND: Final = len(',"_id":""}}\n\n') + 32  # bytes of an event's two lines beside the start of its action and itself


@dataclass(frozen=True, slots=True)
class Documents:
    """Some events: of each the start of its action, its id, its line, and the event as it was read.

    There are no ids if the server shall make them.
    """

    starts: list[bytes]
    ids: list[bytes] | None
    lines: list[bytes]
    originals: list[Original]

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def size(self) -> int:
        """Count the bytes of the body; a few too many if there are no ids."""
        return sum(map(len, self.starts)) + sum(map(len, self.lines)) + _AROUND * len(self)

    def body(self) -> bytes:
        """Write the body of a request."""
        end = repeat(b"\n", len(self))
        if self.ids is None:
            parts = [self.starts, repeat(b"}}\n"), self.lines, end]
        else:
            parts = [self.starts, repeat(b',"_id":"'), self.ids, repeat(b'"}}\n'), self.lines, end]
        return b"".join(chain.from_iterable(zip(*parts, strict=False)))

    def pick(self, places: Sequence[int]) -> Documents:
        """Give some of them."""
        return Documents(
            [self.starts[place] for place in places],
            None if self.ids is None else [self.ids[place] for place in places],
            [self.lines[place] for place in places],
            [self.originals[place] for place in places],
        )

    def halves(self) -> list[Documents]:
        """Cut them in two; there must be two."""
        middle = len(self) // 2
        return [self.pick(range(middle)), self.pick(range(middle, len(self)))]

    def within(self, size: int, count: int) -> Iterator[Documents]:
        """Cut them into so many that each has at most so many bytes and events, as far as single events have."""
        if len(self) > 1 and (len(self) > count or self.size > size):
            for half in self.halves():
                yield from half.within(size, count)
        else:
            yield self


def joined(parts: Sequence[Documents]) -> Documents:
    """Put documents together, all with ids or all without; there must be some."""
    first = parts[0]
    return Documents(
        list(chain.from_iterable(part.starts for part in parts)),
        None if first.ids is None else list(chain.from_iterable(part.ids or () for part in parts)),
        list(chain.from_iterable(part.lines for part in parts)),
        list(chain.from_iterable(part.originals for part in parts)),
    )


def start_of(index: str) -> bytes:
    """Give the start of the action that creates a document in an index, whose name needs no escapes."""
    return b'{"create":{"_index":"%b"' % index.encode("ascii")


def content_id(line: bytes) -> bytes:
    """Give the id of an event: the first 24 bytes of the SHA-256 of its bytes, in the Base64 of URLs."""
    return urlsafe_b64encode(sha256(line).digest()[:_ID_BYTES])


def sieved(documents: Documents) -> tuple[Documents, list[Reject]]:
    """Take out the events that the protocol cannot carry."""
    lines = documents.lines
    if True not in map(bytes.__contains__, lines, repeat(b"\n")) and min(map(len, lines), default=2) > 1:
        return documents, []  # 0.1 µs per event
    reasons = list(map(_unfit, lines))
    rejects = [
        original.rejected(reason) for original, reason in zip(documents.originals, reasons, strict=True) if reason
    ]
    return documents.pick([place for place, reason in enumerate(reasons) if not reason]), rejects


def _unfit(line: bytes) -> str:
    """Say why the protocol cannot carry an event; nothing if it can."""
    if not line.strip(b"\r"):
        return "an empty line is no document"
    return "the event has a newline in it, which the bulk protocol cannot carry" if b"\n" in line else ""
