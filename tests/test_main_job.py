"""The first config, as an administrator runs it, on what a real API server wrote."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

from tailrace.names import encode_name

CONFIG = Path(__file__).parents[1] / "configs" / "audit-by-namespace.yaml"
SAMPLE = Path(__file__).parent / "data" / "audit-sample.log.gz"


def run(directory: Path, log: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "AUDIT_LOG": str(log),
        "OUT_DIR": str(directory / "out"),
        "STATE_DIR": str(directory / "state"),
    }
    return subprocess.run(
        [sys.executable, "-m", "tailrace", "run", "--once", str(CONFIG)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def split(lines: list[bytes]) -> dict[str, bytes]:
    """Say what the job has to give, by the slow and obvious way."""
    files: dict[str, bytes] = {}
    for line in lines:
        event = json.loads(line)
        namespace = encode_name(event.get("objectRef", {}).get("namespace"))
        hour = event["stageTimestamp"][:13].replace("-", "").replace("T", "")
        name = f"audit-{namespace}.{hour}.log.gz"
        files[name] = files.get(name, b"") + line
    return files


def found(directory: Path) -> dict[str, bytes]:
    return {path.name: gzip.decompress(path.read_bytes()) for path in (directory / "out").iterdir()}


def test_each_namespace_gets_exactly_its_lines_in_order_byte_for_byte(tmp_path: Path) -> None:
    log = tmp_path / "kube-audit"
    log.write_bytes(gzip.decompress(SAMPLE.read_bytes()))
    result = run(tmp_path, log)
    assert result.returncode == 0, result.stderr
    lines = log.read_bytes().splitlines(keepends=True)
    expected = split(lines)
    assert found(tmp_path) == expected
    assert len(expected) > 30
    assert "audit-_none.2026112306.log.gz" in expected
    assert "audit-%E6%94%AF%E4%BB%98.2026112306.log.gz" in expected


def test_a_second_run_adds_only_what_is_new(tmp_path: Path) -> None:
    log = tmp_path / "kube-audit"
    lines = gzip.decompress(SAMPLE.read_bytes()).splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:1000]) + lines[1000][:50])
    assert run(tmp_path, log).returncode == 0
    assert found(tmp_path) == split(lines[:1000]), "the line that is not complete yet waits"
    with log.open("ab") as file:
        file.write(lines[1000][50:] + b"".join(lines[1001:]))
    assert run(tmp_path, log).returncode == 0
    assert found(tmp_path) == split(lines)
    assert run(tmp_path, log).returncode == 0
    assert found(tmp_path) == split(lines)
