"""Pieces of lines that were too long, and which of them make a whole line again.

A source gives such a line in pieces, which lie in the dead letter one by one, with others between them. The first
one has part 1, each next one begins where the one before ended, and the last one says that it is the last.
"""

from __future__ import annotations

from tailrace.letters import Extent, Letter, Stored, decode


class Pieces:
    """The pieces in a dead letter file: what can be put together, if no more than `limit` bytes come of it."""

    def __init__(self, extent: Extent, limit: int | None) -> None:
        self._whole: dict[int, list[Extent]] = {}  # all pieces of a line, by the place of the last one
        self.early: set[int] = set()  # the places of all but the last ones of them
        self._limit = limit
        self._find(extent)

    def _find(self, extent: Extent) -> None:
        unfinished: dict[object, tuple[list[Extent], int]] = {}  # pieces and their bytes, by what must come next
        for stored in extent:
            try:
                letter = decode(stored.line)
            except ValueError:
                continue
            if letter.part is None:
                continue
            number, is_last = letter.part
            source = (letter.tag, *sorted(_origin(letter).items()))
            before = ([], 0) if number == 1 else unfinished.pop((source, number, letter.offset), None)
            if before is None:
                continue  # those in front of it are not there
            pieces = [*before[0], Extent(extent.path, stored.offset, stored.end)]
            size = before[1] + len(letter.line)
            if not is_last:
                unfinished[source, number + 1, letter.offset + len(letter.line)] = pieces, size
            elif self._limit is None or size <= self._limit:
                self._whole[stored.offset] = pieces
                self.early.update(piece.start for piece in pieces[:-1])

    def join(self, last: Stored) -> Letter | None:
        """Give the line of which this is the last piece; None if it is none that can be put together."""
        extents = self._whole.get(last.offset)
        if extents is None:
            return None
        letters = [decode(stored.line) for extent in extents for stored in extent]
        return letters[0]._replace(
            line=b"".join(letter.line for letter in letters), origin=_origin(letters[0]), reason=""
        )


def _origin(letter: Letter) -> dict[str, str]:
    """Give the origin of the line of which this is a piece."""
    return {key: value for key, value in letter.origin.items() if key != "part"}
