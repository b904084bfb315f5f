"""`configs/audit-thinned.yaml`, as a process, on what a real API server wrote."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parents[1] / "configs" / "audit-thinned.yaml"
SAMPLE = gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes())
READS = ("get", "list", "watch")


def run(directory: Path, log: bytes, **more: str) -> list[bytes]:
    """Give the lines that come out."""
    (directory / "kube-audit").write_bytes(log)
    environment = os.environ | {
        "AUDIT_LOG": str(directory / "kube-audit"),
        "OUT_DIR": str(directory / "out"),
        "STATE_DIR": str(directory / "state"),
    }
    result = subprocess.run(
        [sys.executable, "-m", "tailrace", "run", "--once", str(CONFIG)],
        env=environment | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return [
        line
        for path in sorted((directory / "out").iterdir())
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


def minute_of(event: dict[str, Any]) -> tuple[str, ...]:
    user, verb, resource = (
        event["user"].get("username", ""),
        event["verb"],
        event.get("objectRef", {}).get("resource", ""),
    )
    return user, verb, resource, event["stageTimestamp"][:16]


def test_changes_are_all_there_once_and_of_reads_whole_requests(tmp_path: Path) -> None:
    written = run(tmp_path, SAMPLE + SAMPLE)
    read = SAMPLE.splitlines()
    events = [json.loads(line) for line in read]
    changes = [line for line, event in zip(read, events, strict=True) if event["verb"] not in READS]
    assert len(changes) > 20
    assert sorted(line for line in written if json.loads(line)["verb"] not in READS) == sorted(changes)
    stages = Counter(event["auditID"] for event in events)
    reads = Counter(event["auditID"] for event in map(json.loads, written) if event["verb"] in READS)
    assert all(count == stages[request] for request, count in reads.items())
    all_reads = {event["auditID"] for event in events if event["verb"] in READS}
    assert 0 < len(reads) < len(all_reads) / 4
    assert set(written) <= set(read)


def test_what_comes_too_often_in_a_minute_is_left_out(tmp_path: Path) -> None:
    written = [json.loads(line) for line in run(tmp_path, SAMPLE, MOST_PER_MINUTE="2")]
    counts = Counter(map(minute_of, written))
    everything = Counter(
        minute_of(event) for event in map(json.loads, SAMPLE.splitlines()) if event["verb"] not in READS
    )
    assert max(everything.values()) > 2
    assert {key: count for key, count in counts.items() if key[1] not in READS} == {
        key: min(count, 2) for key, count in everything.items()
    }
