"""The real process, killed with SIGKILL again and again while all that happens to logs happens to as many of them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from difflib import unified_diff
from itertools import islice
from pathlib import Path

import pytest
from rotating_log import Writer
from rotations import BEHAVIOURS, LOSING, OUT_OF_ORDER
from test_rotation_matrix import losses

TIMES = 60


class Place:
    """A log and a pipeline for each behaviour, all in one process."""

    def __init__(self, directory: Path) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.logs: dict[str, Writer] = {}
        self._directory = directory
        self._said = directory / "said"
        pipelines = {}
        for name in BEHAVIOURS:
            (directory / name).mkdir()
            self.logs[name] = Writer(directory / name / "audit.log", times=TIMES)
            pipelines[name] = {
                "source": {
                    "type": "tail",
                    "paths": [str(self.logs[name].path)],
                    "block_bytes": 3000,
                    "poll_interval": 0.01,
                    "rotate_wait": 0.1,
                },
                "sinks": [{"type": "file", "path": str(self.output(name))}],
            }
        self._config = directory / "config.yaml"  # JSON is YAML
        self._config.write_text(json.dumps({"state_dir": str(directory / "state"), "pipelines": pipelines}))

    def output(self, name: str) -> Path:
        return self._directory / f"{name}.txt"

    def size(self) -> int:
        """Give the bytes of all outputs."""
        return sum(self.output(name).stat().st_size for name in BEHAVIOURS if self.output(name).exists())

    def written(self) -> int:
        """Give the number of lines in all logs."""
        return sum(len(log.lines) for log in self.logs.values())

    def wait_for_more(self, before: int, moment: threading.Event) -> None:
        """Wait until there is more output, but not for ever: it may be as long as before, and other."""
        for _ in range(200):
            if self.size() != before:
                return
            moment.wait(0.01)

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Start the process, after killing the one before."""
        self.kill()
        with self._said.open("ab") as said:
            command = [sys.executable, "-m", "tailrace", "run", *options, str(self._config)]
            self.process = subprocess.Popen(command, stderr=said)
        return self.process

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def said(self, name: str) -> list[str]:
        """Give what was logged about the files of one log."""
        found = []
        for line in self._said.read_text().splitlines():
            if f"/{name}/" in line:
                found.append(line)
        return found


def differences(written: list[bytes], given: list[bytes]) -> list[str]:
    """Show where two lists are not equal."""
    return list(islice(unified_diff(list(map(str, written)), list(map(str, given)), n=1), 20))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.kill()


def test_kills_in_the_middle_of_everything_lose_nothing_and_repeat_nothing(place: Place) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    moment = threading.Event()
    going_on = {name: behaviour(place.logs[name]) for name, behaviour in BEHAVIOURS.items()}
    place.start()
    kills = 0
    while going_on:
        before, lines = place.size(), place.written()
        for name, steps in list(going_on.items()):
            if next(steps, None) is None:
                del going_on[name]
        if rng.random() < 0.5 and place.written() > lines:
            place.wait_for_more(before, moment)
        moment.wait(rng.uniform(0, 0.1))  # the random moment itself, not a wait for something
        if rng.random() < 0.7:
            kills += 1
            place.start()
    assert place.start("--once").wait(timeout=60) == 0
    assert place.start("--once").wait(timeout=60) == 0
    for name, log in place.logs.items():
        print(name)
        given = place.output(name).read_bytes().splitlines()
        written = [line.text for line in log.lines]
        lost = losses(log.lines, given) if name in LOSING | OUT_OF_ORDER else []
        if name in LOSING:
            gone = {line.text for line in lost}
            written = [text for text in written if text not in gone]
            assert not lost or place.said(name)
        else:  # what a link leads to for a moment is not seen by those who do not look then
            assert all(line.text.startswith(b"elsewhere") for line in lost)
        if name not in OUT_OF_ORDER:
            equal = given == written
            assert equal, differences(written, given)
    assert kills > 2
