"""The page of metrics: what it says of a run, and what neither events nor broken stages can do to it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tailrace import __version__
from tailrace.batch import Batch, Position
from tailrace.condition import Freshness
from tailrace.context import Clock, Context
from tailrace.metrics import exposition
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.records import Record
from tailrace.reject import REJECT_KINDS
from tailrace.stage import BadEvent, Damaged, Filter, Measure, RecordFilter, Retry, Sink, Source
from tailrace.testing import ListSink, ListSource

HOSTILE = 'eve"} 1\ntailrace_forged{pipeline="x"} 7\n# TYPE a\\'
LINES = [b'{"n":%d}' % n for n in range(10)]


class HandClock(Clock):
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0


class KeepOdd(Filter, kw_only=True):
    def reads(self) -> Iterable[str]:
        return ["n"]

    def apply(self, batch: Batch) -> None:
        batch.keep([n % 2 == 1 for n in batch["n"]])


class RefuseSeven(RecordFilter, kw_only=True):
    def process(self, record: Record) -> Record | None:
        if record["n"] == 7:
            raise BadEvent(f"refused: {HOSTILE}")
        return record


class Telling(ListSink, kw_only=True):
    """Gives the figures that it is told to give."""

    figures: Sequence[Measure] = ()

    def measures(self) -> Iterable[Measure]:
        return self.figures


class BrokenHalfway(ListSink, kw_only=True):
    def measures(self) -> Iterable[Measure]:
        yield Measure("good_bytes", "Good.", "gauge", 1)
        raise RuntimeError("broken")


class Mute(ListSource, kw_only=True):
    def lag(self) -> int:
        raise RuntimeError("asked at a bad moment")


class SlowCommit(ListSink, kw_only=True):
    """Takes so many seconds to flush."""

    seconds: float = 0.0

    def flush(self) -> Position:
        clock = self.context.clock
        assert isinstance(clock, HandClock)
        clock.now += self.seconds
        return super().flush()


Key = tuple[str, tuple[tuple[str, str], ...]]


class Page:
    """A page, parsed, and what it says of the pipeline `audit`."""

    def __init__(self, *pipelines: Pipeline) -> None:
        self.text = exposition(pipelines).decode()
        self.families = {family.name: family for family in text_string_to_metric_families(self.text)}
        samples = [sample for family in self.families.values() for sample in family.samples]
        self.series: dict[Key, float] = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples
        }
        assert len(self.series) == len(samples)

    def value(self, name: str, **labels: str) -> float:
        return self.series[(f"tailrace_{name}", tuple(sorted({"pipeline": "audit", **labels}.items())))]

    def has(self, name: str) -> bool:
        return any(key[0] == f"tailrace_{name}" for key in self.series)

    def state(self) -> str:
        """The one state that is 1."""
        (state,) = [
            dict(labels)["state"]
            for (name, labels), value in self.series.items()
            if name == "tailrace_pipeline_state" and value == 1
        ]
        return state


def pipeline(
    directory: Path,
    *sinks: Sink,
    source: Source | None = None,
    filters: Sequence[Filter] = (),
    clock: Clock | None = None,
    name: str = "audit",
    commit_bytes: int = 30,
) -> Pipeline:
    return Pipeline(
        Context(pipeline=name, state_dir=directory / name, clock=clock or Clock()),
        source or ListSource(lines=LINES),
        filters,
        {str(number): sink for number, sink in enumerate(sinks or [ListSink()])},
        commit_bytes=commit_bytes,
    )


def run(made: Pipeline) -> Page:
    made.run(threading.Event(), once=True)
    return Page(made)


def errors(page: Page) -> dict[str, float]:
    """How many figures of each stage are missing."""
    return {
        dict(labels)["stage"]: value
        for (name, labels), value in page.series.items()
        if name == "tailrace_scrape_errors"
    }


# What it says


def test_counters_say_what_became_of_the_events(tmp_path: Path) -> None:
    lines = [*LINES, b"not json", b"", b"[1]"]
    page = run(pipeline(tmp_path, source=ListSource(lines=lines), filters=[KeepOdd(), RefuseSeven()]))
    assert page.value("events_in_total") == 13
    assert page.value("bytes_in_total") == sum(map(len, lines)) + 13
    assert page.value("events_dropped_total") == 5
    assert page.value("events_out_total") == 4
    assert {kind: page.value("dead_letters_total", kind=kind) for kind in REJECT_KINDS} == {
        "not_json": 2,
        "not_an_object": 1,
        "unreadable": 0,
        "too_long": 0,
        "damaged": 0,
        "cannot_change": 0,
        "filter": 1,
        "refused": 0,
    }


def test_histogram_counts_every_commit_in_the_range_of_its_duration(tmp_path: Path) -> None:
    made = pipeline(tmp_path, SlowCommit(seconds=0.2), clock=HandClock())
    page = run(made)
    commits = made.counts.commits
    assert commits > 1
    assert page.value("commits_total") == page.value("commit_duration_seconds_count") == commits
    assert page.value("commit_duration_seconds_bucket", le="0.1") == 0
    assert page.value("commit_duration_seconds_bucket", le="0.25") == commits
    assert page.value("commit_duration_seconds_bucket", le="+Inf") == commits
    assert page.value("commit_duration_seconds_sum") == pytest.approx(0.2 * commits)


def test_histogram_reaches_from_a_millisecond_to_half_a_minute(tmp_path: Path) -> None:
    made = pipeline(tmp_path)
    for seconds in (0.001, 30.0, 31.0):
        made.counts.commit_seconds.add(seconds)
    page = Page(made)
    assert page.value("commit_duration_seconds_bucket", le="0.001") == 1
    assert page.value("commit_duration_seconds_bucket", le="10.0") == 1
    assert page.value("commit_duration_seconds_bucket", le="30.0") == 2
    assert page.value("commit_duration_seconds_bucket", le="+Inf") == 3


def test_time_of_the_last_commit_is_there_after_the_first_one(tmp_path: Path) -> None:
    made = pipeline(tmp_path, clock=HandClock())
    assert not Page(made).has("last_commit_timestamp_seconds")
    assert run(made).value("last_commit_timestamp_seconds") == 1_700_000_000.0


def test_lag_in_bytes_is_what_the_source_says(tmp_path: Path) -> None:
    source = ListSource(lines=LINES)
    made = pipeline(tmp_path, source=source)
    source.open({"next": 8})
    assert Page(made).value("lag_bytes") == 2 * len(b'{"n":8}\n')


def test_version_and_figures_of_the_process_are_there(tmp_path: Path) -> None:
    page = Page(pipeline(tmp_path))
    assert page.series[("tailrace_build_info", (("version", __version__),))] == 1
    for name in ("process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"):
        assert page.series[(name, ())] > 0


def test_every_figure_of_ours_follows_the_naming_rules(tmp_path: Path) -> None:
    for family in Page(pipeline(tmp_path)).families.values():
        assert re.fullmatch(r"tailrace_[a-z_]+|process_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        names = {sample.name for sample in family.samples}
        assert all(name.endswith("_total") for name in names) == (family.type == "counter")


def test_pipelines_share_a_page_and_keep_apart(tmp_path: Path) -> None:
    first, second = pipeline(tmp_path), pipeline(tmp_path, name="other")
    run(first)
    page = Page(first, second)
    assert page.value("events_in_total") == 10
    assert page.value("events_in_total", pipeline="other") == 0


# States and ages


def test_state_follows_the_life_of_a_pipeline(tmp_path: Path) -> None:
    seen: list[str] = []
    stop = threading.Event()

    class FailsOnce(ListSink, kw_only=True):
        def open(self, position: Position | None) -> None:
            super().open(position)
            seen.append(Page(made).state())

        def flush(self) -> Position:
            seen.append(Page(made).state())
            if len(seen) == 2:
                raise Retry("the disk is full")
            stop.set()
            return super().flush()

    made = pipeline(tmp_path, FailsOnce())
    made.run(stop)
    assert seen == ["starting", "running", "recovering", "recovering"]
    assert Page(made).state() == "ended"
    assert Page(made).value("recoveries_total") == 1


def test_pipeline_that_fails_at_rest_stays_recovering_until_it_does_not(tmp_path: Path) -> None:
    seen: list[str] = []
    stop = threading.Event()

    class Quiet(ListSource, kw_only=True):
        """Gives one event and then nothing; the first two times it cannot forget what is covered."""

        def read(self, timeout: float) -> Batch | None:
            seen.append(made.condition.state)
            if made.counts.recoveries == 2 and seen[-1] == "running":
                stop.set()
            return None if made.counts.events_in else Batch([b"{}"], position={"next": 1})

        def commit(self, position: Position) -> None:
            if made.counts.recoveries < 2:
                raise Retry("the disk is full")

    made = pipeline(tmp_path, source=Quiet(lines=[]), commit_bytes=1)
    made.run(stop)
    assert seen == ["running", "running", "recovering", "recovering", "running"]


def test_condition_has_the_last_cause_and_the_time_of_the_first(tmp_path: Path) -> None:
    made = pipeline(tmp_path, clock=HandClock())
    made.enter("recovering", "the disk is full")
    first = made.condition
    made.enter("recovering", "the disk is gone")
    assert made.condition == first._replace(cause="the disk is gone")


def test_uncommitted_event_keeps_its_age_through_recoveries_until_it_is_committed(tmp_path: Path) -> None:
    ages: list[float] = []
    clock, stop = HandClock(), threading.Event()

    class FailsOnce(ListSink, kw_only=True):
        def flush(self) -> Position:
            clock.now += 20
            ages.append(Page(made).value("uncommitted_seconds"))
            if len(ages) == 1:
                raise Retry("the disk is full")
            stop.set()
            return super().flush()

    made = pipeline(tmp_path, FailsOnce(), clock=clock, commit_bytes=10_000)
    assert Page(made).value("uncommitted_seconds") == 0
    made.run(stop)
    assert ages == [20, 40]
    assert Page(made).value("uncommitted_seconds") == 0


@pytest.mark.parametrize(
    ("backlog", "grows", "least", "most"), [(0, 0, 1.0, 2.5), (300, 0, 10.0, 25.0), (0, 30, 55.0, 61.0)]
)
def test_lag_in_seconds_is_small_while_a_busy_pipeline_keeps_up_and_rises_when_it_does_not(
    tmp_path: Path, backlog: int, grows: int, least: float, most: float
) -> None:
    clock, stop = HandClock(), threading.Event()
    ages: list[float] = []

    class Flow(ListSource, kw_only=True):
        """Gives 3 bytes each 100 ms for a minute, and each time has the next ones and a backlog."""

        def read(self, timeout: float) -> Batch | None:
            clock.now += 0.1
            ages.append(Page(made).value("lag_seconds"))
            if len(ages) == 600:
                stop.set()
            return Batch([b"{}"], position={"next": len(ages)})

        def lag(self) -> int:
            return backlog + grows * len(ages)

    made = pipeline(tmp_path, source=Flow(lines=[]), clock=clock, commit_bytes=10_000)
    made.run(stop)
    assert least <= max(ages[300:]) <= most


def test_lag_in_seconds_begins_anew_when_all_is_read_and_committed(tmp_path: Path) -> None:
    ages: list[float] = []
    clock, stop = HandClock(), threading.Event()

    class Quiet(ListSource, kw_only=True):
        """Gives one event and then nothing; each look takes 5 seconds."""

        def read(self, timeout: float) -> Batch | None:
            ages.append(Page(made).value("lag_seconds"))
            clock.now += 5
            if len(ages) == 4:
                stop.set()
            return Batch([b"{}"], position={"next": 1}) if len(ages) == 1 else None

    made = pipeline(tmp_path, source=Quiet(lines=[]), clock=clock)
    clock.now += 7
    made.run(stop)
    assert ages == [7, 12, 0, 0]  # until the first commit: since the start
    clock.now += 100
    assert Page(made).value("lag_seconds") == 0  # for it has ended


def test_lag_in_seconds_counts_on_when_the_pipeline_has_failed(tmp_path: Path) -> None:
    class Robbed(ListSink, kw_only=True):
        def open(self, position: Position | None) -> None:
            raise Damaged("the file is gone")

    clock = HandClock()
    made = pipeline(tmp_path, Robbed(), clock=clock)
    with pytest.raises(PipelineFailed):
        made.run(threading.Event())
    made.enter("failed", "the file is gone")
    clock.now += 100
    assert Page(made).value("lag_seconds") == 100
    assert Page(made).state() == "failed"


def test_mark_is_forgotten_when_the_position_goes_back() -> None:
    freshness = Freshness(0.0)
    freshness.note_commit(10.0, 100, lag=500)
    freshness.go_back()  # and so 600 bytes come to be read that are none of those 500
    freshness.note_commit(20.0, 600, lag=500)
    assert freshness.at == 0.0
    freshness.note_commit(30.0, 1100, lag=0)
    assert freshness.at == 20.0


def test_lag_that_the_source_cannot_tell_stops_nobody(tmp_path: Path) -> None:
    page = run(pipeline(tmp_path, source=Mute(lines=LINES)))
    assert page.value("events_out_total") == 10
    assert not page.has("lag_bytes")
    assert page.value("refusing") == 0
    assert errors(page) == {"mute": 1, "list_sink": 0}


# Events


def test_hostile_events_change_no_name_and_no_label(tmp_path: Path) -> None:
    hostile = HOSTILE.encode()
    values = [hostile, b'"},{"', b"{pipeline='x'}", b"\xff\x00", b"a" * 100_000]
    lines = [b'{"n":7,"' + value + b'":"' + value + b'"}' for value in values]
    lines += [b'{"n":"%s"}' % value.replace(b'"', b'\\"').replace(b"\n", b"\\n") for value in values]
    harmless = run(pipeline(tmp_path / "a", filters=[RefuseSeven()]))
    page = run(pipeline(tmp_path / "b", source=ListSource(lines=[*lines, *values]), filters=[RefuseSeven()]))
    assert page.value("dead_letters_total", kind="not_json") > 0
    assert page.series.keys() == harmless.series.keys()
    assert "forged" not in page.text


# Figures of the stages


def test_stages_give_figures_of_their_own_with_pipeline_and_stage(tmp_path: Path) -> None:
    made = pipeline(
        tmp_path,
        Telling(
            figures=[
                Measure("sink_files", "Files.", "gauge", 3),
                Measure("sink_requests_total", "Requests.", "counter", 5, {"code": "200"}),
                Measure("sink_requests_total", "Requests.", "counter", 1, {"code": "503"}),
            ]
        ),
        Telling(figures=[Measure("sink_files", "Files.", "gauge", 4)]),
    )
    page = Page(made)
    assert page.value("sink_files", stage="telling") == 3
    assert page.value("sink_files", stage="telling-2") == 4
    assert page.value("sink_requests_total", stage="telling", code="200") == 5
    assert page.value("sink_requests_total", stage="telling", code="503") == 1
    assert page.families["tailrace_sink_requests"].documentation == "Requests."
    assert errors(page) == {"list_source": 0, "telling": 0, "telling-2": 0}


def test_value_of_a_label_is_escaped(tmp_path: Path) -> None:
    figure = Measure("odd_bytes", HOSTILE, "gauge", 1, {"path": HOSTILE})
    page = Page(pipeline(tmp_path, Telling(figures=[figure])))
    assert page.value("odd_bytes", stage="telling", path=HOSTILE) == 1


def test_figures_of_a_stage_that_breaks_halfway_are_left_out_and_the_page_comes(tmp_path: Path) -> None:
    page = Page(pipeline(tmp_path, BrokenHalfway()))
    assert not page.has("good_bytes")
    assert page.value("events_in_total") == 0
    assert errors(page) == {"list_source": 0, "broken_halfway": 1}


@pytest.mark.parametrize(
    "figure",
    [
        Measure("good_bytes", "Twice.", "gauge", 2),
        Measure("good_bytes", "Other labels.", "gauge", 2, {"path": "a"}),
        Measure("good_bytes", "Other kind.", "counter", 2),
        Measure("bad_total", "No counter.", "gauge", 2),
        Measure("bad_bytes", "No gauge.", "counter", 2),
        Measure("events_in_total", "Ours.", "counter", 2),
        Measure("lag_bytes", "Ours.", "gauge", 2),
        Measure("pipeline_state", "Ours.", "gauge", 2, {"state": "fine"}),
        Measure("scrape_errors", "Ours.", "gauge", 2),
        Measure("commit_duration_seconds_count", "Ours.", "gauge", 2),
        Measure("bad name", "No name.", "gauge", 2),
        Measure("", "No name.", "gauge", 2),
        Measure("Bad", "No name.", "gauge", 2),
        Measure("bad_bytes", "No label.", "gauge", 2, {"a-b": "c"}),
        Measure("bad_bytes", "No label.", "gauge", 2, {"__name__": "c"}),
        Measure("bad_bytes", "\ud800", "gauge", 2),
        Measure("bad_bytes", "No UTF-8.", "gauge", 2, {"path": "\udcff"}),
        Measure._make(["bad_bytes", "No number.", "gauge", "many", {}]),
        "no measure",
    ],
)
def test_figure_that_cannot_be_shown_is_counted_and_costs_no_other(tmp_path: Path, figure: Measure) -> None:
    good = [Measure("good_bytes", "Good.", "gauge", 1), figure, Measure("more_bytes", "Good.", "gauge", 1)]
    page = Page(pipeline(tmp_path, Telling(figures=good)))
    assert page.value("good_bytes", stage="telling") == 1
    assert page.value("more_bytes", stage="telling") == 1
    assert not page.has("bad_bytes")
    assert errors(page) == {"list_source": 0, "telling": 1}
