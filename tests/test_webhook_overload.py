"""More than can be stored: refused at once, with word of when to come again, and taken again without a restart."""

from __future__ import annotations

import errno
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import pytest
from posting import Answer
from test_webhook_kill import CONFIG, free_port
from waiting import wait_until
from webhook import Running, event_list

from tailrace.durable import Disk
from tailrace.stage import Payload
from tailrace.testing import ListSink

MEGABYTE = 1 << 20


class StuckSink(ListSink, kw_only=True):
    """A sink that takes nothing until it is let go."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gate = threading.Event()

    def write(self, payload: Payload) -> None:
        assert self.gate.wait(60)
        super().write(payload)


class FullDisk(Disk):
    """A disk that has no room for the spool while `full` is set."""

    def __init__(self) -> None:
        self.full = False

    def write(self, descriptor: int, data: bytes) -> int:
        if self.full and os.readlink(f"/proc/self/fd/{descriptor}").endswith(".spool"):
            super().write(descriptor, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(descriptor, data)


def body(number: int, size: int = 100_000) -> bytes:
    return event_list([b'{"auditID":"%d","x":"%b"}' % (number, b"x" * size)])


def check_refusal(answer: Answer) -> None:
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert "send it again" in answer.json["error"]


def times_of_refusals(running: Running, count: int) -> list[float]:
    """Post bodies of 1 MB over one connection, all of which are refused; the seconds until each answer."""
    took = []
    connection = running.connect()
    for number in range(count):
        start = time.perf_counter()
        connection.request("POST", "/", body(number, MEGABYTE), {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        took.append(time.perf_counter() - start)
        assert (response.status, response.getheader("Retry-After")) == (503, "2")
    connection.close()
    return took


def test_a_full_spool_refuses_within_milliseconds_and_takes_again_when_the_sink_goes_on(tmp_path: Path) -> None:
    sink = StuckSink()
    with Running(tmp_path, sink, spool_bytes=1_000_000) as running:
        accepted = 0
        while (answer := running.post(body(accepted))).status == 200:
            accepted += 1
        check_refusal(answer)
        assert accepted == 9
        assert "the spool is full" in answer.json["error"]
        assert running.request("GET", "/readyz").status == 200  # there is room for a small body
        assert median(times_of_refusals(running, 30)) < 0.01
        sink.gate.set()
        wait_until(lambda: running.post(body(accepted)).status == 200)
        wait_until(lambda: len(sink.written) == accepted + 1)
        assert b"".join(sink.written).count(b'"auditID"') == accepted + 1


def test_readiness_says_when_not_even_a_small_body_is_taken(tmp_path: Path) -> None:
    sink = StuckSink()
    with Running(tmp_path, sink, spool_bytes=100_000) as running:
        assert running.post(body(1, 200_000)).status == 200  # an empty spool takes one of any size
        answer = running.request("GET", "/readyz")
        assert answer.status == 503
        assert b"the spool is full" in answer.body
        assert running.source.refusing() is not None
        sink.gate.set()
        wait_until(lambda: running.request("GET", "/readyz").status == 200)


def test_a_full_disk_refuses_within_milliseconds_and_is_noticed_to_have_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace_plugins.receiving.spool.RETRY_SECONDS", 0.2)
    disk = FullDisk()
    with Running(tmp_path, disk=disk) as running:
        assert running.post(body(0)).status == 200
        disk.full = True
        answer = running.post(body(1))
        check_refusal(answer)
        assert "No space left on device" in answer.json["error"]
        assert running.request("GET", "/readyz").status == 503
        assert median(times_of_refusals(running, 30)) < 0.01
        disk.full = False
        wait_until(lambda: running.post(body(1)).status == 200)
        assert running.post(body(2)).status == 200
        assert [line[:15] for line in running.lines(3)] == [b'{"auditID":"%d",' % number for number in range(3)]


def test_sixty_four_connections_with_a_megabyte_each_do_not_swell_the_process(tmp_path: Path) -> None:
    port = free_port()
    environment = os.environ | {
        "LISTEN": f"127.0.0.1:{port}",
        "OUT_DIR": str(tmp_path / "out"),
        "STATE_DIR": str(tmp_path / "state"),
    }
    item = (
        b'{"level":"Request","auditID":"%06d","user":{"username":"user-%d"},"stageTimestamp":'
        b'"2026-11-23T05:30:00.000000Z","requestURI":"/api/v1/pods","x":"' + b"x" * 2_500 + b'"}'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace", "run", str(CONFIG)], env=environment, stderr=subprocess.DEVNULL
    )

    def is_up() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().read() == b"ok\n"
        except OSError:
            return False
        finally:
            connection.close()

    def post(sender: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        accepted = 0
        for round_ in range(4):
            first = (sender * 4 + round_) * 400
            data = event_list(item % (first + each, each % 40) for each in range(400))
            assert len(data) > MEGABYTE
            status = 0
            while status != 200:
                connection.request("POST", "/", data, {"Content-Type": "application/json"})
                response = connection.getresponse()
                response.read()
                status = response.status
                assert status in (200, 503)
            accepted += 400
        connection.close()
        return accepted

    try:
        wait_until(is_up)
        with ThreadPoolExecutor(64) as pool:
            assert sum(pool.map(post, range(64))) == 64 * 4 * 400
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        print(f"peak {peak / 1e6:.0f} MB")
        assert peak < 150_000_000
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
