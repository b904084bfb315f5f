"""A stretch of a plain file, read by a worker: the same lines, pieces and skipped bytes as in the pipeline itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tailrace import Batch, Note, SpanUnread
from tailrace_plugins.tailing.content import Plain
from tailrace_plugins.tailing.lines import Block, next_block


@dataclass(frozen=True)
class TailStretch:
    """Whole lines of one file, from `offset` to `end`."""

    path: str
    tag: str
    offset: int
    end: int
    tail: bytes  # the last bytes before `end`, as they were when the stretch was found
    block_bytes: int
    max_line_bytes: int

    def batches(self, descriptor: int, note: Note) -> Iterator[Batch]:
        """Read the lines, a block at a time."""
        content = _Part(descriptor, self.end)
        offset, part = self.offset, 0
        while offset < self.end:
            try:
                block = next_block(
                    content, offset, part, block_bytes=self.block_bytes, max_line_bytes=self.max_line_bytes, ended=False
                )
            except OSError as error:
                raise SpanUnread(f"{self.path}, offset {offset}: {error.strerror}") from error
            if block is None:
                raise SpanUnread(f"{self.path}, offset {offset}: the file was truncated while it was read")
            if block.nuls:
                note("nuls", self.path, block.offset - block.nuls, block.nuls)
            if block.part == 1:
                note("long_line", self.path, block.offset, self.max_line_bytes)
            offset, part = block.end, 0 if block.last else block.part
            if block.lines:
                yield batch_of(block, tag=self.tag, origin={"path": self.path}, max_line_bytes=self.max_line_bytes)
        if content.pread(len(self.tail), self.end - len(self.tail)) != self.tail:
            raise SpanUnread(f"{self.path}, offset {self.offset}: the file was truncated while it was read")


class _Part(Plain):
    """A file as if it ended at `end`."""

    def __init__(self, descriptor: int, end: int) -> None:
        super().__init__(descriptor)
        self._end = end

    def pread(self, size: int, offset: int) -> bytes:
        """Read at `offset`, not beyond the end."""
        return super().pread(max(0, min(size, self._end - offset)), offset)

    def pread_some(self, size: int, offset: int) -> bytes:
        """Read at `offset`, not beyond the end, up to a place that cannot be read."""
        return super().pread_some(max(0, min(size, self._end - offset)), offset)

    def next_data(self, offset: int) -> int:
        """Ask the file system, which knows its holes."""
        return min(super().next_data(offset), self._end)


def batch_of(block: Block, *, tag: str, origin: Mapping[str, str], max_line_bytes: int) -> Batch:
    """Make a batch of a block; a piece of a line that is too long is rejected."""
    if block.part:
        origin = {**origin, "part": f"{block.part} of {block.part}" if block.last else str(block.part)}
    batch = Batch(block.lines, tag=tag, origin=origin, offset=block.offset)
    if block.part:
        last = ", the last" if block.last else ""
        reason = f"line longer than {max_line_bytes} bytes (part {block.part}{last}, at offset {block.offset})"
        batch.reject(0, reason, "too_long")
    return batch
