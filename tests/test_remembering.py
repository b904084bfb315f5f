"""What filters remember is as exact as what sinks write: whatever dies, and whenever."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tailrace.checkpoint import CURRENT, PREVIOUS, Checkpoint
from tailrace.context import Context
from tailrace.durable import Disk
from tailrace.faults import Crash, FaultyDisk
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.remembering import Remembering
from tailrace.stage import Filter
from tailrace.testing import ListSink, ListSource, apply, check_remembering_filter
from tailrace_plugins.filters.dedupe import Dedupe
from tailrace_plugins.filters.drop import Drop
from tailrace_plugins.filters.throttle import Throttle
from tailrace_plugins.sinks.file import File
from tailrace_plugins.sources.tail import Tail


def event(number: int) -> bytes:
    time = f"2026-11-23T05:00:{number // 4:02}.000000Z"
    return json.dumps({"id": number % 7, "user": "ab"[number % 2], "stageTimestamp": time}).encode()


EVENTS = [event(number) for number in range(30)]


def filters() -> list[Filter]:
    return [Dedupe(fields=["id"], window="3s"), Throttle(fields=["user"], rate=1, per="1s")]


EXPECTED = apply(filters(), EVENTS).lines


class World:
    """A log, a file, and a state directory; `run` is one life of the process."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.log = directory / "audit.log"
        self.out = directory / "out.log"
        self.state = directory / "state"
        self.log.write_bytes(b"".join(line + b"\n" for line in EVENTS))

    def run(self, disk: Disk) -> None:
        source = Tail(paths=[str(self.log)], block_bytes=300, watch=False)
        context = Context(pipeline="audit", state_dir=self.state, disk=disk)
        pipeline = Pipeline(context, source, filters(), {"file": File(path=str(self.out))}, commit_bytes=1, workers=2)
        pipeline.run(threading.Event(), once=True)

    def live(self, disk: FaultyDisk) -> bool:
        try:
            self.run(disk)
            return True
        except (Crash, PipelineFailed):
            return False
        finally:
            disk.lose_unsynced()


def test_something_goes_on_and_something_does_not() -> None:
    assert 5 < len(EXPECTED) < 20


@pytest.mark.parametrize("damaged", [False, True])
def test_death_at_every_operation_changes_no_answer(tmp_path: Path, damaged: bool) -> None:
    for operation in range(1, 1000):
        world = World(tmp_path / str(operation))
        finished = world.live(FaultyDisk(operation, seed=operation))
        if damaged and (world.state / PREVIOUS).exists() and (world.state / CURRENT).exists():
            (world.state / CURRENT).write_bytes(bytes(300))
        world.run(Disk())
        assert world.out.read_bytes().splitlines() == EXPECTED, operation
        if finished:
            assert operation > 50
            return
    raise AssertionError("it never ran to its end")


def test_names_stay_the_same_as_long_as_the_options_do() -> None:
    def names(*stages: Filter) -> list[str]:
        return list(Remembering(stages).states())

    one, same, other = Dedupe(fields=["a"]), Dedupe(fields=["a"]), Dedupe(fields=["b"])
    (name,) = names(one)
    assert names(Drop(when="a == 1"), one) == [name]
    assert names(other, same) == [*names(other), name]
    assert names(other) != [name]
    assert names(one, same) == [name, f"{name}-2"]


def test_a_filter_that_is_gone_from_the_config_is_forgotten(tmp_path: Path) -> None:
    def remembered(count: int, *stages: Filter) -> list[str]:
        context = Context(pipeline="audit", state_dir=tmp_path)
        pipeline = Pipeline(context, ListSource(lines=EVENTS[:count]), stages, {"list": ListSink()})
        pipeline.run(threading.Event(), once=True)
        state = Checkpoint(context).load()
        assert state is not None
        return list(state.filters)

    both = remembered(10, *filters())
    assert both == list(Remembering(filters()).states())
    assert remembered(20, filters()[1]) == both[1:]
    assert remembered(30) == []


def test_what_a_filter_remembers_of_rejected_events_does_not_stop_their_replay(tmp_path: Path) -> None:
    log, config = tmp_path / "audit.log", tmp_path / "config.yaml"
    lines = [b'{"id":%d,"code":"x"}' % (number // 2) for number in range(6)]
    log.write_bytes(b"".join(line + b"\n" for line in lines))

    def tailrace(condition: str, *command: str) -> None:
        config.write_text(
            json.dumps(
                {
                    "state_dir": str(tmp_path / "state"),
                    "pipelines": {
                        "audit": {
                            "schema": "any",
                            "source": {"type": "tail", "paths": [str(log)]},
                            "filters": [{"type": "dedupe", "fields": ["id"]}, {"type": "keep", "when": condition}],
                            "sinks": [{"type": "file", "path": str(tmp_path / "out.log")}],
                        }
                    },
                }
            )
        )
        arguments = [sys.executable, "-m", "tailrace", *command[:2], str(config), *command[2:]]
        result = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
        assert result.returncode == 0, result.stderr

    tailrace("code > 1", "run", "--once")
    assert not (tmp_path / "out.log").exists()
    tailrace('code == "x"', "dead-letter", "replay", "audit")
    assert (tmp_path / "out.log").read_bytes().splitlines() == lines[::2]
    with log.open("ab") as file:
        file.write(lines[0] + b"\n" + b'{"id":9,"code":"x"}\n')
    tailrace('code == "x"', "run", "--once")
    assert (tmp_path / "out.log").read_bytes().splitlines() == [*lines[::2], b'{"id":9,"code":"x"}']


def test_the_contract_is_checked() -> None:
    class Forgetful(Throttle):
        def state(self) -> dict[str, int]:
            return {}

    check_remembering_filter(lambda: filters()[1], EVENTS)
    with pytest.raises(AssertionError, match="in batches of 1 events, other events go on"):
        check_remembering_filter(lambda: Forgetful(rate=1, per="1m"), EVENTS)
    with pytest.raises(AssertionError, match="is not one_worker"):
        check_remembering_filter(lambda: Drop(when="a == 1"), EVENTS)
