"""What becomes of AuditSinks."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from authority import Authority, write_all
from converting import EXAMPLES, convert, lines, tailrace
from posting import post
from running import receiving
from test_audit_by_user import BODIES
from test_webhook_kill import free_port
from waiting import wait_until

from tailrace.document import Plain, parse
from tailrace_plugins.converting import auditsink
from tailrace_plugins.converting.outcome import ParseError
from tailrace_plugins.policy.policy import Policy

HEAD = "apiVersion: auditregistration.k8s.io/v1alpha1\nkind: AuditSink\nmetadata: {name: %s}\n"
TEXT = (EXAMPLES / "auditsink.yaml").read_text()


def sink(change: str, to: str) -> list[dict[str, Plain]]:
    outcome = auditsink.convert(TEXT.replace(change, to), "old.yaml", Path("/etc/tailrace/new.yaml"))
    assert not outcome.remainder
    return [stage.options for pipeline in outcome.pipelines for stage in pipeline.sinks]


def test_the_example_of_the_documentation_is_a_pipeline_with_its_policy_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "new.yaml"
    result = convert(EXAMPLES / "auditsink.yaml", "-o", out, "--state-dir", tmp_path / "state")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    value, problems = parse(out.read_text(), str(out), {})
    assert value is not None
    assert not problems
    assert value.plain() == {
        "state_dir": str(tmp_path / "state"),
        "pipelines": {
            "mysink": {
                "source": {"type": "webhook", "listen": "127.0.0.1:8888", "tag": "audit"},
                "filters": [{"type": "audit_policy", "file": str(tmp_path / "mysink-policy.yaml")}],
                "sinks": [
                    {"type": "webhook", "url": "https://audit.app", "throttle_qps": 10, "throttle_burst": 15},
                ],
            }
        },
    }
    policy = Policy.parse((tmp_path / "mysink-policy.yaml").read_text(), "policy")
    assert policy.omit_stages == {"RequestReceived", "ResponseStarted", "Panic"}
    assert [rule.level for rule in policy.rules] == ["Metadata"]
    assert convert(EXAMPLES / "auditsink.yaml", "-o", tmp_path / "other.yaml").returncode == 2, "the policy is there"


def test_a_service_and_a_bundle_of_authorities_are_taken() -> None:
    bundle = base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode()
    service = f"service: {{name: audit, namespace: ops, path: /in, port: 8443}}\n      caBundle: {bundle}"
    assert sink('url: "https://audit.app"', service) == [
        {
            "type": "webhook",
            "url": "https://audit.ops.svc:8443/in",
            "ca": "/etc/tailrace/mysink-ca.pem",
            "throttle_qps": 10,
            "throttle_burst": 15,
        }
    ]
    outcome = auditsink.convert(TEXT.replace('url: "https://audit.app"', service), "old.yaml", Path("/etc/tailrace/n"))
    assert outcome.files["/etc/tailrace/mysink-ca.pem"] == b"-----BEGIN CERTIFICATE-----\n"


def test_several_documents_and_lists_are_several_pipelines() -> None:
    item = "  - " + TEXT.split("\n", 1)[1].replace("\n", "\n    ").rstrip()
    text = f"{TEXT}---\n# nothing\n---\nkind: List\napiVersion: v1\nitems:\n{item}\n"
    outcome = auditsink.convert(text, "old.yaml", Path("/etc/new.yaml"))
    assert not outcome.remainder
    assert [(pipeline.name, pipeline.source.options["listen"]) for pipeline in outcome.pipelines] == [
        ("mysink", "127.0.0.1:8888"),
        ("mysink-2", "127.0.0.1:8889"),
    ]
    assert "The API server has one webhook backend" in outcome.pipelines[0].comments[0]


@pytest.mark.parametrize(
    ("change", "to", "line"),
    [
        ("kind: AuditSink", "kind: Pod", 2),
        ("v1alpha1", "v1", 2),
        ("  policy:", "  polices: {}\n  policy:", 7),
        ("      qps: 10", "      rate: 3\n      qps: 10", 13),
        ("level: Metadata", "level: metadata", 2),
        ("- ResponseComplete", "- Response", 2),
        ("https://audit.app", "http://audit.app", 2),
        ("https://audit.app", "https://u:hunter2@audit.app", 2),
        ('url: "https://audit.app"', "service: {name: x}", 2),
        ('url: "https://audit.app"', 'url: "https://audit.app"\n      caBundle: "%%%"', 2),
    ],
)
def test_what_is_not_translated_is_named(change: str, to: str, line: int) -> None:
    outcome = auditsink.convert(TEXT.replace(change, to), "old.yaml", Path("/etc/new.yaml"))
    assert list(lines(outcome.remainder)) == [line]
    assert "hunter2" not in str(outcome.remainder)


def test_labels_and_what_else_an_object_has_are_not_needed() -> None:
    outcome = auditsink.convert(TEXT.replace("  name: mysink", "  name: mysink\n  uid: x"), "old.yaml", Path("/n"))
    assert not outcome.remainder
    assert list(lines(outcome.needless)) == [6]


def test_an_auditsink_without_stages_got_nothing_and_now_gets_all() -> None:
    text = TEXT.replace("    stages:\n      - ResponseComplete\n", "")
    outcome = auditsink.convert(text, "old.yaml", Path("/etc/new.yaml"))
    assert "omitStages" not in outcome.files["/etc/mysink-policy.yaml"].decode()
    assert "sent nothing at all" in lines(outcome.notes)[2]


def test_what_is_not_yaml_is_said_with_the_line_of_its_document() -> None:
    with pytest.raises(ParseError, match=r"^old\.yaml:\d+:"):
        auditsink.convert(TEXT + "---\na: [\n", "old.yaml", Path("/etc/new.yaml"))


def test_the_config_passes_check(tmp_path: Path) -> None:
    pytest.importorskip("tailrace_plugins.sinks.webhook", reason="AuditSinks need the sink")
    out = tmp_path / "new.yaml"
    assert convert(EXAMPLES / "auditsink.yaml", "-o", out).returncode == 0
    assert tailrace("check", out).stdout == "ok: mysink: webhook -> audit_policy -> webhook\n"


def test_events_of_the_wanted_stages_come_to_the_other_side_at_the_wanted_level(tmp_path: Path) -> None:
    pytest.importorskip("tailrace_plugins.sinks.webhook", reason="AuditSinks need the sink")
    authority, port = Authority(), free_port()
    pair = authority.sign_server()
    write_all(tmp_path, [("server.crt", pair.certificate), ("server.key", pair.key)])
    tls: dict[str, Any] = {"tls_cert": str(tmp_path / "server.crt"), "tls_key": str(tmp_path / "server.key")}
    bodies = [gzip.decompress(path.read_bytes()) for path in BODIES]
    sent = [item for body in bodies for item in json.loads(body)["items"]]
    expected = sorted(item["auditID"] for item in sent if item["stage"] == "ResponseComplete")
    with receiving(tmp_path / "receiver", **tls) as receiver:
        config = (
            f'url: "https://127.0.0.1:{receiver.port}/in"\n      caBundle: {base64.b64encode(authority.ca).decode()}'
        )
        old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
        old.write_text(TEXT.replace('url: "https://audit.app"', config))
        assert convert(old, "-o", new, "--state-dir", tmp_path / "state").returncode == 0
        new.write_text(new.read_text().replace("127.0.0.1:8888", f"127.0.0.1:{port}"))
        process = subprocess.Popen([sys.executable, "-m", "tailrace", "run", str(new)], stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: connects(port))
            assert [post(port, body).status for body in bodies] == [200] * len(bodies)
        finally:
            process.terminate()
            assert process.wait(30) == 0
        assert tailrace("run", "--once", new).returncode == 0
        wait_until(lambda: len(receiver.kept.written) >= len(expected))
    came = [json.loads(line) for line in receiver.kept.written]
    assert sorted(event["auditID"] for event in came) == expected
    assert {event["level"] for event in came} == {"Metadata"}
    assert not any("requestObject" in event or "responseObject" in event for event in came)


def connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
