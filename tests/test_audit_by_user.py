"""`configs/audit-by-user.yaml`, as a process: what the API server posts, each event in its user's file, to the byte."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from test_webhook_kill import CONFIG, free_port
from waiting import wait_until

BODIES = sorted((Path(__file__).parent / "data" / "webhook").glob("*.json.gz"))


def cut(body: str) -> list[tuple[str | None, bytes]]:
    """Cut a body into users and items, by Python's own JSON scanner."""
    decoder = json.JSONDecoder()
    at = body.index('"items":[') + len('"items":[')
    found = []
    while body[at] != "]":
        event, end = decoder.raw_decode(body, at)
        found.append((event["user"].get("username"), body[at:end].encode()))
        at = end + (body[end] == ",")
    return found


def test_every_event_is_in_the_file_of_its_user_once_and_to_the_byte(tmp_path: Path) -> None:
    port = free_port()
    environment = os.environ | {
        "LISTEN": f"127.0.0.1:{port}",
        "OUT_DIR": str(tmp_path / "out"),
        "STATE_DIR": str(tmp_path / "state"),
    }
    command = [sys.executable, "-m", "tailrace", "run", str(CONFIG)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def is_up() -> bool:
        try:
            connection.connect()
        except OSError:
            return False
        return True

    expected: dict[str | None, list[bytes]] = defaultdict(list)
    try:
        wait_until(is_up)
        for path in BODIES:
            body = gzip.decompress(path.read_bytes())
            connection.request("POST", "/k8s/audit?timeout=30s", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert (response.status, bool(response.read())) == (200, True)
            for user, item in cut(body.decode()):
                expected[user].append(item)
    finally:
        connection.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert subprocess.run([*command, "--once"], env=environment, capture_output=True, check=False).returncode == 0
    found: dict[str, list[bytes]] = defaultdict(list)
    for path in sorted((tmp_path / "out").glob("*/audit.*.log.gz")):
        assert path.stat().st_mode & 0o777 == 0o640
        found[path.parent.name.removeprefix("kube-audit-")] += gzip.decompress(path.read_bytes()).splitlines()
    plain = {user for user in expected if user and user.isascii()}
    assert len(plain) > 20
    for user in plain:
        assert sorted(found[user]) == sorted(expected[user]), user
    assert sorted(found["_none"]) == sorted(expected[None])
    assert found["_none"]  # failed logins
    assert sum(map(len, found.values())) == sum(map(len, expected.values()))
