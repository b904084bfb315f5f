"""What two policies leave of the same log, counted; each event is put through the filter as in a pipeline."""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from tailrace import Batch, Projection
from tailrace_plugins.policy.enforcement import READS, WRITES, Enforcement
from tailrace_plugins.policy.levels import NONE, RANK
from tailrace_plugins.policy.policy import BODIES, Change, Policy

_GZIP: Final = b"\x1f\x8b"
_BLOCK: Final = 4 << 20  # bytes of lines that are worked on together
_SECONDS_PER_DAY: Final = 86_400


class _Facts(msgspec.Struct, rename="camel", gc=False):
    """What is asked of each event beside what the policies look at."""

    request_object: Raw | UnsetType = UNSET
    response_object: Raw | UnsetType = UNSET
    stage_timestamp: str | None = None
    level: str | None = None


_facts = msgspec.json.Decoder(_Facts).decode


def read_lines(path: Path) -> Iterator[list[bytes]]:
    """Read a log, plain or gzip, in blocks of whole lines. Raises OSError."""
    with path.open("rb") as plain:
        compressed = plain.peek(2)[:2] == _GZIP
        with gzip.open(plain) if compressed else plain as file:
            try:
                while lines := file.readlines(_BLOCK):
                    yield [line.rstrip(b"\r\n") for line in lines]
            except (EOFError, zlib.error) as error:
                raise OSError(f"{path}: not a whole gzip file: {error}") from None


@dataclass
class Share:
    """What one rule takes of a log, and what it leaves of that."""

    level: str
    events: int = 0
    size: int = 0  # bytes, with newlines
    kept_events: int = 0
    kept_size: int = 0


@dataclass
class Outcome:
    """What one policy leaves of a log."""

    policy: Policy
    shares: dict[int | None, Share] = field(default_factory=dict)  # by index of the rule; None: no rule matched
    undecided: int = 0  # events that the policy cannot judge
    raised: int = 0  # events that it keeps and would have recorded at a higher level

    @property
    def kept_events(self) -> int:
        """How many events are left."""
        return sum(share.kept_events for share in self.shares.values())

    @property
    def kept_size(self) -> int:
        """How many bytes are left."""
        return sum(share.kept_size for share in self.shares.values())


@dataclass
class Loss:
    """What one policy leaves and the other does not."""

    events: int = 0
    size: int = 0  # bytes that these events have where they are left
    bodies: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # events that are left without this one


@dataclass
class Fate:
    """What became of one event under one policy."""

    change: Change
    size: int  # 0: it is dropped

    def has(self, body: str) -> bool:
        """Tell whether the event, if it has this body, keeps it."""
        return bool(self.size) and body not in self.change.removed


class Comparison:
    """Counts what two policies leave of a log."""

    def __init__(self, old: Policy, new: Policy) -> None:
        self.old, self.new = Outcome(old), Outcome(new)
        self.lost, self.gained = Loss(), Loss()
        self.events = 0
        self.size = 0
        self.unreadable = 0
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._projection = Projection(READS, WRITES)
        self._enforcements = [(outcome, Enforcement(outcome.policy)) for outcome in (self.old, self.new)]

    @property
    def days(self) -> float:
        """How much time the log covers; 0 if nobody can say."""
        if self._first is None or self._last is None:
            return 0.0
        return (self._last - self._first).total_seconds() / _SECONDS_PER_DAY

    def add(self, lines: Sequence[bytes]) -> None:
        """Count some lines of the log."""
        facts: list[_Facts] = []
        events: list[bytes] = []
        for line in lines:
            try:
                facts.append(_facts(line))
                events.append(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.unreadable += 1
        self.events += len(events)
        self.size += sum(map(len, events)) + len(events)
        self._take_times(facts)
        old, new = (self._put_through(events, facts, *each) for each in self._enforcements)
        for fact, before, after in zip(facts, old, new, strict=True):
            _compare(fact, before, after, self.lost)
            _compare(fact, after, before, self.gained)

    def _put_through(
        self, events: list[bytes], facts: list[_Facts], outcome: Outcome, enforcement: Enforcement
    ) -> list[Fate]:
        batch = Batch(list(events))
        batch.project(self._projection)
        judgements = enforcement.apply(batch)
        sizes = iter([len(line) + 1 for line in batch.encoded()])
        fates = []
        for line, fact, (verdict, change) in zip(events, facts, judgements, strict=True):
            kept = change.error is None and change.dropped is None
            fate = Fate(change, next(sizes) if kept else 0)
            fates.append(fate)
            if change.error is not None:
                outcome.undecided += 1
                continue
            share = outcome.shares.setdefault(verdict.rule, Share(verdict.level))
            share.events += 1
            share.size += len(line) + 1
            share.kept_events += kept
            share.kept_size += fate.size
            outcome.raised += kept and RANK.get(fact.level or NONE, 0) < RANK[verdict.level]
        return fates

    def _take_times(self, facts: Sequence[_Facts]) -> None:
        for text in {fact.stage_timestamp for fact in facts if fact.stage_timestamp}:
            try:
                time = datetime.fromisoformat(text)
            except ValueError:
                continue
            if time.tzinfo is not None:
                self._first = min(time, self._first or time)
                self._last = max(time, self._last or time)


def _compare(fact: _Facts, one: Fate, other: Fate, loss: Loss) -> None:
    """Note what the one leaves of an event and the other does not."""
    if one.size and not other.size:
        loss.events += 1
        loss.size += one.size
    for body, value in zip(BODIES, (fact.request_object, fact.response_object), strict=True):
        if value is not UNSET and one.has(body) and not other.has(body):
            loss.bodies[body] += 1
