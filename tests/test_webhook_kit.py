"""From `tailrace kubeconfig` to the files of users: an API server posts to a process, each with what it was given."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_server import ApiServer
from test_audit_by_user import BODIES, cut
from test_webhook_kill import CONFIG, free_port
from waiting import wait_until

from tailrace.names import encode_name

# the kubeconfig of the Kubernetes audit documentation, but for its address
DOCUMENTED = """\
apiVersion: v1
clusters:
- cluster:
    server: http://<ip_of_logstash>:8888
  name: logstash
contexts:
- context:
    cluster: logstash
    user: ""
  name: default-context
current-context: default-context
kind: Config
preferences: {}
users: []
"""
SAMPLES = [gzip.decompress(path.read_bytes()) for path in BODIES if path.name[:4] in ("0016", "0026")]


@contextlib.contextmanager
def collector(config: Path, environment: Mapping[str, str] = {}) -> Iterator[None]:
    """Run the real process while the block lasts; it must have listened, and must end well."""
    command = [sys.executable, "-m", "tailrace", "run", str(config)]
    with subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True, umask=0) as process:
        assert process.stderr is not None
        said: list[dict[str, Any]] = []
        try:
            while not said or said[-1]["message"] != "listening":
                said.append(json.loads(process.stderr.readline()))
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            said += [json.loads(line) for line in process.stderr]
    assert process.returncode == 0
    assert {event["level"] for event in said} <= {"info", "warning"}


def check_files(out: Path) -> None:
    """Wait until each event of the samples is in the file of its user, to the byte, and no other is."""
    events = sorted((encode_name(user), item) for body in SAMPLES for user, item in cut(body.decode()))

    def found() -> list[tuple[str, bytes]]:
        lines = (
            (path.parent.name.removeprefix("kube-audit-"), line)
            for path in out.glob("*/audit.*.log.gz")
            for line in gzip.decompress(path.read_bytes()).splitlines()
        )
        return sorted(lines)

    assert len({user for user, _ in events}) > 20
    wait_until(lambda: len(found()) >= len(events))
    assert found() == events


def make_kit(directory: Path, server: str, *options: str) -> str:
    """Run `tailrace kubeconfig --init`; give what it says of the source."""
    command = [sys.executable, "-m", "tailrace", "kubeconfig", "--init", str(directory), "--server", server, *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("options", [[], ["--embed"]])
def test_what_init_makes_and_says_is_all_that_both_sides_need(options: list[str], tmp_path: Path) -> None:
    source = make_kit(tmp_path / "kit", f"https://127.0.0.1:{free_port()}/", *options)
    sink = {"type": "file", "path": f"{tmp_path}/out/kube-audit-{{user.username}}/audit.%Y%m%d%H.log.gz"}
    pipelines = {"audit": {"source": yaml.safe_load(source), "sinks": [sink]}}
    config = tmp_path / "tailrace.yaml"
    config.write_text(yaml.safe_dump({"state_dir": str(tmp_path / "state"), "pipelines": pipelines}))
    with collector(config), contextlib.ExitStack() as stack:
        api_server = stack.enter_context(ApiServer((tmp_path / "kit" / "kubeconfig.yaml").read_text(), tmp_path))
        assert "Authorization" in api_server.headers
        assert [api_server.send(body) for body in SAMPLES] == [200, 200]
        check_files(tmp_path / "out")
    for path in [*(tmp_path / "state").rglob("*"), *(tmp_path / "out").rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path


@pytest.mark.parametrize(
    ("drop", "status"),
    [
        (["tokenFile"], 200),
        (["client-certificate", "client-key"], 200),
        (["tokenFile", "client-certificate", "client-key"], 401),
    ],
)
def test_each_proof_of_the_kit_is_enough_by_itself(drop: list[str], status: int, tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    port = free_port()
    make_kit(kit, f"https://127.0.0.1:{port}/k8s/audit/")
    environment = {
        "LISTEN": f"127.0.0.1:{port}",
        "OUT_DIR": str(tmp_path / "out"),
        "STATE_DIR": str(tmp_path / "state"),
        "TLS_CERT": str(kit / "server.crt"),
        "TLS_KEY": str(kit / "server.key"),
        "CLIENT_CA": str(kit / "ca.crt"),
        "TOKEN_FILE": str(kit / "token"),
    }
    document = yaml.safe_load((kit / "kubeconfig.yaml").read_text())
    for name in drop:
        del document["users"][0]["user"][name]
    with collector(CONFIG, environment), contextlib.ExitStack() as stack:
        api_server = stack.enter_context(ApiServer(yaml.safe_dump(document), tmp_path))
        assert api_server.path == "/k8s/audit?timeout=30s"
        assert [api_server.send(body) for body in SAMPLES] == [status, status]
        if status == 200:
            check_files(tmp_path / "out")
    assert (status == 200) == bool(list((tmp_path / "out").iterdir()))


def test_the_kubeconfig_of_the_documentation_works(tmp_path: Path) -> None:
    port = free_port()
    environment = {
        "LISTEN": f"127.0.0.1:{port}",
        "OUT_DIR": str(tmp_path / "out"),
        "STATE_DIR": str(tmp_path / "state"),
    }
    with collector(CONFIG, environment), contextlib.ExitStack() as stack:
        kubeconfig = DOCUMENTED.replace("<ip_of_logstash>:8888", f"127.0.0.1:{port}")
        api_server = stack.enter_context(ApiServer(kubeconfig, tmp_path))
        assert api_server.path == "/?timeout=30s"
        assert [api_server.send(body) for body in SAMPLES] == [200, 200]
        check_files(tmp_path / "out")
