"""Members: the parts of a gzip or zstd file that stand for themselves, read one at a time in bounded memory.

A gzip file is any number of members one after another (RFC 1952), each with its own header and checksum; what zstd
calls frames (RFC 8878) is the same.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, Protocol

CHUNK: Final = 256 << 10  # so much is read at a time
PIECE: Final = 64 << 10  # so much is decoded at a time, however well it was compressed

Kind = Literal["gzip", "zstd"]
MAGIC: Final[dict[Kind, bytes]] = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd"}
SUFFIXES: Final[dict[str, Kind]] = {".gz": "gzip", ".zst": "zstd"}


class Decoder(Protocol):
    """What decodes one member, as those of the standard library do."""

    @property
    def eof(self) -> bool:
        """The member was decoded to its end, and its checksum is right."""

    @property
    def needs_input(self) -> bool:
        """There is nothing more to decode of what it was given."""

    @property
    def unused_data(self) -> bytes:
        """What it was given behind the end of the member."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Give the next bytes, at most so many; raises an exception of its own if there is damage."""


class Member(NamedTuple):
    """A member, or as much of it as can be decoded; `start` and `end` are offsets in the file."""

    start: int
    end: int  # right behind it; where decoding ended, if it is not whole
    size: int  # of what was decoded, in bytes
    lines: int  # whole ones
    lines_size: int  # up to the end of the last whole line, in bytes
    damage: str = ""  # why it is not whole
    is_cut: bool = False  # it ends too early, and what there is of it is right


def read_member(
    descriptor: int, kind: Kind, start: int, end: int, take: Callable[[bytes], object] | None = None, limit: int = -1
) -> Member:
    """Decode the member at `start`, which may go up to `end`; `take` gets its pieces. Raises OSError.

    With a limit it stops after so many bytes that are right, and calls the member cut, unless it ends just there.
    """
    member = _read(descriptor, kind, start, end, take, limit, exact_from=-1)
    if member.damage and not member.is_cut and take is None:
        # the decoder throws away what it decoded together with the damage
        member = _read(descriptor, kind, start, end, take, limit, exact_from=member.size)
    return member


def _read(
    descriptor: int,
    kind: Kind,
    start: int,
    end: int,
    take: Callable[[bytes], object] | None,
    limit: int,
    exact_from: int,
) -> Member:
    """Decode a member; after `exact_from` bytes byte by byte."""
    decoder = _decoder(kind)
    offset = start
    size = lines = lines_size = 0
    while not decoder.eof:
        if size == limit:
            return Member(start, offset, size, lines, lines_size, "it was not read to its end", True)
        data = b""
        if decoder.needs_input:
            data = os.pread(descriptor, min(CHUNK, end - offset), offset)
            offset += len(data)
            if not data:
                return Member(start, offset, size, lines, lines_size, "it ends too early", True)
        wanted = 1 if size == exact_from else min(PIECE, limit - size) if limit >= 0 else PIECE
        try:
            piece = decoder.decompress(data, wanted)
        except Exception as error:  # each decoder has its own
            return Member(start, offset, size, lines, lines_size, str(error))
        newline = piece.rfind(b"\n")
        if newline >= 0:
            lines += piece.count(b"\n")
            lines_size = size + newline + 1
        if size == exact_from:
            exact_from += len(piece)
        size += len(piece)
        if take is not None:
            take(piece)
    return Member(start, offset - len(decoder.unused_data), size, lines, lines_size)


class _Gzip:
    """zlib's decoder, as the other decoders of the standard library are used; it has the best eye for damage."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)
        self._is_full = False  # there may be more of what it was given already

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail and not self._is_full

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        piece = self._decoder.decompress(data or self._decoder.unconsumed_tail, max_length)
        self._is_full = len(piece) == max_length
        return piece


def _decoder(kind: Kind) -> Decoder:
    if kind == "gzip":
        return _Gzip()
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdDecompressor
    else:
        from backports.zstd import ZstdDecompressor
    return ZstdDecompressor()
