"""A span: a stretch of a file that a process of the crew reads by itself, so that its bytes need not be sent there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from tailrace.batch import Batch, Position

SPAN_BYTES = 16 << 20  # members stay large, and what is in flight is bounded: a worker holds one span, and one waits
LEAST_SPAN_BYTES = 1 << 20  # less than that is done sooner than it is handed over

Note = Callable[..., None]
"""Takes what the source shall say or count: the name of the note, then its values (JSON)."""


class SpanUnread(Exception):  # noqa: N818 - said of the span
    """The bytes of a span could not be read as they were found; the source must give them in batches."""


class Stretch(Protocol):
    """What a worker is told of a span; it is pickled."""

    def batches(self, descriptor: int, note: Note) -> Iterator[Batch]:
        """Give all that lies in the span, as the source would have given it. Raises SpanUnread, and OSError."""


@dataclass
class Span:
    """Events that were found and not read yet; `read` of a source gives it in the place of a batch.

    It begins and ends at the border of a line. Whoever holds it must `close` it.
    """

    position: Position  # right after it
    size: int  # bytes
    descriptor: int  # of the file; it belongs to the span alone
    stretch: Stretch

    def close(self) -> None:
        """Let go of the descriptor."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
