"""The receiver's process, killed with SIGKILL at random moments while eight connections post."""

from __future__ import annotations

import gzip
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from members import look
from webhook import event_list

KILLS = 20
CONNECTIONS = 8
CONFIG = Path(__file__).parents[1] / "configs" / "audit-by-user.yaml"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def items_of(sender: int, number: int) -> list[bytes]:
    """Make the events of a body: 1 to 60, of six users."""
    rng = random.Random(f"{sender}/{number}")
    return [
        (
            f'{{"auditID":"{sender}-{number}-{item}","user":{{"username":"user-{rng.randrange(6)}"}},'
            f'"stageTimestamp":"2026-11-23T{5 + number // 40:02}:30:00.000000Z","x":"{"x" * rng.randint(0, 900)}"}}'
        ).encode()
        for item in range(rng.randint(1, 60))
    ]


class Sender:
    """What client-go does: the same body again, over a new connection, until it is answered with 200."""

    def __init__(self, number: int, port: int, stop: threading.Event) -> None:
        self.number = number
        self.acknowledged = 0  # bodies
        self.attempts = 0
        self._port = port
        self._stop = stop
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        while not self._stop.is_set():
            body = event_list(items_of(self.number, self.acknowledged))
            while not self._post(body):
                self._stop.wait(0.02)  # client-go waits for seconds
            self.acknowledged += 1
        if self._connection is not None:
            self._connection.close()

    def _post(self, body: bytes) -> bool:
        self.attempts += 1
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            self._connection.request("POST", "/k8s/audit?timeout=30s", body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return False
        return response.status == 200


def test_twenty_kills_while_eight_connections_post_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    out, state = tmp_path / "out", tmp_path / "state" / "audit-by-user"
    port = free_port()
    environment = os.environ | {
        "LISTEN": f"127.0.0.1:{port}",
        "OUT_DIR": str(out),
        "STATE_DIR": str(state.parent),
    }

    def collector(*options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "tailrace", "run", *options, str(CONFIG)],
            env=environment,
            stderr=subprocess.DEVNULL,
        )

    stop, timer = threading.Event(), threading.Event()
    senders = [Sender(number, port, stop) for number in range(CONNECTIONS)]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        done = [pool.submit(sender.run) for sender in senders]
        for kill in range(KILLS + 1):
            process = collector()
            timer.wait(rng.uniform(0.4, 1.6))  # the random moment itself, not a wait for something
            if kill == KILLS:
                stop.set()  # whoever has no answer yet posts until he has one
                for each in done:
                    each.result(60)
            process.send_signal(signal.SIGKILL)
            process.wait()
            look(out, state)
    assert collector("--once").wait(timeout=120) == 0
    expected = [
        item for sender in senders for number in range(sender.acknowledged) for item in items_of(sender.number, number)
    ]
    found: Counter[bytes] = Counter()
    for path in out.rglob("*.gz"):
        lines = gzip.decompress(path.read_bytes()).splitlines()
        user = path.parent.name.removeprefix("kube-audit-")
        assert all(f'"username":"{user}"'.encode() in line for line in lines)
        found.update(lines)
    attempts = sum(sender.attempts for sender in senders)
    print(f"{len(expected)} events acknowledged, {attempts} attempts at {sum(s.acknowledged for s in senders)} bodies")
    lost, repeated = set(expected) - set(found), [line for line, times in found.items() if times > 1]
    assert (len(lost), len(repeated)) == (0, 0)
    assert len(found) == len(expected)
    assert look(out, state)[1] == 0
