"""What a pipeline did and how it is, for other threads to read at any time.

Only the pipeline's own thread writes, one attribute at a time. So there are no locks, and two figures may be a moment
apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, get_args

from tailrace.chain import Product
from tailrace.reject import REJECT_KINDS, Reject, RejectKind

PipelineState = Literal["starting", "running", "recovering", "failed", "ended"]
PIPELINE_STATES: Final[tuple[PipelineState, ...]] = get_args(PipelineState)

COMMIT_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class Condition(NamedTuple):
    """How a pipeline is.

    `starting` until its stages are open for the first time; `recovering` from a failure of the outside world until
    something was committed or there was nothing to commit, however often it failed again meanwhile; `failed` for good.
    """

    state: PipelineState
    since: float  # seconds since the epoch
    cause: str = ""  # of `recovering` and `failed`


class Freshness:
    """Up to when all that the source had is committed. Times are those of the clock's `monotonic`.

    A mark says how many bytes will have been read when everything is read that the source had at the mark's time. One
    is open at a time: it is made at a commit, and met by the first later commit that has read so much. So a source
    that gives more each time it is asked is not taken for one that falls behind.
    """

    def __init__(self, now: float) -> None:
        self.at = now  # before the first commit: when the pipeline was made
        self._mark = now, 0

    def go_back(self) -> None:
        """Give the mark up: what was read and not committed is read, and counted, again."""
        self._mark = self.at, 0

    def note_all_read(self, now: float, bytes_in: int) -> None:
        """The source has nothing more to give."""
        self._mark = now, bytes_in

    def note_rest(self) -> None:
        """And all that it gave is committed."""
        self.at = self._mark[0]

    def note_commit(self, now: float, bytes_in: int, lag: int) -> None:
        """All that was read is committed; `lag` is how many bytes there are to read beyond it."""
        marked_at, wanted = self._mark
        if bytes_in >= wanted:
            self.at = marked_at
            self._mark = now, bytes_in + lag


class Histogram:
    """How many values lay in each of some ranges; each bound belongs to the range below it."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # one for each bound, and one for what lies beyond the last
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass
class Counts:
    """What a pipeline did since it was started. What is read again after a recovery counts again.

    Times without another word are those of the clock's `monotonic`.
    """

    events_in: int = 0
    bytes_in: int = 0
    events_out: int = 0  # past the filters
    dropped: int = 0  # by filters, because the config says so
    dead_letters: dict[RejectKind, int] = field(default_factory=lambda: dict.fromkeys(REJECT_KINDS, 0))
    commits: int = 0
    recoveries: int = 0
    commit_seconds: Histogram = field(default_factory=lambda: Histogram(COMMIT_BOUNDS))
    committed_at: float | None = None  # seconds since the epoch
    uncommitted_since: float | None = None  # when the oldest event that is not committed was read for the first time

    def note_read(self, now: float) -> None:
        """Something was read, and is being worked on."""
        if self.uncommitted_since is None:
            self.uncommitted_since = now

    def add(self, product: Product) -> None:
        """Count what was read, and what became of it."""
        self.events_in += product.events_in
        self.bytes_in += product.bytes_in
        self.events_out += product.events_out
        self.dropped += product.dropped
        self.add_rejects(product.rejects)

    def add_rejects(self, rejects: Iterable[Reject]) -> None:
        """Count what goes to the dead letter."""
        for reject in rejects:
            self.dead_letters[reject.kind] += 1

    def add_commit(self, seconds: float, at: float) -> None:
        """Count a commit: how long it took, and when it was done in seconds since the epoch."""
        self.commits += 1
        self.commit_seconds.add(seconds)
        self.committed_at = at
        self.uncommitted_since = None

    @property
    def rejected(self) -> int:
        """Count the events that went to the dead letter."""
        return sum(self.dead_letters.values())
