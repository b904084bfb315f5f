"""Looking into gzip files after a kill."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from tailrace.checkpoint import Checkpoint
from tailrace.context import Context


def look(out: Path, state: Path) -> tuple[int, int]:
    """Check every output file below `out`; give how many there are, and how many end in a member cut by the kill.

    What the checkpoint in `state`, a pipeline's directory, covers must be valid; at most one member, the one in flight,
    may be torn behind it.
    """
    found = Checkpoint(Context(pipeline=state.name, state_dir=state)).load()
    recorded = {path: length for sink in found.sinks.values() for path, length in sink.items()} if found else {}
    paths = list(out.rglob("*.gz"))
    torn = 0
    for path in paths:
        data = path.read_bytes()
        gzip.decompress(data[: recorded[str(path)]])
        torn += whole_members(data) != len(data)
    return len(paths), torn


def whole_members(data: bytes) -> int:
    """Give the length of the whole gzip members at the start of `data`."""
    length = 0
    while length < len(data):
        member = zlib.decompressobj(wbits=31)
        member.decompress(data[length:])
        if not member.eof:
            break
        length = len(data) - len(member.unused_data)
    return length
