"""Which bodies were stored of late, so that one that is sent again because our answer was lost is not stored twice.

The digests of stored bodies lie in the heads of their records. Before a segment is deleted they are saved to a file
of their own; so no commit of the spool has to write more than the records. If that file is damaged or could not be
saved, the worst that follows is that a repeated body is stored twice.

Their age is told by the clock that nobody sets, but for the time before the process began; what a clock that was set
back takes to be still to come is regarded as new.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Final

from tailrace import Context
from tailrace.durable import replace_file

MOST: Final = 100_000
"""So many digests are kept at most, 20 MB in memory; with more in the window the oldest are forgotten."""

_ENTRY = struct.Struct(">d32s")


class Digests:
    """The SHA-256 digests of the bodies that were stored within the last `window` seconds."""

    def __init__(self, context: Context, window: float) -> None:
        self._context = context
        self._window = window
        self._path = context.state_dir / "spool" / "digests"
        self._times: dict[bytes, tuple[float, float]] = {}  # by digest, in the order in which they were stored: when
        # they were received, and the same on the monotonic clock

    def load(self) -> None:
        """Read what was saved; a damaged file is reported and left out."""
        try:
            data = Path(self._path).read_bytes()
        except FileNotFoundError:
            return
        checksum, entries = data[:32], data[32:]
        if len(entries) % _ENTRY.size or hashlib.sha256(entries).digest() != checksum:
            self._context.log.warning(
                "the digests of stored bodies are damaged; a body that is sent again now may be stored twice",
                extra={"path": str(self._path)},
            )
            return
        for received, digest in _ENTRY.iter_unpack(entries):
            self.add(digest, received)

    def encode(self) -> bytes:
        """Write the digests that are in the window, for `save`."""
        self._times = {digest: at for digest, at in self._times.items() if digest in self}
        return b"".join(_ENTRY.pack(received, digest) for digest, (received, _) in self._times.items())

    def save(self, entries: bytes) -> None:
        """Store what `encode` gave. Raises OSError."""
        replace_file(self._context.disk, self._path, hashlib.sha256(entries).digest() + entries)

    def add(self, digest: bytes, received: float) -> None:
        """Remember a stored body."""
        clock = self._context.clock
        age = max(0.0, clock.time() - received)
        self._times[digest] = received, clock.monotonic() - age
        if len(self._times) > MOST:
            del self._times[next(iter(self._times))]

    def __contains__(self, digest: bytes) -> bool:
        times = self._times.get(digest)
        return times is not None and self._context.clock.monotonic() - times[1] <= self._window

    def __len__(self) -> int:
        return len(self._times)
