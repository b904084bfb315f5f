"""How logs are read: the options, and what all logs of a source share."""

from __future__ import annotations

from dataclasses import dataclass, field

from tailrace import Clock
from tailrace_plugins.tailing.descriptors import Descriptors
from tailrace_plugins.tailing.file import Key
from tailrace_plugins.tailing.listings import Listings
from tailrace_plugins.tailing.patterns import Patterns
from tailrace_plugins.tailing.reports import Reports


@dataclass(frozen=True)
class Reading:
    """The options of the source `tail`, its clock, descriptors, listings and reports."""

    patterns: Patterns
    tag: str
    from_end: bool
    backfill: bool
    block_bytes: int
    max_line_bytes: int
    poll_interval: float
    scan_interval: float
    rotate_wait: float
    clock: Clock
    refused: set[Key]  # of files whose spans could not be read
    descriptors: Descriptors
    listings: Listings
    reports: Reports
    changed: set[str] = field(default_factory=set)  # paths of logs with something to record that no batch carried yet
