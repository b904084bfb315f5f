"""The null sink."""

from __future__ import annotations

from tailrace import Batch, Payload, Position, Sink


class Null(Sink, kw_only=True):
    """Throw events away: for trying a pipeline, and for measuring everything before the sink.

    ```yaml
    sinks:
      - type: "null"        # quoted, for YAML reads a bare null as no value
    ```
    """

    def open(self, position: Position | None) -> None:
        """Nothing was written, so nothing has to be undone."""

    def encode(self, batch: Batch) -> Payload:
        """Make nothing of the batch."""

    def write(self, payload: Payload) -> None:
        """Take nothing."""

    def flush(self) -> Position:
        """Nothing is as durable as it will ever be."""
        return {}
