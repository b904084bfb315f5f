"""Reading bodies with bounded memory: how much one may hold, how much all together, and how long it may take."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Final

SMALL_BYTES: Final = 2 << 20
"""A body up to this size is read beside others; bigger ones one at a time."""

ALL_SMALL_BYTES: Final = 16 << 20
"""So much is set aside for small bodies together."""

WAIT_SECONDS: Final = 4.0
"""So long a request waits for its turn before it is refused."""

READ_SECONDS: Final = 30.0
"""So long a body may take to arrive; the API server gives up after that time too."""

_GZIP: Final = 31  # wbits of a gzip stream
_STEP: Final = 1 << 20


class TooLarge(Exception):  # noqa: N818 - said of the body
    """The body, unpacked, is larger than the limit."""


class TooSlow(Exception):  # noqa: N818 - said of the client
    """The body did not arrive in time."""


class Busy(Exception):  # noqa: N818 - said of the receiver
    """Too many other bodies are being read; the sender shall try again."""


class NotGzip(Exception):  # noqa: N818 - said of the body
    """The body is no gzip stream, or a broken one; the message says why."""


class Admission:
    """How many bodies are read at the same time."""

    def __init__(self, total: int = ALL_SMALL_BYTES, small: int = SMALL_BYTES) -> None:
        self.small = small
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._big = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def enter(self, size: int) -> AsyncIterator[contextlib.AsyncExitStack]:
        """Wait for the turn of a body of `size` bytes (0: not known). The stack takes what `grow` needs on top.

        Raises Busy.
        """
        share = min(size or self.small, self.small)
        if self._waiting or self._free < share:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((share, turn))
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await turn
            except TimeoutError:
                if turn.done() and not turn.cancelled():
                    self._give_back(share)  # it came at the last moment
                raise Busy from None
        else:
            self._free -= share
        try:
            async with contextlib.AsyncExitStack() as stack:
                yield stack
        finally:
            self._give_back(share)

    async def grow(self, stack: contextlib.AsyncExitStack) -> None:
        """Wait until this is the only big body. Raises Busy."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await stack.enter_async_context(self._big)
        except TimeoutError:
            raise Busy from None

    def _give_back(self, share: int) -> None:
        self._free += share
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)


async def read(
    chunks: AsyncIterator[bytes],
    admission: Admission,
    stack: contextlib.AsyncExitStack,
    *,
    gzip: bool,
    limit: int,
) -> bytes:
    """Read a body to its end, unpacked if it is `gzip`; never holds more than `limit` bytes of it.

    Raises TooLarge, TooSlow, Busy, NotGzip, and what `chunks` raises when the client goes away.
    """
    pieces: list[bytes] = []
    size = 0
    is_big = False
    inflater = Inflater() if gzip else None
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in chunks:
                for piece in inflater.inflate(chunk) if inflater else (chunk,):
                    size += len(piece)
                    if size > limit:
                        raise TooLarge
                    if size > admission.small and not is_big:
                        is_big = True
                        await admission.grow(stack)
                    pieces.append(piece)
    except TimeoutError:
        raise TooSlow from None
    if inflater is not None:
        inflater.end()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Inflater:
    """Unpacks a gzip stream of one or more members, a step at a time, so that a bomb is noticed while it unpacks."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=_GZIP)

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """Give what `data` adds, in pieces of bounded size. Raises NotGzip."""
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=_GZIP)
            try:
                piece = self._member.decompress(data, _STEP)
            except zlib.error as error:
                raise NotGzip(str(error)) from None
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                yield piece

    def end(self) -> None:
        """Check that the stream was whole. Raises NotGzip."""
        if not self._member.eof:
            raise NotGzip("it ends before its end")
