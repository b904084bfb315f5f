"""The stdout sink."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from msgspec import Meta

from tailrace import Batch, Payload, Position, Sink


class Stdout(Sink, kw_only=True):
    """Write events to standard output, one per line; at least once (a terminal cannot be cut back).

    ```yaml
    sinks:
      - type: stdout
        tag: true
    ```
    """

    tag: Annotated[bool, Meta(description="Write the tag and a tab before each event.")] = False

    def open(self, position: Position | None) -> None:
        """Forget what was not flushed."""
        self._pending: list[bytes] = []

    def encode(self, batch: Batch) -> Payload:
        """Join the lines."""
        lines = batch.encoded()
        if self.tag:
            tags = [tag.encode("utf-8", "backslashreplace") for tag in batch.tags]
            lines = [tag + b"\t" + line for tag, line in zip(tags, lines, strict=True)]
        return b"\n".join([*lines, b""])

    def write(self, payload: Payload) -> None:
        """Keep the lines until the flush."""
        self._pending.append(payload)

    def flush(self) -> Position:
        """Write the lines out."""
        data = memoryview(b"".join(self._pending))
        self._pending = []
        descriptor = sys.stdout.fileno()
        while data:
            data = data[os.write(descriptor, data) :]
        return {}
