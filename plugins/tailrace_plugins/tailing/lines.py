"""Framing: whole lines out of a file's bytes, with bounded memory and without touching each line."""

from __future__ import annotations

from typing import NamedTuple

from tailrace import split_lines
from tailrace_plugins.tailing.content import Content

TAIL_BYTES = 1024

_CHUNK = 1_048_576


class Block(NamedTuple):
    """Lines that lie next to each other in a file."""

    lines: list[bytes]
    offset: int  # of the first line's first byte
    end: int  # where to read on
    part: int = 0  # 0: whole lines; n: the only line is the n-th piece of a line that is too long
    last: bool = False  # it is the last piece
    more: bool = False  # the end of the file was not reached
    nuls: int = 0  # so many NUL bytes before `offset` were skipped
    tail: bytes = b""  # the last bytes before `end`, at most `TAIL_BYTES`


def next_block(
    content: Content, offset: int, part: int, *, block_bytes: int, max_line_bytes: int, ended: bool
) -> Block | None:
    """Read about `block_bytes` of whole lines at `offset`; None if there is no whole line yet.

    `part` says how many pieces of the line at `offset` were given before. `ended`: nothing will be appended, so
    that what follows the last newline is a line. NUL bytes where a line should begin are what a truncation
    leaves in front of a writer that goes on at its old offset; no line of text begins so, and they are skipped.
    """
    nuls = 0
    size = min(block_bytes, max_line_bytes)
    while True:
        data, trouble = _read(content, size, offset)
        more = trouble is not None or len(data) == size
        if not part and b"\0" in data:
            if data.startswith(b"\0"):
                text = _find_text(content, offset)
                if not ended and not content.pread(1, text):
                    return None  # it may be that the writer's bytes are not here yet
                nuls += text - offset
                offset = text
                continue
            run = data.find(b"\n\0")
            if run >= 0:
                data = data[: run + 1]
                more = True
        lines = split_lines(data)
        rest = lines.pop()
        if lines and part:
            end = len(lines[0]) + 1
            return Block(lines[:1], offset, offset + end, part + 1, last=True, more=True, tail=_tail(data, end))
        if lines:
            end = len(data) - len(rest)
            return Block(lines, offset, offset + end, more=more, nuls=nuls, tail=_tail(data, end))
        if len(data) > max_line_bytes:
            piece = data[:max_line_bytes]
            end = max_line_bytes
            return Block([piece], offset, offset + end, part + 1, more=True, nuls=nuls, tail=_tail(data, end))
        if trouble is not None:
            raise trouble
        if not more:
            if ended and data:
                end, part = len(data), part and part + 1
                return Block([data], offset, offset + end, part, last=bool(part), nuls=nuls, tail=_tail(data, end))
            return Block([], offset, offset, part, nuls=nuls) if nuls else None
        size = min(2 * size, max_line_bytes + 1)


def _read(content: Content, size: int, offset: int) -> tuple[bytes, OSError | None]:
    """Read what can be read; where that is not all, give the reason too. Raises OSError if it is nothing."""
    try:
        return content.pread(size, offset), None
    except OSError as error:
        return content.pread_some(size, offset), error


def _tail(data: bytes, end: int) -> bytes:
    return data[max(0, end - TAIL_BYTES) : end]


def _find_text(content: Content, offset: int) -> int:
    """Give the offset of the first byte from `offset` on that is not NUL, or the end."""
    while True:
        offset = content.next_data(offset)
        data = content.pread(_CHUNK, offset)
        text = data.lstrip(b"\0")
        if text or not data:
            return offset + len(data) - len(text)
        offset += len(data)
