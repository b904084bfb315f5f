"""`workers: N` from the outside: the same files as with one, also after deaths of any kind."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from test_crash import World
from test_kill import Machine
from test_main_job import SAMPLE, found
from waiting import wait_until

from tailrace.durable import Disk
from tailrace.faults import FaultyDisk
from tailrace.pipeline import Pipeline
from tailrace_plugins.tailing import log as tailing_log

CONFIG = Path(__file__).parents[1] / "configs" / "audit-by-namespace.yaml"


def write_log(directory: Path) -> Path:
    """Spread the sample over a live file and rotated ones, one of them packed; some lines are no events."""
    directory.mkdir()
    lines = gzip.decompress(SAMPLE.read_bytes()).splitlines(keepends=True)
    lines[100:100] = [b"no JSON\n", b"\xff\n", b"\n", b'{"stageTimestamp":1}\n', b'{"a":"\\ud800"}\n', b"[]\n"]
    quarter = len(lines) // 4
    parts = [b"".join(lines[number * quarter : (number + 1) * quarter if number < 3 else None]) for number in range(4)]
    (directory / "audit-2026-11-23T05-00-00.000.log").write_bytes(parts[0])
    (directory / "audit-2026-11-23T06-00-00.000.log.gz").write_bytes(gzip.compress(parts[1]))
    (directory / "audit-2026-11-23T07-00-00.000.log").write_bytes(parts[2])
    (directory / "audit.log").write_bytes(parts[3])
    return directory / "audit.log"


def run(directory: Path, log: Path, *options: str) -> list[dict[str, object]]:
    """Run to the end of the input; give what was said."""
    environment = os.environ | {
        "AUDIT_LOG": str(log),
        "OUT_DIR": str(directory / "out"),
        "STATE_DIR": str(directory / "state"),
    }
    command = [sys.executable, "-m", "tailrace", "run", "--once", "--log-format", "json", *options, str(CONFIG)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stderr.splitlines()]


def letters(directory: Path) -> list[dict[str, object]]:
    path = directory / "state" / "audit-by-namespace" / "dead-letter.jsonl"
    return [json.loads(line) | {"time": None} for line in path.read_text().splitlines()]


def test_files_and_dead_letters_are_the_same_with_several_workers(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    said = {}
    for workers in ("1", "3"):
        (tmp_path / workers).mkdir()
        said[workers] = run(tmp_path / workers, log, "--workers", workers)[-1]
    assert found(tmp_path / "3") == found(tmp_path / "1")
    assert letters(tmp_path / "3") == letters(tmp_path / "1")
    figures = ("message", "events_in", "events_out", "dead_letters", "bytes")
    assert [said["3"][name] for name in figures] == [said["1"][name] for name in figures]
    assert int(str(said["1"]["dead_letters"])) >= 4


def hands_of(pid: int) -> list[Path]:
    """The processes that work for this one, or did before it died; each by its directory in /proc."""
    return [
        path
        for path in Path("/proc").glob("[0-9]*")
        if _read(path / "comm") == "tailrace-worker\n" and f"TAILRACE_TEST={pid}\0" in _read(path / "environ")
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def test_kills_of_pipeline_and_workers_lose_nothing_repeat_nothing_and_leave_no_process(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    machine = Machine(tmp_path)
    mark = rng.randrange(1 << 60)
    machine.environment["TAILRACE_TEST"] = str(mark)
    timer = threading.Event()
    most = 0
    try:
        for number in range(14):
            process = machine.collector("--workers", "2")
            timer.wait(rng.uniform(0.4, 1.2))  # the random moment itself, not a wait for something
            hands = hands_of(mark)
            most = max(most, len(hands))
            if number % 2 and hands:
                os.kill(int(rng.choice(hands).name), signal.SIGKILL)
                timer.wait(rng.uniform(0.0, 0.8))
            process.send_signal(signal.SIGKILL)
            process.wait()
        events, rotations = machine.close()
        assert machine.collector("--once", "--workers", "2").wait(timeout=120) == 0
    finally:
        machine.kill_writer()
    wait_until(lambda: not hands_of(mark))
    machine.check(events)
    assert rotations > 2
    assert most > 0


class CrewedWorld(World):
    def pipeline(self, disk: Disk, workers: int = 2) -> Pipeline:
        return super().pipeline(disk, workers)


@pytest.mark.parametrize("first", [3, 8])
def test_death_at_durable_operations_with_workers_loses_nothing_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.setattr(tailing_log, "LEAST_SPAN_BYTES", 1)
    monkeypatch.setattr("tailrace.pipeline.SPAN_BYTES", 400)
    for operation in itertools.count(first, 11):
        world = CrewedWorld(tmp_path / str(operation), seed=operation)
        finished = world.live(FaultyDisk(operation, seed=world.seed), power_cut=operation % 2 == 0)
        world.check_committed()
        world.go_on_writing()
        world.run(Disk())
        world.check()
        if finished:
            assert operation > 50
            return
