"""`configs/audit-to-elasticsearch.yaml`, as a process against a strict server: kills, workers, and no secret shown."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bulk_server import BulkServer, Failure, Item, Request
from poison import READABLE, UNREADABLE, dead_letter

CONFIG = Path(__file__).parents[1] / "configs" / "audit-to-elasticsearch.yaml"
SAMPLE = gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes()).splitlines()
SECRET = "s3cret-Pa55"


class Machine:
    """A log, and the collector's process."""

    def __init__(self, directory: Path, server: BulkServer, **environment: str) -> None:
        self.log = directory / "audit.log"
        self.state = directory / "state" / "audit-to-elasticsearch"
        self.environment = (
            os.environ
            | {"AUDIT_LOG": str(self.log), "STATE_DIR": str(directory / "state"), "ES_URL": server.url}
            | environment
        )

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tailrace", "run", "--log-format", "json", *options, str(CONFIG)]
        return subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True)

    def run(self, *options: str) -> tuple[int, str]:
        process = self.start("--once", *options)
        _, said = process.communicate(timeout=60)
        return process.returncode, said


def test_each_event_is_there_once_wherever_the_process_is_killed(tmp_path: Path) -> None:
    lines = SAMPLE
    with BulkServer() as server:
        machine = Machine(tmp_path, server)
        machine.log.write_bytes(b"".join(line + b"\n" for line in lines[:2800]))
        victims: list[subprocess.Popen[str]] = []

        def kill_first(request: Request) -> Failure | None:
            if victims and len(victims) % 2 and len(server.requests) >= kill_at:
                victims[-1].kill()
                return 503, "killed", "nobody will read this"
            return None

        def kill_after(request: Request) -> bool:
            """Die once all is stored, and nobody was told."""
            if victims and not len(victims) % 2 and len(server.requests) >= kill_at:
                victims[-1].kill()
                return True
            return False

        server.fail, server.lose = kill_first, kill_after
        for number in range(4):
            kill_at = len(server.requests) + 1 + number % 2
            victims.append(machine.start("--once"))
            assert victims[-1].wait(60) == -9
            victims[-1].communicate()
        victims.clear()
        with machine.log.open("ab") as log:
            log.writelines(line + b"\n" for line in lines[2800:])
        assert machine.run()[0] == 0
        assert server.violations == []
        assert server.sources("audit-2026.11.23") == sorted(lines)
        assert len(server.documents) == len(lines)
        seen = sum(len(request.items) for request in server.requests)
        assert seen > len(lines)  # some were sent again indeed


def test_several_workers_make_the_same_documents_and_dead_letters(tmp_path: Path) -> None:
    lines = [*SAMPLE, *READABLE.values(), *UNREADABLE.values(), *SAMPLE[:500]]

    def strict(item: Item) -> Failure | None:
        if b'"verb":"delete"' in item.source:
            return 400, "document_parsing_exception", "no deletions"
        return None

    found: dict[str, Any] = {}
    for workers in ("1", "2"):
        (tmp_path / workers).mkdir()
        with BulkServer() as server:
            server.fail_item = strict
            machine = Machine(tmp_path / workers, server)
            machine.log.write_bytes(b"".join(line + b"\n" for line in lines))
            status, said = machine.run("--workers", workers)
            assert status == 0, said
            assert server.violations == []
            letters = [json.loads(line) for line in (machine.state / "dead-letter.jsonl").read_bytes().splitlines()]
            kept = sorted((each["offset"], each["kind"], each["reason"], str(each.get("event"))) for each in letters)
            found[workers] = server.documents, kept
            refused = [line for line in lines if b'"verb":"delete"' in line]
            assert {line for line in dead_letter(machine.state) if line in refused} == set(refused)
    assert len(refused) > 10
    assert found["1"][0] == found["2"][0]
    assert found["1"][1] == found["2"][1]


def test_what_was_refused_is_taken_by_a_replay_once_the_server_would_take_it(tmp_path: Path) -> None:
    lines = SAMPLE[:20]
    with BulkServer() as server:
        server.fail_item = lambda item: (400, "odd_exception", "odd") if item.source in lines[5:8] else None
        machine = Machine(tmp_path, server)
        machine.log.write_bytes(b"\n".join([*lines, b""]))
        assert machine.run()[0] == 0
        assert len(server.documents) == 17
        server.fail_item = lambda item: None
        command = [sys.executable, "-m", "tailrace", "dead-letter", "replay", str(CONFIG), machine.state.name]
        result = subprocess.run(command, env=machine.environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert server.sources() == sorted(lines)


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_password_is_neither_said_nor_stored(tmp_path: Path, command: str) -> None:
    with BulkServer(authorization="Basic bm90aGluZw==") as server:
        machine = Machine(tmp_path, server, ES_USER="collector", ES_PASSWORD=SECRET)
        machine.log.write_bytes(b"\n".join([*SAMPLE[:10], b""]))
        if command == "run":
            status, said = machine.run("--log-level", "debug")
            assert status == 1
            assert "unable to authenticate" in said
            assert "check user, password, API key or token" in said
        else:
            environment = machine.environment | {"ES_API_KEY": SECRET}
            result = subprocess.run(
                [sys.executable, "-m", "tailrace", "check", str(CONFIG)],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode != 0
            said = result.stdout + result.stderr
            assert "something else prove who sends" in said
        assert SECRET not in said
        for file in (tmp_path / "state").rglob("*"):
            assert file.is_dir() or SECRET.encode() not in file.read_bytes(), file
        assert server.documents == {}
