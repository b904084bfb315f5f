"""The daemon at work: latency, signals, trouble that passes."""

from __future__ import annotations

import gzip
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[1] / "configs" / "audit-by-namespace.yaml"
NAME = "audit-default.2026112305.log.gz"


def event(number: int) -> bytes:
    return (
        b'{"auditID":"%d","objectRef":{"namespace":"default"},"stageTimestamp":"2026-11-23T05:00:00.000000Z"}\n'
        % number
    )


class Daemon:
    """The real process over a directory of its own; its log lines are collected as they come."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "log" / "kube-audit"
        self.out = directory / "out"
        self.state = directory / "state"
        environment = {"AUDIT_LOG": str(self.log), "OUT_DIR": str(self.out), "STATE_DIR": str(self.state)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tailrace", "run", str(CONFIG)],
            env=os.environ | environment,
            stderr=subprocess.PIPE,
        )
        self.said: list[str] = []
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.said.append(line.decode())

    def has_said(self, text: str) -> bool:
        return any(text in line for line in self.said)

    def output(self) -> bytes:
        path = self.out / NAME
        return gzip.decompress(path.read_bytes()) if path.exists() else b""

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self._listener.join()
        return code


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> float:
    """Wait until `condition` holds and say how long that took."""
    started = time.monotonic()
    pause = threading.Event()
    while not condition():
        assert time.monotonic() - started < seconds, "it never happened"
        pause.wait(0.003)
    return time.monotonic() - started


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    made.process.kill()
    made.end()


def test_a_line_is_readable_in_a_valid_file_shortly_after_it_was_written(daemon: Daemon) -> None:
    daemon.log.parent.mkdir()
    delays = []
    with daemon.log.open("ab", buffering=0) as log:
        for number in range(15):
            log.write(event(number))
            delays.append(eventually(lambda: daemon.output().count(b"\n") == number + 1))  # noqa: B023
    assert daemon.output() == b"".join(map(event, range(15)))
    # 100 ms between two looks, 100 ms between two commits, and a loaded machine
    assert statistics.median(delays) < 1.0
    assert daemon.end() == 0


def test_sigterm_commits_what_was_read_and_exits_with_0(daemon: Daemon) -> None:
    daemon.log.parent.mkdir()
    daemon.log.write_bytes(b"".join(map(event, range(1000))))
    eventually(lambda: daemon.output() != b"")
    with daemon.log.open("ab") as log:
        log.write(event(1000))
    assert daemon.end() == 0
    whole = b"".join(map(event, range(1001)))
    assert daemon.output() in (whole, whole.removesuffix(event(1000)))
    again = Daemon(daemon.log.parents[1])
    eventually(lambda: again.has_said("pipeline started") and again.output() == whole)
    assert again.end(signal.SIGINT) == 0


def test_a_missing_log_is_said_once_and_read_when_it_appears(daemon: Daemon) -> None:
    eventually(lambda: daemon.has_said("file is missing"))
    daemon.log.parent.mkdir()
    daemon.log.write_bytes(event(1))
    eventually(lambda: daemon.output() == event(1))
    assert daemon.end() == 0
    assert sum("file is missing" in line for line in daemon.said) == 1


def test_an_output_directory_in_trouble_is_waited_for_and_nothing_is_lost(daemon: Daemon) -> None:
    daemon.log.parent.mkdir()
    daemon.log.write_bytes(event(1))
    eventually(lambda: daemon.output() == event(1))
    daemon.out.rename(daemon.out.with_name("moved"))
    daemon.out.write_bytes(b"a file is in the way")
    with daemon.log.open("ab") as log:
        log.write(event(2).replace(b"default", b"other"))
    eventually(lambda: daemon.has_said("recover"))
    daemon.out.unlink()
    daemon.out.with_name("moved").rename(daemon.out)
    other = daemon.out / NAME.replace("default", "other")
    eventually(lambda: other.exists() and b'"2"' in gzip.decompress(other.read_bytes()))
    assert daemon.output() == event(1)
    assert daemon.end() == 0
