"""`configs/audit-sink.yaml`, as an administrator runs it: to a strict server, and to a webhook source of our own."""

from __future__ import annotations

import gzip
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from authority import Authority, present, write_all
from recording import Server
from test_webhook_kill import free_port
from test_webhook_kit import collector, make_kit
from test_webhook_sink import items_of
from waiting import wait_until
from webhook import event_list

from tailrace_plugins.filters.audit_policy import Policy

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "audit-sink.yaml"
POLICY = ROOT / "configs" / "policies" / "archive.yaml"
SAMPLE = gzip.decompress((ROOT / "tests" / "data" / "audit-sample.log.gz").read_bytes())


@pytest.fixture(scope="module")
def expected() -> list[Any]:
    """What the policy leaves of the sample."""
    policy = Policy.parse(POLICY.read_text())
    left = (policy.enforce(json.loads(line)) for line in SAMPLE.splitlines())
    return [event for event in left if event is not None]


def send(directory: Path, kubeconfig: Path, *options: str) -> str:
    """Send the sample; give what was logged."""
    directory.mkdir(exist_ok=True)
    log = directory / "kube-audit"
    log.write_bytes(SAMPLE)
    environment = os.environ | {
        "AUDIT_LOG": str(log),
        "POLICY": str(POLICY),
        "SINK_KUBECONFIG": str(kubeconfig),
        "STATE_DIR": str(directory / "sender"),
        "THROTTLE_QPS": "1000",
    }
    command = [sys.executable, "-m", "tailrace", "run", "--once", *options, str(CONFIG)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert not (directory / "sender" / "audit-sink" / "dead-letter.jsonl").exists()
    return result.stderr


def test_a_strict_server_gets_lists_as_from_an_api_server_with_one_worker_and_with_two(
    tmp_path: Path, expected: list[Any]
) -> None:
    authority = Authority()
    pair = authority.sign("sender")
    write_all(tmp_path, [("ca.crt", authority.ca), ("c.crt", pair.certificate), ("c.key", pair.key), ("t", b"t0ken")])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    present(context, authority.sign_server(), tmp_path)
    context.load_verify_locations(cadata=authority.ca.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    with Server(tls=context) as server:
        kubeconfig = tmp_path / "kubeconfig.yaml"
        cluster = {"server": f"{server.url}/audit/", "certificate-authority": "ca.crt"}
        user = {"client-certificate": "c.crt", "client-key": "c.key", "tokenFile": "t"}
        document = {
            "clusters": [{"name": "siem", "cluster": cluster}],
            "users": [{"name": "sender", "user": user}],
            "contexts": [{"name": "audit", "context": {"cluster": "siem", "user": "sender"}}],
            "current-context": "audit",
        }
        kubeconfig.write_text(yaml.safe_dump(document))
        said = send(tmp_path / "1", kubeconfig)
        requests = list(server.requests)
        send(tmp_path / "2", kubeconfig, "--workers", "2")
    assert [item for request in requests for item in request.items] == expected
    assert [len(request.items) for request in requests[:-1]] == [400] * (len(requests) - 1)
    for request in requests:
        assert request.target == "/audit?timeout=30s"
        assert request.headers["authorization"] == "Bearer t0ken"
        assert request.peer["subject"] == ((("commonName", "sender"),),)
        assert request.body == event_list(items_of(request.body))
    assert server.bodies[len(requests) :] == [request.body for request in requests]
    assert "t0ken" not in said


def test_our_own_source_takes_each_event_once_with_the_kit_as_it_is(tmp_path: Path, expected: list[Any]) -> None:
    source = make_kit(tmp_path / "kit", f"https://127.0.0.1:{free_port()}/k8s/audit")
    sink = {"type": "file", "path": f"{tmp_path}/out/audit.log"}
    pipelines = {"audit": {"source": yaml.safe_load(source), "sinks": [sink]}}
    config = tmp_path / "receiver.yaml"
    config.write_text(yaml.safe_dump({"state_dir": str(tmp_path / "receiver"), "pipelines": pipelines}))
    out = tmp_path / "out" / "audit.log"
    with collector(config):
        send(tmp_path, tmp_path / "kit" / "kubeconfig.yaml")
        wait_until(lambda: out.exists() and len(out.read_bytes().splitlines()) >= len(expected))
    assert [json.loads(line) for line in out.read_bytes().splitlines()] == expected
