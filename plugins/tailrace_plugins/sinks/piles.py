"""What slices were given since the last commit: lines, and members that are compressed already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from operator import attrgetter

from tailrace import Packer

MEMBER_BYTES = 256 << 10  # a slice's lines are compressed together from here on; more gains under 2 % of size
HELD_BYTES = 96 << 20  # of all slices together, lines that wait for more; then the largest piles become members
MANY = 512  # members that are due at once; then a second thread makes half of them, for compressing frees the GIL
FEW_BYTES = 32 << 10  # what a span has less of for a slice is compressed later, with more

Addressed = tuple[Sequence[str], Sequence[bytes]]
"""The path of each line, and the lines."""

Packed = dict[str, tuple[list[bytes], list[bytes]]]
"""By path: members, and lines that follow them."""


class _Pile:
    __slots__ = ("lines", "members", "size")  # there may be tens of thousands

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.size = 0  # of the lines
        self.members: list[bytes | Future[bytes]] = []


class Piles(Packer):
    """Lines and members by path, in order; `compress` makes a member, in the threads of `pool` if there is one."""

    def __init__(self, compress: Callable[[bytes], bytes], pool: ThreadPoolExecutor | None = None) -> None:
        self._compress = compress
        self._pool = pool
        self._piles: dict[str, _Pile] = {}
        self.held = 0  # bytes that wait as lines
        self.members = 0  # ... and in members that are done

    @property
    def paths(self) -> Sequence[str]:
        """Give the paths that something was added to."""
        return list(self._piles)

    def add(self, payload: Addressed) -> None:
        """Keep lines by path, and compress what is enough for a member; 0.1 µs per event, with 10,000 paths 0.3."""
        piles = self._piles
        held = self.held
        for path, line in zip(*payload, strict=True):
            try:
                pile = piles[path]
            except KeyError:
                pile = piles[path] = _Pile()
            pile.lines.append(line)
            size = len(line)
            pile.size += size
            held += size
            if pile.size >= MEMBER_BYTES:
                held -= pile.size
                self.members += self._seal(pile)
        self.held = held
        if held >= HELD_BYTES:
            self._seal_largest()

    def add_packed(self, packed: Packed) -> None:
        """Keep what `packed` gave elsewhere."""
        for path, (members, lines) in packed.items():
            if members:
                pile = self._piles.setdefault(path, _Pile())
                self._seal_each([pile])
                pile.members += members
                self.members += sum(map(len, members))
            if lines:
                self.add(([path] * len(lines), lines))

    def packed(self) -> Packed:
        """Give all of it, compressed where that is worth while, and have nothing any more."""
        self._seal_each([pile for pile in self._piles.values() if pile.size >= FEW_BYTES])
        return {path: (_done(pile), pile.lines) for path, pile in self._take().items()}

    def take(self) -> dict[str, list[bytes]]:
        """Give the members of each path, and have nothing any more."""
        self._seal_each(list(self._piles.values()))
        return {path: _done(pile) for path, pile in self._take().items()}

    def _take(self) -> dict[str, _Pile]:
        piles, self._piles, self.held, self.members = self._piles, {}, 0, 0
        return piles

    def _seal_largest(self) -> None:
        """Make room for a third of what may wait; so members get larger than if all were made."""
        enough, largest = self.held - HELD_BYTES * 2 // 3, []
        for pile in sorted(self._piles.values(), key=attrgetter("size"), reverse=True):
            if enough <= 0:
                break
            enough -= pile.size
            largest.append(pile)
        self._seal_each(largest)

    def _seal_each(self, piles: Sequence[_Pile]) -> None:
        """Make a member of what waits in each of them."""
        self.held -= sum(pile.size for pile in piles)
        if len(piles) < MANY or self._pool is not None:
            self.members += sum(map(self._seal, piles))
            return
        half = len(piles) // 2
        with ThreadPoolExecutor(1, "tailrace-compress") as thread:
            others = thread.submit(lambda: sum(map(self._seal, piles[half:])))
            self.members += sum(map(self._seal, piles[:half])) + others.result()

    def _seal(self, pile: _Pile) -> int:
        """Turn the lines, if there are any, into a compressed member; gives the bytes that it takes, or more."""
        if not pile.lines:
            return 0
        pile.lines.append(b"")  # for the newline after the last line
        data = b"\n".join(pile.lines)
        pile.lines, pile.size = [], 0
        member = self._compress(data) if self._pool is None else self._pool.submit(self._compress, data)
        pile.members.append(member)
        return len(member if isinstance(member, bytes) else data)


def _done(pile: _Pile) -> list[bytes]:
    return [member if isinstance(member, bytes) else member.result() for member in pile.members]
