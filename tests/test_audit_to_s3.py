"""`configs/audit-to-s3.yaml` and the way back, `audit-from-s3.yaml`, as processes, on what a real API server wrote."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from storing import CREDENTIALS, storage

CONFIGS = Path(__file__).parents[1] / "configs"
SAMPLE = gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes())


def run(config: str, **environment: str) -> str:
    """Run a config to the end of what is there; gives what it said."""
    result = subprocess.run(
        [sys.executable, "-m", "tailrace", "run", "--once", str(CONFIGS / config)],
        env=os.environ | CREDENTIALS | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stderr


def lines_in(files: Iterable[bytes]) -> list[bytes]:
    return sorted(line for content in files for line in gzip.decompress(content).splitlines())


def test_the_log_lies_in_the_bucket_by_namespace_and_hour_and_comes_back_by_user(tmp_path: Path) -> None:
    log, out, back = tmp_path / "audit.log", tmp_path / "out", tmp_path / "back"
    log.write_bytes(SAMPLE)
    with storage() as store:
        store.make("archive")
        at = {"AWS_ENDPOINT_URL_S3": store.url, "BUCKET": "archive"}
        places = {"AUDIT_LOG": str(log), "OUT_DIR": str(out), "STATE_DIR": str(tmp_path / "state")}
        run("audit-to-s3.yaml", HOSTNAME="node-1", **at, **places)
        objects = store.objects("archive")
        for _ in range(2):  # the second run finds nothing new
            run("audit-from-s3.yaml", OUT_DIR=str(back), STATE_DIR=str(tmp_path / "state-back"), **at)
    assert objects == {f"node-1/{path.relative_to(out)}": path.read_bytes() for path in out.glob("*/*.gz")}
    assert any(key.startswith("node-1/kube-system/audit.") for key in objects)
    assert lines_in(objects.values()) == sorted(SAMPLE.splitlines())
    files = {path.name: path.read_bytes() for path in back.glob("*.gz")}
    assert lines_in(files.values()) == sorted(SAMPLE.splitlines())
    hers = lines_in(content for name, content in files.items() if name.startswith("audit-carol."))
    of_carol = [line for line in SAMPLE.splitlines() if json.loads(line)["user"].get("username") == "carol"]
    assert hers == sorted(of_carol) != []
