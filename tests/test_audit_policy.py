"""The filter `audit_policy` in pipelines: which bytes change, what is dropped, what is rejected."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reloading import Running, append, tail

from tailrace.stage import Filter, OptionError
from tailrace.testing import Outcome, apply
from tailrace_plugins.filters.audit_policy import AuditPolicy, Policy
from tailrace_plugins.filters.extract import Extract
from tailrace_plugins.filters.keep import Keep
from tailrace_plugins.policy.bodies import strip_managed_fields, without_managed_fields

ROOT = Path(__file__).parents[1]
SAMPLE = gzip.decompress((ROOT / "tests" / "data" / "audit-sample.log.gz").read_bytes()).splitlines()
ARCHIVE = (ROOT / "configs" / "policies" / "archive.yaml").read_text()
HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
METADATA = HEAD + "rules: [{level: Metadata}]\n"
REQUEST = HEAD + "rules: [{level: Request}]\n"
NO_MANAGED_FIELDS = HEAD + "omitManagedFields: true\nrules: [{level: RequestResponse}]\n"
NAMES_AND_PATHS = (
    HEAD
    + """
rules:
- level: None
  resources: [{group: "", resources: ["pods/*", configmaps], resourceNames: [web-0, leader, ""]}]
- level: Request
  namespaces: [default, "", 支付]
  omitStages: [RequestReceived]
  omitManagedFields: true
- level: Metadata
  nonResourceURLs: ["/livez*", "/api/*"]
