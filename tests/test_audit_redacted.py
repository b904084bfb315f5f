"""`configs/audit-redacted.yaml`, as a process with workers, on what a real API server wrote."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tailrace.testing import apply
from tailrace_plugins.filters.redact import Redact
from tailrace_plugins.filters.truncate import Truncate

CONFIG = Path(__file__).parents[1] / "configs" / "audit-redacted.yaml"
SAMPLE = gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes())


def secret_values(event: dict[str, Any]) -> list[str]:
    """Give what the Secrets hold that an event is about."""
    bodies = [event.get("requestObject", {}), event.get("responseObject", {})]
    is_about_one = event.get("objectRef", {}).get("resource") == "secrets"
    return [
        value
        for body in bodies * is_about_one
        for key in ("data", "stringData")
        for value in body.get(key, {}).values()
    ]


def test_what_comes_out_holds_no_secret_and_no_huge_event_whoever_worked_on_it(tmp_path: Path) -> None:
    log, key = tmp_path / "kube-audit", tmp_path / "redact.key"
    log.write_bytes(SAMPLE)
    key.write_text("0123456789abcdef\n")
    environment = os.environ | {
        "AUDIT_LOG": str(log),
        "OUT_DIR": str(tmp_path / "out"),
        "STATE_DIR": str(tmp_path / "state"),
        "REDACT_KEY": str(key),
    }
    result = subprocess.run(
        [sys.executable, "-m", "tailrace", "run", "--once", "--workers", "2", str(CONFIG)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    (out,) = (tmp_path / "out").iterdir()
    written = gzip.decompress(out.read_bytes())
    expected = apply([Redact(key="0123456789abcdef"), Truncate()], SAMPLE.splitlines())
    assert written.splitlines() == expected.lines
    assert b"hmac-sha256:" in written
    values = [value.encode() for line in SAMPLE.splitlines() for value in secret_values(json.loads(line))]
    assert values
    assert not any(value in written for value in values)
    assert max(map(len, written.splitlines())) < 102400
