"""The filter `redact`: what is hidden, what stays, and what it writes instead."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from redacting import APPLIED, HIDDEN, KEY, body, digest, redacted, request, secret
from reloading import Running, tail
from waiting import wait_until

from tailrace.stage import OptionError
from tailrace.testing import apply
from tailrace_plugins.filters.redact import Redact

SAMPLE = gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes()).split(b"\n")[:-1]


def test_a_secret_keeps_its_names_and_its_type() -> None:
    value = secret(type="Opaque", immutable=True, stringData={"b": "x", "c": ""}, other=[1, None, {"d": True}])
    assert body(value) == value | {
        "data": {"a": HIDDEN},
        "stringData": {"b": HIDDEN, "c": HIDDEN},
        "other": [HIDDEN, None, {"d": HIDDEN}],
    }


def test_equal_secrets_get_equal_hashes_in_whatever_form_they_are() -> None:
    value = secret(stringData={"b": "s3cret"}, data={"a": "czNjcmV0", "c": "not base64", "d": 1})
    hidden = body(value, key=KEY)
    assert hidden["data"] == {"a": digest(b"s3cret"), "c": digest(b"not base64"), "d": digest(b"1")}
    assert hidden["stringData"] == {"b": digest(b"s3cret")}


@pytest.mark.parametrize("key", [KEY.encode(), b"\xff\xfe\r\n\x00\x85" * 4])
def test_the_key_can_lie_in_a_file_and_goes_with_the_stage_to_a_worker(tmp_path: Path, key: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(b" " + key + b"\n")
    stage = Redact(key_file=str(file))
    file.unlink()
    for each in (stage, pickle.loads(pickle.dumps(stage))):
        (line,) = apply(each, [json.dumps(request(secret())).encode()]).lines
        assert digest(b"s3cret", key).encode() in line


CONFIG = """\
state_dir: state
pipelines:
  audit:
    source: {{type: tail, paths: [audit.log]}}
    filters:
      - type: redact
        key_file: {}
    sinks: [{{type: stdout}}]
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "cannot read gone: No such file or directory; `openssl rand -hex 32` makes a key"),
        ("/", "cannot read /: Is a directory; `openssl rand -hex 32` makes a key"),
        ("empty", "empty has 0 bytes, and a key takes 16 or more; `openssl rand -hex 32` makes a key"),
        ("short", "short has 7 bytes, and a key takes 16 or more; `openssl rand -hex 32` makes a key"),
        ("good", None),
    ],
)
def test_check_finds_a_key_file_that_cannot_work(tmp_path: Path, name: str, message: str | None) -> None:
    for file, content in {"empty": "", "short": " letmein \n        ", "good": KEY}.items():
        (tmp_path / file).write_text(content)
    (tmp_path / "tailrace.yaml").write_text(CONFIG.format(name))
    command = [sys.executable, "-m", "tailrace", "check", "tailrace.yaml"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert "letmein" not in result.stdout + result.stderr
    if message is None:
        assert (result.returncode, result.stdout) == (0, "ok: audit: tail -> redact -> stdout\n")
    else:
        assert result.returncode == 2
        assert f'tailrace.yaml:7:19: filter "redact", option "key_file": {message}\n' in result.stderr


def test_with_another_key_in_the_file_a_reload_goes_on_with_that(tmp_path: Path) -> None:
    log, out, key = tmp_path / "audit.log", tmp_path / "out.log", tmp_path / "redact.key"
    keys = [KEY, KEY[::-1]]
    line = json.dumps(request(secret())).encode() + b"\n"
    running = Running(tmp_path)
    running.write({"audit": tail(log, out, filters=[{"type": "redact", "key_file": str(key)}])})
    key.write_text(keys[0])
    log.write_bytes(line)
    with running:
        wait_until(lambda: out.exists() and out.stat().st_size > 0)
        assert running.reload() == {"kept": ["audit"]}
        key.write_text("short")
        assert "has 5 bytes, and a key takes 16 or more" in running.refused()[0]
        key.write_text(keys[1])
        assert running.reload() == {"restarted": ["audit"]}
        with log.open("ab") as file:
            file.write(line)
        wait_until(lambda: out.read_bytes().count(b"\n") == 2)
    assert running.code == 0
    assert [json.loads(each)["requestObject"]["data"]["a"] for each in out.read_bytes().splitlines()] == [
        digest(b"s3cret", each.encode()) for each in keys
    ]
    said = [path.read_bytes() for path in running.state.rglob("*") if path.is_file()]
    said += [str(vars(record)).encode() for record in running.log.records]
    assert said
    assert not any(each.encode() in text for each in keys for text in said)


def test_a_key_that_cannot_work_is_refused() -> None:
    with pytest.raises(OptionError, match="at least 16 bytes"):
        Redact(key="0123456789")
    with pytest.raises(OptionError, match="keep one of them"):
        Redact(key=KEY, key_file="x")


def test_what_admission_webhooks_changed_is_hidden_in_the_audit_annotations() -> None:
    name = "patch.webhook.admission.k8s.io/round_0_index_0"
    patch = [{"op": "add", "path": "/data/a", "value": "b"}]
    annotation = {"configuration": "c", "webhook": "w", "patch": patch, "patchType": "JSONPatch"}
    event = request(secret()) | {"annotations": {name: json.dumps(annotation), "other": "stays"}}
    annotations = redacted(event)["annotations"]
    assert json.loads(annotations[name]) == annotation | {"patch": [patch[0] | {"value": HIDDEN}]}
    assert annotations["other"] == "stays"
    for text in ("{not JSON", "[1]", '"x"'):
        event["annotations"] = {name: text}
        assert text not in redacted(event)["annotations"].values()
    event["annotations"] = {name: "{}", "patch.other": "x"}
    assert redacted(event)["annotations"] == event["annotations"]


def test_of_a_key_that_is_there_twice_nothing_is_left_that_nobody_looked_at() -> None:
    lines = [
        b'{"verb":"patch","objectRef":{"resource":"secrets"},"requestObject":{"data":{"a":"s3cret"},"data":null}}',
        b'{"objectRef":{"resource":"secrets"},"requestObject":{"data":"s3cret"},"requestObject":{"kind":"Status"}}',
        b'{"objectRef":{"resource":"secrets"},"requestObject":{"metadata":{"annotations":{"a":"s3cret","a":"b"}}}}',
    ]
    outcome = apply(Redact(), lines)
    assert outcome.rejects == []
    assert not any(b"s3cret" in line for line in outcome.lines)
    copy = '{"data":{"a":"s3cret"},"data":null,"kind":"Secret"}'
    value = {"kind": "Secret", "metadata": {"annotations": {APPLIED: copy}}}
    assert "s3cret" not in json.dumps(body(value))


@pytest.mark.parametrize("bad", [b'"\\ud800"', b"1e400", b"9" * 5000, b'"\xff"'])
def test_what_may_hold_a_secret_and_cannot_be_read_is_rejected_and_no_other(bad: bytes) -> None:
    line = b'{"objectRef":{"resource":"%s"},"requestObject":{"data":{"a":' + bad + b"}}}"
    outcome = apply(Redact(), [line % b"secrets", line % b"pods"])
    assert outcome.lines == [line % b"pods"]
    (reject,) = outcome.rejects
    assert (reject.line, reject.kind) == (line % b"secrets", "filter")
    assert reject.reason.startswith("may hold a secret and cannot be read: ")


def test_what_is_nested_deeply_does_not_leave_a_secret() -> None:
    line = b'{"objectRef":{"resource":"secrets"},"requestObject":{"x":' + b"[" * 700 + b'"s3cret"' + b"]" * 700 + b"}}"
    assert not any(b"s3cret" in each for each in apply(Redact(), [line]).lines)
    line = line.replace(b'"s3cret"', b'{"kind":"Secret","data":"s3cret"}').replace(b'"secrets"', b'"things"')
    assert not any(b"s3cret" in each for each in apply(Redact(), [line]).lines)


def test_what_is_not_hidden_keeps_its_spelling() -> None:
    line = (
        b'{ "objectRef" : {"resource":"templates"} ,"requestObject":{"a":[1.10, 2],"objects":[{"n":1e2},'
        b'{"kind":"Secret", "metadata":{"x": -0}, "data":{"a":"b"}}]},"z":1.0}\r'
    )
    assert apply(Redact(), [line]).lines == [
        b'{"objectRef":{"resource":"templates"},"requestObject":{"a":[1.10, 2],"objects":[{"n":1e2},'
        b'{"kind":"Secret","metadata":{"x": -0},"data":{"a":"[redacted]"}}]},"z":1.0}\r'
    ]


def test_no_secret_of_a_real_log_is_left_and_every_other_event_keeps_its_bytes() -> None:
    planted = [json.loads(line) for line in SAMPLE if b'"secrets"' in line and b'"data":{' in line]
    assert planted
    outcome = apply(Redact(key=KEY), SAMPLE)
    assert outcome.rejects == []
    text = b"\n".join(outcome.lines)
    for event in planted:
        for name in ("requestObject", "responseObject"):
            for value in event.get(name, {}).get("data", {}).values():
                assert value.encode() not in text
                assert base64.b64decode(value) not in text
    for before, after in zip(SAMPLE, outcome.lines, strict=True):
        event = json.loads(before)
        reference = event.get("objectRef", {})
        if reference.get("resource") != "secrets" and reference.get("subresource") not in (
            "exec",
            "attach",
            "proxy",
            "token",
        ):
            assert before == after
        else:
            assert event.keys() == json.loads(after).keys()


def test_it_does_nothing_if_it_is_told_to_do_nothing() -> None:
    stage = Redact(secrets=False, tokens=False, commands=False)
    assert apply(stage, SAMPLE).lines == SAMPLE
