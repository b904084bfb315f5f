"""The dead letter as text for people: a summary by reason and origin, and events that are safe on a terminal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from tailrace.letters import Letter
from tailrace.logs import escape

SHOWN_GROUPS: Final = 20
SHOWN_BYTES: Final = 1000  # of an event
_KNOWN_GROUPS: Final = 10_000
_OTHERS: Final = "(others)"
_VARYING = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\d+""")


def pattern(reason: str) -> str:
    """Give the reason without what differs from event to event: numbers, and what stands in quotes."""
    return _VARYING.sub(lambda match: "N" if match[0][0].isdigit() else "…", reason)


class Summary:
    """Counts of events by reason and by origin, and the span of time. Its size is bounded."""

    def __init__(self) -> None:
        self.events = 0
        self._reasons: Counter[str] = Counter()
        self._origins: Counter[str] = Counter()
        self._first = self._last = ""

    def add(self, letter: Letter) -> None:
        """Count an event."""
        self.events += 1
        _count(self._reasons, f"{letter.kind}: {pattern(letter.reason)}")
        _count(self._origins, _place(letter))
        if letter.time:
            self._first = min(self._first or letter.time, letter.time)
            self._last = max(self._last, letter.time)

    def lines(self) -> Iterator[str]:
        """Write it down."""
        if not self.events:
            return
        yield f"  put aside from {escape(self._first) or '(unknown)'} to {escape(self._last) or '(unknown)'}"
        for title, counts in (("reasons", self._reasons), ("origins", self._origins)):
            yield f"  {title}"
            for text, count in counts.most_common(SHOWN_GROUPS):
                yield f"  {count:>8}  {escape(text)}"
            if len(counts) > SHOWN_GROUPS:
                yield f"            and {len(counts) - SHOWN_GROUPS} more"


def render(letters: Iterable[Letter]) -> Iterator[str]:
    """Write down events: when, why and where from in one line, and the event in the next."""
    for letter in letters:
        place = escape(f"{_place(letter)} at {letter.offset}")
        yield f"{escape(letter.time)} {place}: {escape(letter.reason)}"
        shown = letter.line[:SHOWN_BYTES].decode("utf-8", "surrogateescape")
        rest = f" … {len(letter.line)} bytes in all" if len(letter.line) > SHOWN_BYTES else ""
        yield f"    {escape(shown)}{rest}"


def _place(letter: Letter) -> str:
    """Name the origin: the path, if it has one, and what else there is but the number of a piece."""
    others = [f"{key}={value}" for key, value in letter.origin.items() if key not in ("path", "part")]
    return " ".join([letter.origin.get("path", ""), *others]).strip() or "(unknown)"


def _count(counts: Counter[str], key: str) -> None:
    counts[key if key in counts or len(counts) < _KNOWN_GROUPS else _OTHERS] += 1