"""
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


def made(directory: Path, text: str, **options: Any) -> AuditPolicy:
    file = directory / "policy.yaml"
    file.write_text(text)
    return AuditPolicy(file=str(file), **options)


def run(directory: Path, text: str, *lines: bytes, after: tuple[Filter, ...] = ()) -> Outcome:
    return apply([made(directory, text), *after], list(lines))


@pytest.mark.parametrize("text", [ARCHIVE, METADATA, REQUEST, NO_MANAGED_FIELDS, NAMES_AND_PATHS])
def test_of_a_real_log_is_left_what_enforce_leaves_and_the_rest_keeps_its_bytes(directory: Path, text: str) -> None:
    policy = Policy.parse(text)
    expected = []
    for line in SAMPLE:
        event = json.loads(line)
        left = policy.enforce(event)
        if left is not None:
            expected.append(line if left == event else left)
    outcome = run(directory, text, *SAMPLE)
    assert outcome.rejects == []
    assert len(outcome.lines) == len(expected)
    for found, wanted in zip(outcome.lines, expected, strict=True):
        assert found == wanted if isinstance(wanted, bytes) else json.loads(found) == wanted
    assert any(isinstance(each, dict) for each in expected)


def test_only_the_level_and_the_bodies_change(directory: Path) -> None:
    line = (
        b'{"level":"RequestResponse","n":1.10,"big":123456789012345678901234567890,"objectRef":{"a":"\\u003c"},'
        b'"requestObject":{"x":1e2},"verb":"get","responseObject":[1.0],"annotations":{"z":"1","a":"2"}}'
    )
    assert run(directory, METADATA, line).lines == [
        b'{"level":"Metadata","n":1.10,"big":123456789012345678901234567890,"objectRef":{"a":"\\u003c"},'
        b'"verb":"get","annotations":{"z":"1","a":"2"}}'
    ]
    assert run(directory, REQUEST, line).lines == [
        line.replace(b'"RequestResponse"', b'"Request"').replace(b',"responseObject":[1.0]', b"")
    ]


@pytest.mark.parametrize("text", [REQUEST, NO_MANAGED_FIELDS])
def test_an_event_that_was_recorded_at_a_lower_level_keeps_its_bytes(directory: Path, text: str) -> None:
    line = b'{ "level": "Metadata", "objectRef": {}, "requestObject": {"odd": 1} , "stage": "Panic" }'
    assert run(directory, text, line).lines == [line]


def test_a_level_that_nobody_knows_is_set(directory: Path) -> None:
    for level in (b'"Everything"', b"7", b"[]", b"null"):
        line = b'{"objectRef":{},"level":%s,"responseObject":1}' % level
        assert run(directory, REQUEST, line).lines == [b'{"objectRef":{},"level":"Request"}']
    assert run(directory, REQUEST, b'{"objectRef":{}}').lines == [b'{"objectRef":{},"level":"Request"}']


def test_level_none_and_omitted_stages_are_dropped(directory: Path) -> None:
    text = HEAD + "omitStages: [Panic]\nrules: [{level: Metadata, verbs: [get], omitStages: [ResponseStarted]}]\n"
    lines = [
        b'{"requestURI":"/","verb":"%s","stage":"%s","level":"Metadata"}' % pair
        for pair in (
            (b"get", b"ResponseComplete"),
            (b"put", b"ResponseComplete"),
            (b"get", b"Panic"),
            (b"get", b"ResponseStarted"),
            (b"get", b"RequestReceived"),
        )
    ]
    assert run(directory, text, *lines).lines == [lines[0], lines[4]]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{}", "requestURI is no URI of a request: it is empty"),
        (b'{"requestURI":"healthz"}', "it does not begin with a slash"),
        (b'{"requestURI":7}', "requestURI is no string"),
        (b'{"objectRef":"pods"}', "objectRef is no object"),
        (b'{"objectRef":{"namespace":7}}', "objectRef.namespace is no string"),
        (b'{"objectRef":{},"verb":["get"]}', "verb is no string"),
        (b'{"objectRef":{},"user":{"username":7}}', "user.username is no string"),
        (b'{"objectRef":{},"user":{"groups":"admins"}}', "user.groups is no list of strings"),
        (b'{"objectRef":{},"user":{"groups":[1]}}', "user.groups is no list of strings"),
    ],
)
def test_an_event_that_does_not_tell_its_request_is_rejected_and_nobody_else(
    directory: Path, line: bytes, reason: str
) -> None:
    text = HEAD + "rules: [{level: Metadata, users: [a], userGroups: [b], namespaces: [c]}, {level: Metadata}]\n"
    good = b'{"objectRef":{},"level":"Metadata"}'
    outcome = run(directory, text, good, line, good)
    assert outcome.lines == [good, good]
    [reject] = outcome.rejects
    assert reject.line == line
    assert reason in reject.reason
    assert reject.reason == f"the policy cannot be applied: {Policy.parse(text).evaluate(json.loads(line)).error}"


def test_a_user_that_is_no_object_is_an_error_to_the_policy_and_nobody_to_the_filter(directory: Path) -> None:
    assert Policy.parse(METADATA).evaluate({"user": [], "objectRef": {}}).error == "user is no object"
    line = b'{"user":[],"objectRef":{},"level":"Metadata"}'
    assert run(directory, METADATA, line).lines == [line]


BODY = b'{"n":1.10,"metadata":{"name":"a","managedFields":[{"f":1}],"z":1e3},"spec":{"metadata":{"managedFields":[]}}}'
CLEAN = BODY.replace(b'"managedFields":[{"f":1}],', b"")


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (BODY, CLEAN),
        (b'{"kind":"PodList","metadata":{"managedFields":[]},"items":[%s,1,%s]}' % (BODY, BODY), None),
        (
            b'{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{"cells":[1.0],"object":%s},{"cells":[]}]}' % BODY,
            None,
        ),
        (BODY.replace(b"managedFields", b"\\u006danagedFields", 1), CLEAN),
        (b'{"kind":"Table","apiVersion":"shop.example.com/v1","rows":[{"object":%s}]}' % BODY, b""),
        (b'{"kind":"Table","apiVersion":7,"rows":[{"object":%s}]}' % BODY, b""),
        (b'[{"op":"add","path":"/metadata/managedFields","value":[]}]', b""),
        (b'{"metadata":"managedFields"}', b""),
        (b'{"metadata":{"labels":{"managedFields":"1.10"}},"n":1.10}', b""),
        (b'{"items":{"metadata":{"managedFields":[]}}}', b""),
        (b'"managedFields"', b""),
        (b"null", b""),
    ],
)
def test_managed_fields_go_where_the_api_server_takes_them_out_and_no_other_byte_does(
    directory: Path, body: bytes, left: bytes | None
) -> None:
    """`left` is what is left of the body, None: the same with each BODY clean, empty: it stays."""
    expected = body.replace(BODY, CLEAN) if left is None else left or body
    line = b'{"level":"RequestResponse","n":1.10,"verb":"%s","objectRef":{},"responseObject":%s,"requestObject":%s}'
    for verb, request in ((b"update", expected), (b"patch", body)):
        given_line, wanted = line % (verb, body, body), line % (verb, expected, request)
        assert run(directory, NO_MANAGED_FIELDS, given_line).lines == [wanted]
    assert without_managed_fields(json.loads(body)) == json.loads(expected)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metadata", "managedFields", "items", "rows", "object", "kind", "apiVersion", "x"]), inner
        )
        | st.fixed_dictionaries(
            {"kind": st.just("Table"), "apiVersion": st.just("meta.k8s.io/v1"), "rows": st.lists(inner, max_size=2)}
        )
    ),
    max_leaves=8,
)


@given(values)
def test_bytes_and_values_lose_the_same_managed_fields(body: Any) -> None:
    text = json.dumps(body).encode()
    left = strip_managed_fields(text)
    assert json.loads(left) == without_managed_fields(body)
    if without_managed_fields(body) == body:
        assert left == text


def test_filters_around_it_see_values(directory: Path) -> None:
    line = b'{"level":"RequestResponse","verb":"get","objectRef":{"namespace":"a"},"responseObject":%s}' % BODY
    extract = Extract(field="objectRef.namespace", into="namespace")
    keep = Keep(when='responseObject.metadata.name == "a" && namespace == "a"')
    outcome = apply([extract, made(directory, NO_MANAGED_FIELDS), keep], [line])
    assert outcome.lines == [line.replace(BODY, CLEAN)[:-1] + b',"namespace":"a"}']
    gone = Keep(when="!has(responseObject)")
    assert len(run(directory, METADATA, line, after=(gone,)).lines) == 1


def test_an_event_that_cannot_be_changed_is_rejected_and_never_passes_with_its_body(directory: Path) -> None:
    lines = [b'\xef\xbb\xbf{"level":"Request","objectRef":{},"requestObject":"secret"}']
    outcome = run(directory, METADATA, *lines)
    assert outcome.lines == []
    assert "cannot change" in outcome.rejects[0].reason
    for line in (
        b'\xef\xbb\xbf{"level":"Request","objectRef":{},"requestObject":{"metadata":{"managedFields":[]}}}',
        b'{"level":"Request","objectRef":{},"requestObject":{"metadata":{"managedFields":"\\ud800"}}}',
    ):
        outcome = run(directory, NO_MANAGED_FIELDS, line)
        assert outcome.lines == []
        assert "managed fields cannot be taken out" in outcome.rejects[0].reason


def test_a_worker_has_the_policy_that_was_read_though_the_file_is_gone(directory: Path) -> None:
    stage = made(directory, METADATA, match="audit.**")
    (directory / "policy.yaml").unlink()
    other = pickle.loads(pickle.dumps(stage))
    assert isinstance(other, AuditPolicy)
    assert (other.match, other.file, list(other.loaded())) == ("audit.**", stage.file, [METADATA])
    assert apply(other, SAMPLE).lines == apply(stage, SAMPLE).lines


def test_a_file_that_is_not_there_or_not_valid_is_a_mistake_in_the_config(directory: Path) -> None:
    with pytest.raises(OptionError, match=r"cannot read .*: No such file or directory"):
        AuditPolicy(file=str(directory / "policy.yaml"))
    (directory / "latin.yaml").write_bytes(b"\xe9")
    with pytest.raises(OptionError, match=r"cannot read .*utf-8"):
        AuditPolicy(file=str(directory / "latin.yaml"))
    with pytest.raises(OptionError, match=r"not valid:\n  .*policy.yaml:3:9: .*\n  .*policy.yaml:3:10: .*\n") as caught:
        made(directory, HEAD + "rules: [{levle: 1, user: []}]\n")
    assert caught.value.option == "file"


def test_a_reload_sees_that_the_policy_file_changed(directory: Path) -> None:
    running = Running(directory)
    log, out, policy = directory / "audit.log", directory / "out.log", directory / "policy.yaml"
    policy.write_text(METADATA)
    append(log, 0, 1)
    running.write({"audit": tail(log, out, filters=[{"type": "audit_policy", "file": str(policy)}])})
    with running:
        assert running.reload() == {"kept": ["audit"]}
        policy.write_text(REQUEST)
        assert running.reload() == {"restarted": ["audit"]}
        policy.write_text("rules: []")
        assert "policy is not valid" in running.refused()[0]
    assert running.code == 0
