"""What the loop does for sinks that send events away: lingering, waking, and what the other side refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tailrace.batch import Batch, Position
from tailrace.checkpoint import Checkpoint
from tailrace.context import Clock, Context
from tailrace.deadletter import FILE as DEAD_LETTER_FILE
from tailrace.faults import Crash, FaultyDisk
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.reject import Reject
from tailrace.stage import Filter, Payload, Retry, Sink
from tailrace.testing import ListSink, ListSource

LINES = [b'{"n":%d}' % n for n in range(20)]


class Double(Filter, kw_only=True):
    """Changes each event, so that what is sent is not what was read."""

    def reads(self) -> Iterable[str]:
        return ["n"]

    def apply(self, batch: Batch) -> None:
        batch["n"] = [2 * n for n in batch["n"]]
        batch.tags = [f"{tag}.double" for tag in batch.tags]


class Away(Sink, kw_only=True):
    """Sends lines away, to where numbers that `refuse` names are never taken."""

    refuse: list[int]

    def __post_init__(self) -> None:
        self.taken: list[bytes] = []

    def open(self, position: Position | None) -> None:
        self._pending: list[Any] = []
        self._refused: list[Reject] = []

    def encode(self, batch: Batch) -> Payload:
        return list(zip(batch.encoded(), batch.originals(), strict=True))

    def write(self, payload: Payload) -> None:
        self._pending += payload

    def flush(self) -> Position:
        for line, original in self._pending:
            if json.loads(line)["n"] in self.refuse:
                self._refused.append(original.rejected(f"the other side says no to {line.decode()}"))
            else:
                self.taken.append(line)
        self._pending = []
        return {}

    def refused(self) -> Sequence[Reject]:
        refused, self._refused = self._refused, []
        return refused


def made(directory: Path, sink: Sink, disk: FaultyDisk | None = None, clock: Clock | None = None) -> Pipeline:
    context = Context("test", directory / "state", disk or FaultyDisk(), clock or Clock())
    return Pipeline(context, ListSource(lines=LINES), [Double()], {"away": sink}, commit_bytes=60)


def letters(directory: Path) -> list[dict[str, Any]]:
    path = directory / "state" / DEAD_LETTER_FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_what_is_refused_goes_to_the_dead_letter_as_it_was_read(tmp_path: Path) -> None:
    sink = Away(refuse=[8, 30])
    pipeline = made(tmp_path, sink)
    pipeline.run(threading.Event(), once=True)
    assert sink.taken == [b'{"n":%d}' % (2 * n) for n in range(20) if n not in (4, 15)]
    assert [(each["event"], each["kind"], each["tag"], each["offset"]) for each in letters(tmp_path)] == [
        ('{"n":4}', "refused", "test", 4 * 8),
        ('{"n":15}', "refused", "test", 10 * 8 + 5 * 9),
    ]
    assert letters(tmp_path)[0]["reason"] == 'the other side says no to {"n":8}'
    assert pipeline.counts.dead_letters["refused"] == 2
    state = Checkpoint(pipeline.context).load()
    assert state is not None
    size = (tmp_path / "state" / DEAD_LETTER_FILE).stat().st_size
    assert list(state.sinks["dead-letter"].values()) == [size]


def test_what_is_refused_is_in_the_dead_letter_once_wherever_the_process_dies(tmp_path: Path) -> None:
    deaths = 0
    while True:
        directory = tmp_path / str(deaths)
        taken: set[bytes] = set()
        disk = FaultyDisk(deaths + 1)
        sink = Away(refuse=[8, 30])
        try:
            made(directory, sink, disk).run(threading.Event(), once=True)
        except Crash:
            taken.update(sink.taken)
            disk.die()
            disk.lose_unsynced()
            sink = Away(refuse=[8, 30])
            made(directory, sink).run(threading.Event(), once=True)
        else:
            break
        finally:
            taken.update(sink.taken)
        assert len(taken) == 18
        assert [each["event"] for each in letters(directory)] == ['{"n":4}', '{"n":15}'], f"death {deaths}"
        deaths += 1
    assert deaths > 20


class Patient(ListSink, kw_only=True):
    """Would rather have `want` events at once."""

    want: int
    seconds: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.flushed: list[int] = []

    def linger(self) -> float:
        return 0.0 if len(self._pending) >= self.want else self.seconds

    def flush(self) -> Position:
        self.flushed.append(len(self._pending))
        return super().flush()


class Trickle(ListSource, kw_only=True):
    """Gives an event at each second look; each wait takes as long as it may, by the clock. It stops the pipeline."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.looks = 0
        self.waits: list[float] = []

    def read(self, timeout: float) -> Batch | None:
        assert isinstance(self.context.clock, Moved)
        self.looks += 1
        if self.looks % 2:
            self.waits.append(timeout)
            self.context.clock.now += min(timeout, 7.0)
            return None
        return super().read(timeout)


class Moved(Clock):
    """A clock that others move."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "want", "flushed"),
    [
        (30.0, 100, [5, 5, 5, 5]),  # an event each seven seconds: after the fifth, thirty have passed
        (30.0, 3, [3, 3, 3, 3, 3, 3, 2]),  # enough of them: at once
        (0.0, 100, [1] * 20),
    ],
)
def test_a_commit_waits_for_more_events_while_a_sink_would_like_it_to(
    tmp_path: Path, seconds: float, want: int, flushed: list[int]
) -> None:
    sink = Patient(want=want, seconds=seconds)
    context = Context("test", tmp_path / "state", clock=Moved())
    source = Trickle(lines=LINES, batch_size=1)
    pipeline = Pipeline(context, source, [], {"patient": sink, "other": ListSink()})
    pipeline.run(threading.Event())
    assert sink.written == LINES
    assert sink.flushed == flushed


def test_a_sink_that_waits_for_better_times_is_woken_to_stop(tmp_path: Path) -> None:
    woken, waiting = threading.Event(), threading.Event()

    class Waiting(ListSink, kw_only=True):
        def wake(self) -> None:
            woken.set()

        def flush(self) -> Position:
            waiting.set()
            assert woken.wait(30)
            raise Retry("nobody there")

    pipeline = made(tmp_path, Waiting())
    stop = threading.Event()
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(pipeline.run(stop)))
    thread.start()
    assert waiting.wait(30)
    stop.set()
    pipeline.wake()
    thread.join(30)
    assert ended == [False]


def test_with_once_a_sink_that_cannot_send_fails_the_run(tmp_path: Path) -> None:
    class Gone(ListSink, kw_only=True):
        def write(self, payload: Payload) -> None:
            raise Retry("nobody there")

    with pytest.raises(PipelineFailed, match="nobody there; nothing is lost: run it again"):
        made(tmp_path, Gone()).run(threading.Event(), once=True)
