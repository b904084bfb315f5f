"""`configs/audit-policy.yaml`, as an administrator runs it, on what a real API server wrote."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tailrace.names import encode_name
from tailrace_plugins.filters.audit_policy import Policy

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "audit-policy.yaml"
POLICY = ROOT / "configs" / "policies" / "archive.yaml"
SAMPLE = ROOT / "tests" / "data" / "audit-sample.log.gz"


def run(directory: Path, log: Path, workers: int) -> dict[str, bytes]:
    environment = os.environ | {
        "AUDIT_LOG": str(log),
        "POLICY": str(POLICY),
        "OUT_DIR": str(directory / "out"),
        "STATE_DIR": str(directory / "state"),
    }
    command = [sys.executable, "-m", "tailrace", "run", "--once", "--workers", str(workers), str(CONFIG)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert not (directory / "state" / "audit-policy" / "dead-letter.jsonl").exists()
    return {path.name: gzip.decompress(path.read_bytes()) for path in (directory / "out").iterdir()}


def test_each_namespace_gets_what_the_policy_leaves_with_one_worker_and_with_two(tmp_path: Path) -> None:
    log = tmp_path / "kube-audit"
    log.write_bytes(gzip.decompress(SAMPLE.read_bytes()))
    policy = Policy.parse(POLICY.read_text())
    expected: dict[str, list[Any]] = {}
    for line in log.read_bytes().splitlines():
        event = json.loads(line)
        left = policy.enforce(event)
        if left is not None:
            name = f"audit-{encode_name(event.get('objectRef', {}).get('namespace'))}.2026112306.log.gz"
            expected.setdefault(name, []).append(left)
    found = run(tmp_path / "1", log, 1)
    assert {name: [json.loads(line) for line in text.splitlines()] for name, text in found.items()} == expected
    assert run(tmp_path / "2", log, 2) == found
