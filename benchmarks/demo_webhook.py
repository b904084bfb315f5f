"""The second half of the demo: what an API server's webhook backend sends, split by user."""

from __future__ import annotations

import gzip
import http.client
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from benchmarks.job import ROOT, TAILRACE, count, read

CONFIG = ROOT / "configs" / "audit-by-user.yaml"
BODIES = ROOT / "tests" / "data" / "webhook"
SHOWN = 8
LIMIT = 30.0  # seconds for the receiver to start


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def request(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def await_start(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if request(port, "GET", "/readyz")[0] == 200:
                return
        except ConnectionRefusedError:
            time.sleep(0.02)
    process.kill()
    raise SystemExit(f"FAIL: the receiver did not start:\n{process.communicate()[1]}")


def show_webhook(directory: Path) -> None:
    """Start a receiver, post captured bodies, stop it, and show whose files there are."""
    port, out = free_port(), directory / "by-user"
    environment = {
        "LISTEN": f"127.0.0.1:{port}",
        "OUT_DIR": str(out),
        "STATE_DIR": str(directory / "state-webhook"),
    }
    command = [TAILRACE, "run", str(CONFIG)]
    process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True)
    await_start(process, port)
    print(f"\nA receiver on 127.0.0.1:{port}, and what a real API server's webhook backend posted to it:\n")
    expected = 0
    for path in sorted(BODIES.glob("*.json.gz")):
        body = gzip.decompress(path.read_bytes())
        start = time.perf_counter()
        status, answer = request(port, "POST", "/k8s/audit?timeout=30s", body)
        took = (time.perf_counter() - start) * 1000
        print(
            f"POST {path.name:28}{len(body):>10,} bytes   {status} {answer.decode():20} {took:6.1f} ms, synced to disk"
        )
        expected += int(re.findall(rb"\d+", answer)[0]) if status == 200 else 0
    status, answer = request(port, "POST", "/k8s/audit?timeout=30s", body)
    print(f"POST the last one again, as if its answer had been lost:  {status} {answer.decode()}")
    process.send_signal(signal.SIGTERM)
    if process.wait(LIMIT):
        raise SystemExit(f"FAIL: the receiver ended with {process.returncode}:\n{process.communicate()[1]}")
    process.communicate()
    subprocess.run(
        [*command[:2], "--once", str(CONFIG)], env=os.environ | environment, stderr=subprocess.DEVNULL, check=True
    )
    show_tree(out, expected)


def show_tree(out: Path, expected: int) -> None:
    counts = {path.relative_to(out): count(read(path))[0] for path in out.rglob("*.gz")}
    ranked = sorted(counts, key=lambda name: -counts[name])
    print()
    for name in ranked[:SHOWN]:
        print(f"{name!s:86}{counts[name]:>7,} events")
    if rest := ranked[SHOWN:]:
        print(f"{f'and {len(rest)} more':86}{sum(counts[name] for name in rest):>7,} events")
    if sum(counts.values()) != expected:
        raise SystemExit(f"FAIL: {expected} events were acknowledged, {sum(counts.values())} are there")
    print(f"\nPASS: all {expected} acknowledged events are there, each once.")
