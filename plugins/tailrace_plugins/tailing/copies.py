"""Copies of the live file, which `copytruncate` makes: cp, and then truncate.

For a while both have the same lines. Then the copy alone has them, while what was written between the two steps is
nowhere any more.
"""

from __future__ import annotations

from tailrace_plugins.tailing.file import HEAD_BYTES, File, Replaced
from tailrace_plugins.tailing.history import Sighting
from tailrace_plugins.tailing.names import is_lumberjack


def is_copy(sighting: Sighting, live: Sighting, model: File | None) -> bool:
    """Tell whether a new file is a copy of the live one, perhaps not finished yet.

    `model` is what is known of the live file; where that is new too, a few equal bytes do not prove anything. Raises
    OSError, and `Replaced` if one of them is not what it was a moment ago.
    """
    if is_lumberjack(sighting.path):
        return False  # it may well begin like its successor, and have nothing else
    probe = sighting.probe()
    if sighting.compressed:
        if model is None or not model.state.offset:
            return False
        return model.begins_like(probe) and model.goes_on_in(sighting.pread)
    if sighting.stamp[0] > live.stamp[0] or not live.probe().startswith(probe):
        return False
    if model is None and len(probe) < HEAD_BYTES:
        return False
    size = min(sighting.stamp[0], HEAD_BYTES)
    start = sighting.stamp[0] - size
    end = live.pread(size, start)
    if len(end) < size:
        raise Replaced(live.path)  # truncated just now
    return sighting.pread(size, start) == end


def was_read_in(file: File, sighting: Sighting) -> bool:
    """Tell whether a new file is a copy of `file`, which was truncated since, and ends before the place read up to.

    That place lies then in what was written between copying and truncating.
    """
    if sighting.compressed or sighting.key == file.key or is_lumberjack(sighting.path):
        return False
    is_shorter = sighting.stamp[0] < file.state.offset
    return is_shorter and file.state.head_len == HEAD_BYTES and file.begins_like(sighting.probe())
