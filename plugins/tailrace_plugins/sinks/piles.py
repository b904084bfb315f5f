"""What slices were given since the last commit: lines, and members that are compressed already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tailrace import Packer

MEMBER_BYTES = 256 << 10  # a slice's lines are compressed together from here on; more gains under 2 % of size
HELD_BYTES = 96 << 20  # of all slices together, lines that wait for more; then each gets a member, however small
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
                self._seal(pile)
        self.held = held
        if held >= HELD_BYTES:
            self._seal_all()

    def add_packed(self, packed: Packed) -> None:
        """Keep what `packed` gave elsewhere."""
        for path, (members, lines) in packed.items():
            if members:
                pile = self._piles.setdefault(path, _Pile())
                self._seal_held(pile)
                pile.members += members
                self.members += sum(map(len, members))
            if lines:
                self.add(([path] * len(lines), lines))

    def packed(self) -> Packed:
        """Give all of it, compressed where that is worth while, and have nothing any more."""
        for pile in self._piles.values():
            if pile.size >= FEW_BYTES:
                self._seal_held(pile)
        return {path: (_done(pile), pile.lines) for path, pile in self._take().items()}

    def take(self) -> dict[str, list[bytes]]:
        """Give the members of each path, and have nothing any more."""
        self._seal_all()
        return {path: _done(pile) for path, pile in self._take().items()}

    def _take(self) -> dict[str, _Pile]:
        piles, self._piles, self.held, self.members = self._piles, {}, 0, 0
        return piles

    def _seal_all(self) -> None:
        for pile in self._piles.values():
            self._seal_held(pile)

    def _seal_held(self, pile: _Pile) -> None:
        self.held -= pile.size
        if pile.lines:
            self._seal(pile)

    def _seal(self, pile: _Pile) -> None:
        """Turn the lines into a compressed member."""
        pile.lines.append(b"")  # for the newline after the last line
        data = b"\n".join(pile.lines)
        pile.lines, pile.size = [], 0
        if self._pool is None:
            member = self._compress(data)
            pile.members.append(member)
            self.members += len(member)
        else:
            pile.members.append(self._pool.submit(self._compress, data))
            self.members += len(data)  # at most


def _done(pile: _Pile) -> list[bytes]:
    return [member if isinstance(member, bytes) else member.result() for member in pile.members]
