"""The webhook source against its floor: EventLists of 400 events over loopback, one core for the receiver.

    python -m benchmarks.bench_webhook                    plain, then TLS
    python -m benchmarks.bench_webhook --events 400000 --connections 16 --json figures.json

Two figures count: how many events a second are acknowledged, that is synced to disk, and how much CPU the receiver's
process needs for a million events, from the socket to the synced gzip file. Then, at the rate at which an API server
sends at most (10 bodies a second), how long it waits for an answer. No figure is printed unless every event is in the
output afterwards.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks import workload
from benchmarks.job import ROOT, TAILRACE, compile_sources
from benchmarks.measure import cpu_seconds, environment, status_bytes

from tailrace.certificates import issue

CONFIG = ROOT / "configs" / "audit-by-user.yaml"
FLOOR = Path(__file__).with_name("floor_webhook.py")
BATCH = 400  # --audit-webhook-batch-max-size
PACE = 10  # --audit-webhook-batch-throttle-qps
LIMIT = 60.0  # seconds for a server to start, or to finish
_KIND = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1",'


@dataclass(frozen=True)
class Figures:
    """What one run of a server took."""

    events: int
    acknowledged: float  # events a second
    cpu: float  # seconds per million events, until all was written
    peak: int  # bytes resident


def bodies(events: int, mean_bytes: int) -> list[bytes]:
    """Make request bodies as the API server sends them; no two are equal."""
    made = workload.lines(1, events, mean_bytes=mean_bytes)
    lists = []
    while items := [line.replace(_KIND, b"{", 1) for line in itertools.islice(made, BATCH)]:
        head = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['
        lists.append(head + b",".join(items) + b"]}\n")
    return lists


class Server:
    """A receiver, or the floor, as a process on a core of its own."""

    def __init__(self, directory: Path, *, floor: bool, tls: bool) -> None:
        self.directory = directory
        self.out = directory / "out"
        self.state = directory / "state"
        for path in (self.out, self.state):
            shutil.rmtree(path, ignore_errors=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        listen = f"127.0.0.1:{self.port}"
        files = [str(directory / "server.crt"), str(directory / "server.key")] if tls else []
        self.trust = ssl.create_default_context(cafile=str(directory / "ca.crt")) if tls else None
        self.environment = {"LISTEN": listen, "OUT_DIR": str(self.out), "STATE_DIR": str(self.state)}
        self.environment |= dict(zip(("TLS_CERT", "TLS_KEY"), files, strict=False))
        command = [sys.executable, str(FLOOR), listen, *files] if floor else [TAILRACE, "run", str(CONFIG)]
        core = max(os.sched_getaffinity(0))
        self.process = subprocess.Popen(
            command,
            env=environment(self.environment),
            stderr=(directory / "log").open("wb"),
            preexec_fn=lambda: os.sched_setaffinity(0, [core]),
        )
        wait_until(self.answers, "the server did not start")

    def answers(self) -> bool:
        try:
            self.connect().close()
        except ConnectionRefusedError:
            if self.process.poll() is not None:
                raise SystemExit((self.directory / "log").read_text()) from None
            return False
        return True

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.trust.wrap_socket(made, server_hostname="127.0.0.1") if self.trust else made

    def cpu(self) -> float:
        """Seconds of CPU since its start, user and system."""
        return cpu_seconds(self.process.pid)

    def peak(self) -> int:
        return status_bytes(self.process.pid, "VmHWM")

    def is_drained(self) -> bool:
        """Tell whether everything in the spool is committed."""
        page = get(self, "/metrics").decode()
        return any(line.startswith("tailrace_spool_bytes{") and line.endswith(" 0.0") for line in page.splitlines())

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(LIMIT)


def wait_until(is_so: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(otherwise)
        time.sleep(0.02)


def get(server: Server, path: str) -> bytes:
    with server.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return answer.partition(b"\r\n\r\n")[2]


def post(connection: socket.socket, body: bytes) -> float:
    """Post one body; the seconds until its answer."""
    start = time.perf_counter()
    head = "POST /k8s/audit?timeout=30s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
    connection.sendall(body)
    answer = b""
    while not _is_whole(answer):
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("the server closed the connection")
        answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(answer.decode())
    return time.perf_counter() - start


def _is_whole(answer: bytes) -> bool:
    head, blank, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(blank) and length is not None and len(body) >= int(length[1])


def post_all(server: Server, lists: Sequence[bytes], connections: int) -> float:
    """Post all bodies as fast as they are taken, over several connections; the seconds that it took."""
    shared = iter(lists)
    lock = threading.Lock()

    def work() -> None:
        with server.connect() as connection:
            while True:
                with lock:
                    body = next(shared, None)
                if body is None:
                    return
                post(connection, body)

    start = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        for done in [pool.submit(work) for _ in range(connections)]:
            done.result()
    return time.perf_counter() - start


def pace(server: Server, lists: Sequence[bytes]) -> list[float]:
    """Post at the API server's own rate; the seconds until each answer."""
    took = []
    with server.connect() as connection:
        begin = time.perf_counter()
        for number, body in enumerate(lists):
            time.sleep(max(0.0, begin + number / PACE - time.perf_counter()))
            took.append(post(connection, body))
    return sorted(took)


