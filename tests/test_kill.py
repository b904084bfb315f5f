"""The real process, killed with SIGKILL at random moments while another one writes and rotates the log."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from log_writer import event
from members import look

PIPELINE = "audit-by-namespace"
KILLS = 50
CONFIG = Path(__file__).parents[1] / "configs" / "audit-by-namespace.yaml"
WRITER = Path(__file__).with_name("log_writer.py")


class Machine:
    """A log that is written, an output directory, and the collector's process."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "log" / "audit.log"
        self.log.parent.mkdir()
        self.out = directory / "out"
        self.state = directory / "state"
        self.environment = os.environ | {
            "AUDIT_LOG": str(self.log),
            "OUT_DIR": str(self.out),
            "STATE_DIR": str(self.state),
        }
        self.stop = directory / "stop"
        self.writer = subprocess.Popen(
            [sys.executable, str(WRITER), str(self.log), str(self.stop), str(2 << 20), "2000000"],
            stdout=subprocess.PIPE,
            text=True,
        )

    def collector(self, *options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "tailrace", "run", *options, str(CONFIG)],
            env=self.environment,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> tuple[int, int]:
        """Let the writer end; give the numbers of events and rotations."""
        self.stop.touch()
        output, _ = self.writer.communicate(timeout=30)
        events, rotations = output.split()
        return int(events), int(rotations)

    def kill_writer(self) -> None:
        self.writer.kill()
        self.writer.wait()
        if self.writer.stdout:
            self.writer.stdout.close()

    def check(self, events: int) -> None:
        """Compare the output with what the writer wrote."""
        expected: dict[str, list[bytes]] = {}
        for number in range(events):
            namespace, line = event(number)
            expected.setdefault(namespace, []).append(line)
        found: dict[str, list[bytes]] = {}
        for path in sorted(self.out.glob("*.gz")):  # by hour, and hours only go up
            found.setdefault(path.name.removeprefix("audit-").split(".")[0], []).extend(
                gzip.decompress(path.read_bytes()).splitlines()
            )
        for namespace, lines in expected.items():
            there = found.pop(namespace, [])
            lost, extra = len(set(lines) - set(there)), len(there) - len(set(there))
            assert (lost, extra) == (0, 0), f"{namespace}: {lost} lost, {extra} repeated"
            in_order = there == lines
            assert in_order, namespace
        assert not found


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.kill_writer()


def test_fifty_kills_under_full_load_lose_nothing_and_repeat_nothing(machine: Machine) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    timer = threading.Event()
    looks = torn = 0
    for _ in range(KILLS):
        process = machine.collector()
        timer.wait(rng.uniform(0.05, 1.2))  # the random moment itself, not a wait for something
        process.send_signal(signal.SIGKILL)
        process.wait()
        files, cut = look(machine.out, machine.state / PIPELINE)
        looks += files
        torn += cut
    events, rotations = machine.close()
    assert machine.collector("--once").wait(timeout=120) == 0
    print(f"{events} events, {rotations} rotations, {looks} files looked at, {torn} of them with a member in flight")
    machine.check(events)
    assert rotations > 5
    assert look(machine.out, machine.state / PIPELINE)[1] == 0
