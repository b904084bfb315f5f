"""What the framework hands to every stage: disk, clock, log and a directory of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tailrace.durable import Disk


class Clock:
    """The time; tests pass one that they move by hand."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since the epoch, for people to read; it may go back."""
        return time.time()


@dataclass(frozen=True)
class Context:
    """One pipeline's surroundings."""

    pipeline: str
    state_dir: Path  # of this pipeline alone
    disk: Disk = field(default_factory=Disk)
    clock: Clock = field(default_factory=Clock)
    exposition: Callable[[], bytes] = bytes
    """Give the metrics of the whole service in Prometheus' text format, for a stage that serves HTTP."""

    @property
    def log(self) -> logging.Logger:
        """The pipeline's logger; details go as `extra={...}`, the message stays constant."""
        return logging.getLogger(f"tailrace.{self.pipeline}")
