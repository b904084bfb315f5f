"""The first and the last event of a file: when they were, and where they lie.

Of a plain file only its ends are read. A compressed one has to be read whole to know its last event, which takes
seconds for each gibibyte; so there is a budget for all of them together.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple

from tailrace import EVENT_TIME_FIELDS, Projection
from tailrace_plugins.tailing.content import Content, is_regular, open_content
from tailrace_plugins.tailing.lines import next_block

_BLOCK: Final = 65_536
_CHUNK: Final = 1 << 20
_BLOCKS: Final = 16  # so many blocks without an event at the beginning of a file are enough

OVER_BUDGET: Final = "there is too much to decompress"


class Moment(NamedTuple):
    """An event: its time, in seconds since the epoch, and the offset of its line, in uncompressed bytes."""

    time: float
    offset: int


class Ends(NamedTuple):
    """What a file begins and ends with; None where no event with a time was found."""

    first: Moment | None
    last: Moment | None
    nuls: int = 0  # so many NUL bytes lie where its first event should
    trouble: str = ""  # why it was not read to its end


class EndFinder:
    """Finds the ends of files. All together, `budget` bytes are decompressed at most."""

    def __init__(self, max_line_bytes: int, budget: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._left = budget
        self._projection = Projection(EVENT_TIME_FIELDS)

    def find(self, path: str) -> Ends:
        """Read the ends of a file. Raises OSError if it cannot be read at all."""
        content = open_content(path)
        try:
            if not is_regular(content.stat()):
                return Ends(None, None, trouble="it is a directory, pipe or device")
            first, nuls = self._first(content)
            if not content.compressed:
                return Ends(first, self._last(content), nuls)
            last, trouble = self._last_of_stream(content)
            return Ends(first, last, nuls, trouble or content.error or "")
        finally:
            content.close()

    def _first(self, content: Content) -> tuple[Moment | None, int]:
        offset = part = nuls = 0
        limit = self._max_line_bytes
        for _ in range(_BLOCKS):
            block = next_block(content, offset, part, block_bytes=_BLOCK, max_line_bytes=limit, ended=False)
            if block is None:
                break
            nuls += block.nuls if not offset else 0
            start = block.offset
            for line in () if block.part else block.lines:
                time = self.time_of(line)
                if time is not None:
                    return Moment(time, start), nuls
                start += len(line) + 1
            offset, part = block.end, 0 if block.last else block.part
        return None, nuls

    def _last(self, content: Content) -> Moment | None:
        """Look at the bytes before the end, at twice as many each time."""
        end = content.stat().st_size
        size = _BLOCK
        while True:
            start = max(0, end - size)
            data = content.pread(end - start, start)
            found = self._last_in(data, start, begins_whole=not start)
            if found is not None or not start or size > self._max_line_bytes:
                return found
            size *= 2

    def _last_of_stream(self, content: Content) -> tuple[Moment | None, str]:
        """Read it all; of what was read, only a line that has no end yet is kept."""
        found: Moment | None = None
        rest = b""
        offset = start = 0  # where to read on, and where `rest` begins
        is_too_long = False  # the line that has no end yet, so it is not kept
        while self._left > 0:
            data = content.pread_some(_CHUNK, offset)
            if not data:
                return found, ""
            self._left -= len(data)
            cut = data.rfind(b"\n") + 1
            if cut:
                text, begin = (data[:cut], offset) if is_too_long else (rest + data[:cut], start)
                found = self._last_in(text, begin, begins_whole=not is_too_long) or found
                rest, start, is_too_long = data[cut:], offset + cut, False
            elif len(rest) <= self._max_line_bytes:
                rest += data
            else:
                rest, is_too_long = b"", True
            offset += len(data)
        return None, OVER_BUDGET

    def _last_in(self, data: bytes, start: int, *, begins_whole: bool) -> Moment | None:
        """Find the last event among the lines of `data`, which lies at `start` and may begin in the middle of one."""
        end = data.rfind(b"\n")
        while end >= 0:
            begin = data.rfind(b"\n", 0, end) + 1
            if not begin and not begins_whole:
                return None
            line = data[begin:end].lstrip(b"\0")
            time = self.time_of(line)
            if time is not None:
                return Moment(time, start + end - len(line))
            end = begin - 1
        return None

    def time_of(self, line: bytes) -> float | None:
        """Give the time of an event, in seconds since the epoch; None if it has none that can be read."""
        rows, _ = self._projection.rows([line])
        values = (self._projection.column(rows, field)[0] for field in EVENT_TIME_FIELDS)
        text = next((value for value in values if value is not None), None)
        return seconds(text) if isinstance(text, str) else None


def seconds(text: str) -> float | None:
    """Read an RFC 3339 time as seconds since the epoch; None if it is none, or the zero time of Go."""
    try:
        moment = datetime.fromisoformat(text)
        time = moment.timestamp() if moment.tzinfo else 0.0
    except (ValueError, OverflowError):
        return None
    return time if time > 0 else None


def spell(time: float) -> str:
    """Write a time as events have it, in UTC, to the second."""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # an event may lie beyond the last year that there is
        return f"{time:.0f} s after 1970"
