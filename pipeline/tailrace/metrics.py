"""The figures of all pipelines in Prometheus' text format, gathered when somebody asks for them.

A pipeline counts in plain numbers (`condition.py`); here they get names, and nowhere else. Names begin with
`tailrace_`, and every figure has the label `pipeline`. Those of a stage's own (`Stage.measures`) have the label `stage`
too: the name of its type, numbered from the second of them on. No label holds a value that comes from an event.

A stage is not trusted to be right: a figure that cannot be had or shown is left out and counted in
`tailrace_scrape_errors`, and the rest of the page comes all the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Final

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from tailrace import __version__
from tailrace.condition import PIPELINE_STATES
from tailrace.pipeline import Pipeline
from tailrace.registry import stage_name
from tailrace.stage import Measure, Source, Stage

_PREFIX: Final = "tailrace_"
_COMMIT_DURATION: Final = "commit_duration_seconds"
_SCRAPE_ERRORS: Final = "scrape_errors"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def exposition(pipelines: Sequence[Pipeline]) -> bytes:
    """Give the figures of the pipelines and of the process; may be called in any thread, at any time."""
    registry = CollectorRegistry()
    registry.register(_PipelineCollector(pipelines))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _PipelineCollector(Collector):
    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self._pipelines = pipelines

    def collect(self) -> Iterable[Metric]:
        page = _Page()
        durations = HistogramMetricFamily(
            _PREFIX + _COMMIT_DURATION, "How long commits took, from the first write to the last.", labels=["pipeline"]
        )
        errors = GaugeMetricFamily(
            _PREFIX + _SCRAPE_ERRORS,
            "How many of the stage's figures could not be had or shown this time.",
            labels=["pipeline", "stage"],
        )
        for pipeline in self._pipelines:
            name = pipeline.context.pipeline
            for measure in _measures(pipeline):
                page.add(measure, {"pipeline": name})
            for number, stage in _numbered(pipeline.stages):
                errors.add_metric([name, number], _add_stage(page, stage, name, number))
            commits = pipeline.counts.commit_seconds
            bounds = [*map(str, commits.bounds), "+Inf"]
            durations.add_metric([name], list(zip(bounds, accumulate(commits.counts), strict=True)), commits.sum)
        yield InfoMetricFamily(f"{_PREFIX}build", "The version of tailrace.", {"version": __version__})
        yield from page.families.values()
        yield durations
        yield errors


class _Page:
    """Figures by name, each with each set of labels once."""

    def __init__(self) -> None:
        self.families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        self._shapes: dict[str, tuple[str, ...]] = {}  # by name: the kind, and the names of the labels
        self._taken: set[tuple[str, ...]] = set()

    def add(self, measure: Measure, labels: Mapping[str, str]) -> None:
        """Add one figure; raises if it is not well formed, or does not fit those that are there already."""
        name, kind, value = measure.name, measure.kind, float(measure.value)
        labels = dict(sorted({**measure.labels, **labels}.items()))
        if not all(map(_NAME.fullmatch, (name, *labels))) or name.startswith((_COMMIT_DURATION, _SCRAPE_ERRORS)):
            raise ValueError(f"{name} with the labels {', '.join(labels)} is not what a figure can be called")
        if (kind == "counter") != name.endswith("_total"):
            raise ValueError(f"{name} is a {kind}; counters end in _total, and nothing else does")
        "".join((measure.help, *labels.values())).encode()  # raises if it cannot be written
        shape, series = (kind, *labels), (name, *labels.values())
        if self._shapes.setdefault(name, shape) != shape or series in self._taken:
            raise ValueError(f"{name} is there already")
        self._taken.add(series)
        if name not in self.families:
            make = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            self.families[name] = make(_PREFIX + name, measure.help, labels=list(labels))
        self.families[name].add_metric(list(labels.values()), value)


def _measures(pipeline: Pipeline) -> Iterator[Measure]:
    """Give what the framework knows about a pipeline."""
    counts, condition = pipeline.counts, pipeline.condition
    again = "Those read again after a recovery count again."
    yield Measure("events_in_total", f"Events that the source gave. {again}", "counter", counts.events_in)
    yield Measure("bytes_in_total", f"Bytes of these events. {again}", "counter", counts.bytes_in)
    yield Measure("events_out_total", f"Events that passed the filters. {again}", "counter", counts.events_out)
    yield Measure("events_dropped_total", f"Events that filters dropped. {again}", "counter", counts.dropped)
    for kind, count in counts.dead_letters.items():
        about = f"Events that can never be processed and went to the dead letter, by kind of reason. {again}"
        yield Measure("dead_letters_total", about, "counter", count, {"kind": kind})
    yield Measure("commits_total", "Commits.", "counter", counts.commits)
    about = "How often the pipeline went back to its checkpoint because the outside world (disk, network) failed."
    yield Measure("recoveries_total", about, "counter", counts.recoveries)
    if counts.committed_at is not None:
        about = "When the last commit was done, since the process started; it is not there before the first one."
        yield Measure("last_commit_timestamp_seconds", about, "gauge", counts.committed_at)
    about = (
        "Age of the oldest event that was read and is not committed, since it was read for the first time; "
        "0 if there is none. Above some seconds: commits are slow or fail."
    )
    yield Measure("uncommitted_seconds", about, "gauge", _age(pipeline, counts.uncommitted_since))
    about = (
        "All that the source had so many seconds ago is committed; before the first commit, seconds since the start. "
        "About two commit intervals at most while the pipeline keeps up; rises while it falls behind, recovers, or has "
        "failed; 0 when it has ended."
    )
    fresh_at = None if condition.state == "ended" else pipeline.freshness.at
    yield Measure("lag_seconds", about, "gauge", _age(pipeline, fresh_at))
    for state in PIPELINE_STATES:
        about = "1 for the state in which the pipeline is, 0 for the others."
        yield Measure("pipeline_state", about, "gauge", state == condition.state, {"state": state})


def _age(pipeline: Pipeline, since: float | None) -> float:
    return 0.0 if since is None else max(0.0, pipeline.context.clock.monotonic() - since)


def _add_stage(page: _Page, stage: Stage, pipeline: str, number: str) -> int:
    """Add what a stage says of itself; give how much of it failed."""
    readings: list[tuple[Callable[[], Iterable[Measure]], Mapping[str, str]]] = []
    if isinstance(stage, Source):
        readings += [(partial(read, stage), {"pipeline": pipeline}) for read in (_lag_bytes, _refusing)]
    readings.append((stage.measures, {"pipeline": pipeline, "stage": number}))
    failed = 0
    for read, labels in readings:
        try:
            measures = list(read())
        except Exception:
            measures = []
            failed += 1
        for measure in measures:
            try:
                page.add(measure, labels)
            except Exception:
                failed += 1
    return failed


def _lag_bytes(source: Source) -> Iterator[Measure]:
    yield Measure("lag_bytes", "Bytes that the source knows of and has not given yet.", "gauge", source.lag())


def _refusing(source: Source) -> Iterator[Measure]:
    refuses = source.refusing() is not None
    yield Measure("refusing", "1 while the source refuses what is sent to it, else 0.", "gauge", refuses)


def _numbered(stages: Iterable[Stage]) -> Iterator[tuple[str, Stage]]:
    """Name stages by their type, in the order of the config: `set`, `set-2`."""
    seen: Counter[str] = Counter()
    for stage in stages:
        name = stage_name(type(stage))
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}-{seen[name]}", stage
