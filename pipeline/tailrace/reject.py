"""An event that can never be processed, and why: in a sentence for people, in one of a few words for metrics.

The sentence may hold values, columns and offsets, which whoever sends requests to the API server chooses; the word is
one of `REJECT_KINDS` and is decided where the sentence is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, get_args

RejectKind = Literal[
    "not_json", "not_an_object", "unreadable", "too_long", "damaged", "cannot_change", "filter", "refused"
]
"""Why an event is rejected.

* `not_json`: the line is not JSON, or empty
* `not_an_object`: it is JSON, but no object
* `unreadable`: it is JSON, but nested too deeply, or with a number of too many digits
* `too_long`: it is longer than the source takes
* `damaged`: what the source had stored of it is not what was stored
* `cannot_change`: a field of it cannot be changed as a filter wants without breaking the line
* `filter`: a filter cannot process it
* `refused`: where a sink sends it, it will never be taken
"""

REJECT_KINDS: Final[tuple[RejectKind, ...]] = get_args(RejectKind)


class Reason(NamedTuple):
    """Why an event is rejected."""

    kind: RejectKind
    text: str


class Reject(NamedTuple):
    """An event that can never be processed: its bytes as they were read, why, and where they came from."""

    line: bytes
    reason: str
    tag: str  # as it was read too
    origin: Mapping[str, str]
    offset: int  # of the line's first byte, in the file or stream that `origin` names
    kind: RejectKind


class Original(NamedTuple):
    """An event as it was read, for a sink that learns only later that it is refused."""

    line: bytes
    tag: str
    origin: Mapping[str, str]
    offset: int

    def rejected(self, reason: str, kind: RejectKind = "refused") -> Reject:
        """Make the reject of it."""
        return Reject(self.line, reason, self.tag, self.origin, self.offset, kind)
