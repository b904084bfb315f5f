"""`configs/audit-to-s3.yaml`, as a process, on what a real API server wrote."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

from storing import CREDENTIALS, storage

CONFIG = Path(__file__).parents[1] / "configs" / "audit-to-s3.yaml"
SAMPLE = gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes())


def test_the_log_lies_in_the_bucket_by_namespace_and_hour(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(SAMPLE)
    with storage() as store:
        store.make("archive")
        environment = (
            os.environ
            | CREDENTIALS
            | {
                "AWS_ENDPOINT_URL_S3": store.url,
                "AUDIT_LOG": str(log),
                "OUT_DIR": str(tmp_path / "out"),
                "STATE_DIR": str(tmp_path / "state"),
                "BUCKET": "archive",
                "HOSTNAME": "node-1",
            }
        )
        result = subprocess.run(
            [sys.executable, "-m", "tailrace", "run", "--once", str(CONFIG)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        objects = store.objects("archive")
    files = {f"node-1/{path.relative_to(tmp_path / 'out')}": path.read_bytes() for path in tmp_path.glob("out/*/*.gz")}
    assert objects == files
    assert any(key.startswith("node-1/kube-system/audit.") for key in objects)
    lines = [line for content in objects.values() for line in gzip.decompress(content).splitlines()]
    assert sorted(lines) == sorted(SAMPLE.splitlines())
