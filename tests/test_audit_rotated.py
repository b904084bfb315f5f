"""`configs/audit-rotated.yaml`, as a process, on what a real API server wrote; and read again as a log."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from pathlib import Path

from tailrace.context import Context
from tailrace.pipeline import Pipeline
from tailrace.testing import ListSink, apply
from tailrace_plugins.filters.redact import Redact
from tailrace_plugins.sources.tail import Tail

CONFIG = Path(__file__).parents[1] / "configs" / "audit-rotated.yaml"
SAMPLE = gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes())


def test_what_is_rotated_reads_as_a_log_of_the_api_server(tmp_path: Path) -> None:
    log, key, out = tmp_path / "audit.log", tmp_path / "redact.key", tmp_path / "out" / "audit.log"
    log.write_bytes(SAMPLE)
    key.write_text("0123456789abcdef\n")
    environment = os.environ | {
        "AUDIT_LOG": str(log),
        "OUT": str(out),
        "STATE_DIR": str(tmp_path / "state"),
        "REDACT_KEY": str(key),
        "MAX_SIZE": "1",
    }
    result = subprocess.run(
        [sys.executable, "-m", "tailrace", "run", "--once", str(CONFIG)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    backups = sorted(out.parent.glob("audit-*.log.gz"))
    assert len(backups) == 5
    sizes = [len(gzip.decompress(path.read_bytes())) for path in backups]
    assert all((1 << 20) - 120_000 < size <= 1 << 20 for size in sizes)
    sink = ListSink()
    context = Context(pipeline="reader", state_dir=tmp_path / "reader")
    Pipeline(context, Tail(paths=[str(out)]), [], {"sink": sink}).run(threading.Event(), once=True)
    assert sink.written == apply(Redact(key="0123456789abcdef"), SAMPLE.splitlines()).lines