def check(server: Server, events: int) -> None:
    """Count what the files hold; fail unless that is every event."""
    found = sum(gzip.decompress(path.read_bytes()).count(b"\n") for path in server.out.glob("*/*.gz"))
    if found != events:
        raise SystemExit(f"{found} events in the output where {events} were acknowledged")


@contextmanager
def place() -> Iterator[Path]:
    """A directory with a certificate for loopback."""
    directory = Path(tempfile.mkdtemp(prefix="tailrace-bench-"))
    made = issue(["127.0.0.1"], "bench", datetime.now(UTC))
    (directory / "ca.crt").write_bytes(made.ca)
    (directory / "server.crt").write_bytes(made.server.certificate)
    (directory / "server.key").write_bytes(made.server.key)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def measure(
    directory: Path, lists: Sequence[bytes], events: int, connections: int, *, floor: bool, tls: bool
) -> Figures:
    server = Server(directory, floor=floor, tls=tls)
    try:
        before = server.cpu()
        took = post_all(server, lists, connections)
        if not floor:
            wait_until(server.is_drained, "the spool was not emptied")
        figures = Figures(events, events / took, (server.cpu() - before) / events * 1e6, server.peak())
    finally:
        server.stop()
    if not floor:
        check(server, events)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the webhook source against its floor.")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--mean-bytes", type=int, default=1200)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=20, help="how long to send at the API server's own rate")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    compile_sources()
    lists = bodies(options.events, options.mean_bytes)
    rows: dict[str, float] = {}
    with place() as directory:
        for tls in (False, True):
            name = "tls" if tls else "plain"
            pairs = [
                [
                    measure(directory, lists, options.events, options.connections, floor=floor, tls=tls)
                    for floor in (True, False)
                ]
                for _ in range(options.runs)
            ]
            rows[f"{name}_events_per_second"] = median(mine.acknowledged for _, mine in pairs)
            rows[f"{name}_floor_events_per_second"] = median(least.acknowledged for least, _ in pairs)
            rows[f"{name}_cpu_seconds_per_million_events"] = median(mine.cpu for _, mine in pairs)
            rows[f"{name}_floor_cpu_seconds_per_million_events"] = median(least.cpu for least, _ in pairs)
            rows[f"{name}_cpu_ratio_to_floor"] = median(mine.cpu / least.cpu for least, mine in pairs)
            rows[f"{name}_peak_megabytes"] = median(mine.peak for _, mine in pairs) / 1e6
        server = Server(directory, floor=False, tls=True)
        took = pace(server, lists[: options.seconds * PACE])
        server.stop()
        rows["answer_p50_milliseconds"] = median(took) * 1e3
        rows["answer_p99_milliseconds"] = took[len(took) * 99 // 100] * 1e3
    for key, value in rows.items():
        print(f"{key.replace('_', ' '):46}{value:>14,.1f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
