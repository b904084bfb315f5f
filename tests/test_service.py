"""The service: pipelines side by side, how they end, and how they are told to."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tailrace.batch import Batch, Position
from tailrace.config import Plan
from tailrace.service import Service
from tailrace.stage import Damaged, Filter, Retry, Sink, Source
from tailrace.testing import ListSink, ListSource

LINES = [b'{"n":%d}' % n for n in range(10)]


class Endless(Source, kw_only=True):
    """Gives nothing until it is woken; `opened` tells that it waits."""

    def __post_init__(self) -> None:
        self.opened = threading.Event()
        self.woken = threading.Event()

    def open(self, position: Position | None) -> None:
        self.opened.set()

    def read(self, timeout: float) -> Batch | None:
        self.woken.wait(30)
        return None

    def wake(self) -> None:
        self.woken.set()


class Unwakeable(ListSource, kw_only=True):
    def wake(self) -> None:
        raise AttributeError("not open yet")


class Incomplete(ListSource, kw_only=True):
    def incomplete(self) -> Sequence[str]:
        return ["/var/log/kube-audit does not exist; check the path"]


class Unstorable(Source, kw_only=True):
    """Gives a position that no checkpoint can hold."""

    def open(self, position: Position | None) -> None:
        self.given = False

    def read(self, timeout: float) -> Batch | None:
        batch = None if self.given else Batch(list(LINES), position={"next": object()})
        self.given = True
        return batch


class Offline(ListSink, kw_only=True):
    def open(self, position: Position | None) -> None:
        raise Retry("nobody answers")


class Robbed(ListSink, kw_only=True):
    def open(self, position: Position | None) -> None:
        raise Damaged("/var/log/out.log is gone")


class KeepOdd(Filter, kw_only=True):
    def reads(self) -> list[str]:
        return ["n"]

    def apply(self, batch: Batch) -> None:
        batch.keep([n % 2 == 1 for n in batch["n"]])


class Buggy(Filter, kw_only=True):
    def apply(self, batch: Batch) -> None:
        raise KeyError("bug")


class Quitting(Filter, kw_only=True):
    def apply(self, batch: Batch) -> None:
        raise SystemExit(0)


def make_plan(
    tmp_path: Path, name: str, *, source: Source | None = None, filters: Sequence[Filter] = (), sink: Sink
) -> Plan:
    return Plan(
        name=name,
        file="tailrace.yaml",
        state_dir=tmp_path,
        source=source or ListSource(lines=LINES),
        filters=tuple(filters),
        sinks={"list": sink},
        commit_interval=1.0,
    )


def logged(caplog: pytest.LogCaptureFixture, pipeline: str, message: str) -> list[dict[str, Any]]:
    """Give the attributes of each record of a pipeline whose message starts so."""
    return [
        vars(record)
        for record in caplog.records
        if record.name == f"tailrace.{pipeline}" and record.getMessage().startswith(message)
    ]


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="tailrace")


def test_every_pipeline_runs_to_the_end_of_its_input(tmp_path: Path) -> None:
    sinks = {name: ListSink() for name in ("a", "b", "c")}
    service = Service([make_plan(tmp_path, name, sink=sink) for name, sink in sinks.items()])
    assert service.run(once=True) == 0
    assert all(sink.written == LINES for sink in sinks.values())


def test_each_pipeline_has_a_directory_of_its_own_below_the_state_directory(tmp_path: Path) -> None:
    Service([make_plan(tmp_path, name, sink=ListSink()) for name in ("a", "b")]).run(once=True)
    assert sorted(path.parent.name for path in tmp_path.glob("*/checkpoint.json")) == ["a", "b"]


def test_end_of_a_pipeline_is_logged_with_its_figures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = ListSource(lines=[*LINES, b"not json"])
    plan = make_plan(tmp_path, "audit", source=source, sink=ListSink(), filters=[KeepOdd()])
    Service([plan]).run(once=True)

    (ended,) = logged(caplog, "audit", "pipeline ended")
    figures = {key: ended[key] for key in ("events_in", "events_out", "dropped", "dead_letters", "bytes")}
    assert figures == {
        "events_in": 11,
        "events_out": 5,
        "dropped": 5,
        "dead_letters": 1,
        "bytes": sum(map(len, source.lines)) + 11,
    }
    assert ended["seconds"] >= 0
    assert ended["events_per_s"] >= 0
    assert len(logged(caplog, "audit", "pipeline started")) == 1


def test_bug_in_a_stage_ends_its_pipeline_and_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = ListSink(), ListSink()
    service = Service([make_plan(tmp_path, "bad", filters=[Buggy()], sink=bad), make_plan(tmp_path, "good", sink=good)])
    assert service.run(once=True) == 1
    assert good.written == LINES
    assert bad.written == []
    (failed,) = logged(caplog, "bad", "pipeline failed by a bug")
    assert failed["stage"] == "Buggy"
    assert failed["exc_info"][0] is KeyError


def test_stage_that_calls_exit_is_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    service = Service([make_plan(tmp_path, "audit", filters=[Quitting()], sink=ListSink())])
    assert service.run() == 1
    assert logged(caplog, "audit", "pipeline failed by a bug")[0]["stage"] == "Quitting"


def test_bug_that_shows_outside_of_any_stage_names_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = make_plan(tmp_path, "audit", source=Unstorable(), sink=ListSink())
    assert Service([plan]).run(once=True) == 1
    assert logged(caplog, "audit", "pipeline failed by a bug")[0]["stage"] is None


def test_damage_fails_the_pipeline_with_its_cause(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Service([make_plan(tmp_path, "audit", sink=Robbed())]).run() == 1
    assert logged(caplog, "audit", "pipeline failed")[0]["cause"] == "/var/log/out.log is gone"


def test_input_that_is_incomplete_at_the_end_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = make_plan(tmp_path, "audit", source=Incomplete(lines=LINES), sink=ListSink())
    assert Service([plan]).run(once=True) == 1
    (error,) = logged(caplog, "audit", "input is incomplete")
    assert error["cause"] == "/var/log/kube-audit does not exist; check the path"


def test_incomplete_input_is_no_error_for_a_pipeline_that_goes_on_waiting(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, "audit", source=Incomplete(lines=LINES), sink=ListSink())
    assert Service([plan]).run() == 0


def test_stop_wakes_every_source_and_ends_well(tmp_path: Path) -> None:
    sources = {"a": Endless(), "b": Endless()}
    service = Service([make_plan(tmp_path, name, source=each, sink=ListSink()) for name, each in sources.items()])

    def stop_when_all_wait() -> None:
        for source in sources.values():
            assert source.opened.wait(30)
        service.stop()

    stopper = threading.Thread(target=stop_when_all_wait)
    stopper.start()
    assert service.run() == 0
    stopper.join()
    assert service.stopping
    assert all(source.woken.is_set() for source in sources.values())


def test_source_that_cannot_be_woken_does_not_hinder_the_stop(tmp_path: Path) -> None:
    service = Service(
        [
            make_plan(tmp_path, "a", source=Unwakeable(lines=LINES), sink=Offline()),
            make_plan(tmp_path, "b", source=Endless(), sink=ListSink()),
        ]
    )
    service.stop()
    assert service.run() == 1  # for a pipeline that recovers may have something left to commit


def test_run_to_the_end_that_is_stopped_before_is_not_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    service = Service([make_plan(tmp_path, "audit", sink=ListSink())])
    service.stop()
    assert service.run(once=True) == 1
    assert "run it again" in logged(caplog, "audit", "input is incomplete")[0]["cause"]


def test_tick_is_called_while_pipelines_run(tmp_path: Path) -> None:
    source = Endless()
    service = Service([make_plan(tmp_path, "audit", source=source, sink=ListSink())])
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 2:
            service.stop()

    assert service.run(tick=tick) == 0
    assert ticks >= 2


def test_failure_of_the_waiting_thread_stops_the_pipelines(tmp_path: Path) -> None:
    source = Endless()
    service = Service([make_plan(tmp_path, "audit", source=source, sink=ListSink())])

    def tick() -> None:
        source.woken.set()
        raise RuntimeError("terminal gone")

    with pytest.raises(RuntimeError, match="terminal gone"):
        service.run(tick=tick)
    assert not [thread for thread in threading.enumerate() if thread.name == "audit"]


def test_checkpoints_of_a_stopped_service_are_where_the_next_one_goes_on(tmp_path: Path) -> None:
    sink = ListSink()
    Service([make_plan(tmp_path, "audit", source=ListSource(lines=LINES[:4]), sink=sink)]).run(once=True)
    again = ListSink()
    again.written = list(sink.written)
    again.tags = list(sink.tags)
    Service([make_plan(tmp_path, "audit", sink=again)]).run(once=True)
    assert again.written == LINES
    state = json.loads((tmp_path / "audit" / "checkpoint.json").read_bytes().splitlines()[1])
    assert state["source"] == {"next": len(LINES)}
