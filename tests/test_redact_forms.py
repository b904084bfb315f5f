"""The filter `redact`: every form in which the API server's log holds a secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redacting import APPLIED, HIDDEN, KEY, MASKED, body, digest, redacted, request, secret

from tailrace.testing import apply
from tailrace_plugins.filters.redact import Redact

COPY = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        (
            {
                "kind": "SecretList",
                "metadata": {"resourceVersion": "1"},
                "items": [{"metadata": {}, "data": {"a": "b"}}],
            },
            {
                "kind": "SecretList",
                "metadata": {"resourceVersion": "1"},
                "items": [{"metadata": {}, "data": {"a": HIDDEN}}],
            },
        ),
        (
            {"kind": "List", "items": [secret(), {"kind": "Pod", "data": 1}], "x": 1},
            {"kind": "List", "items": [MASKED, {"kind": "Pod", "data": HIDDEN}], "x": HIDDEN},
        ),
        (
            {
                "kind": "Table",
                "columnDefinitions": [{"name": "N"}],
                "rows": [{"cells": ["x"], "object": secret(), "y": 1}],
            },
            {
                "kind": "Table",
                "columnDefinitions": [{"name": "N"}],
                "rows": [{"cells": ["x"], "object": MASKED, "y": HIDDEN}],
            },
        ),
        ({"kind": "Table", "rows": [1]}, {"kind": "Table", "rows": [HIDDEN]}),
        ({"kind": "Table", "rows": "x"}, {"kind": "Table", "rows": HIDDEN}),
        ({"kind": "SecretList", "items": "x"}, {"kind": "SecretList", "items": HIDDEN}),
        ({"type": "ADDED", "object": secret()}, {"type": "ADDED", "object": MASKED}),
        (
            {"kind": "WatchEvent", "type": "ADDED", "object": secret()},
            {"kind": "WatchEvent", "type": "ADDED", "object": MASKED},
        ),
        (
            {"kind": "DeleteOptions", "preconditions": {"uid": "x"}, "y": "z"},
            {"kind": "DeleteOptions", "preconditions": {"uid": "x"}, "y": HIDDEN},
        ),
        (
            {"kind": "Status", "message": "ok", "details": {"name": "x"}, "data": "x"},
            {"kind": "Status", "message": "ok", "details": {"name": "x"}, "data": HIDDEN},
        ),
        ({"kind": "Status", "message": ["ok"]}, {"kind": "Status", "message": [HIDDEN]}),
        ({"kind": {"a": "b"}, "type": ["x"]}, {"kind": {"a": HIDDEN}, "type": [HIDDEN]}),
        ({"metadata": "x"}, {"metadata": HIDDEN}),
        ({"type": ["x"], "object": "y"}, {"type": [HIDDEN], "object": HIDDEN}),
        ("kind: Secret", HIDDEN),
        (None, None),
    ],
)
def test_what_is_sent_about_secrets_is_known_in_each_of_its_forms(value: Any, hidden: Any) -> None:
    assert body(value) == hidden


@pytest.mark.parametrize(
    ("patch", "hidden"),
    [
        ({"data": {"a": "b", "c": None}}, {"data": {"a": HIDDEN, "c": None}}),
        ({"Data": {"a": "b"}, "metadata": {"n": 1}}, {"Data": {"a": HIDDEN}, "metadata": {"n": 1}}),
        ({"kind": "Status", "details": "b"}, {"kind": "Status", "details": HIDDEN}),
        ({"$patch": "replace", "data": "b"}, {"$patch": HIDDEN, "data": HIDDEN}),
        ([{"op": "test", "path": "/type", "value": "Opaque"}], [{"op": "test", "path": "/type", "value": "Opaque"}]),
        ([{"op": "add", "path": "/data/a", "value": "b"}], [{"op": "add", "path": "/data/a", "value": HIDDEN}]),
        ([{"op": "add", "path": "/data", "value": {"a": 1}}], [{"op": "add", "path": "/data", "value": {"a": HIDDEN}}]),
        ([{"op": "add", "path": "", "value": secret()}], [{"op": "add", "path": "", "value": MASKED}]),
        ([{"op": "add", "path": "data/a", "value": "b"}], [{"op": "add", "path": "data/a", "value": HIDDEN}]),
        ([{"op": "add", "path": 1, "value": "b", "x": "y"}], [{"op": "add", "path": 1, "value": HIDDEN, "x": HIDDEN}]),
        ([{"op": "copy", "from": "/data/a", "path": "/b"}], [{"op": "copy", "from": "/data/a", "path": "/b"}]),
        (["x", {"value": "y", "type": "z"}], [HIDDEN, {"value": HIDDEN, "type": HIDDEN}]),
        ([{"type": ["x"], "object": "y"}], [{"type": [HIDDEN], "object": HIDDEN}]),
        (
            [{"op": "add", "path": COPY, "value": "x"}],
            [{"op": "add", "path": COPY, "value": HIDDEN}],
        ),
        ("data: {a: b}", HIDDEN),
    ],
)
def test_patches_of_secrets_of_every_kind_are_understood(patch: Any, hidden: Any) -> None:
    assert body(patch, verb="patch") == hidden


def test_the_copy_that_an_annotation_holds_is_hidden_as_the_object_is() -> None:
    value = secret(metadata={"annotations": {APPLIED: json.dumps(secret()), "other": "stays"}})
    hidden = body(value, key=KEY)
    copy = json.loads(hidden["metadata"]["annotations"][APPLIED])
    assert copy == secret(data={"a": digest(b"s3cret")})
    assert hidden["metadata"]["annotations"]["other"] == "stays"
    value = secret(metadata={"annotations": {APPLIED: "H4sIAAAAAAAA", "objectset.rio.cattle.io/applied": "H4sI"}})
    assert set(body(value)["metadata"]["annotations"].values()) == {HIDDEN}


def test_secrets_inside_other_objects_are_found_by_what_they_call_themselves() -> None:
    reference = {"kind": "Secret", "name": "x"}
    value: dict[str, Any] = {"kind": "Template", "objects": [secret(), reference], "n": 1}
    assert body(value, "templates") == value | {"objects": [MASKED, reference]}
    value = {"kind": "Thing", "metadata": {"annotations": {APPLIED: json.dumps({"spec": [secret()]})}}}
    annotations = body(value, "things")["metadata"]["annotations"]
    assert json.loads(annotations[APPLIED]) == {"spec": [MASKED]}
    patch: dict[str, Any] = {"op": "add", "path": "/objects/0", "value": secret(), "x": ["y"]}
    assert body([patch, "Secret"], "templates", "patch") == [patch | {"value": MASKED}, "Secret"]


def test_a_kind_that_is_spelled_with_escapes_is_read() -> None:
    line = b'{"objectRef":{"resource":"templates"},"requestObject":{"k\\u0069nd":"\\u0053ecret","data":{"a":"b"}}}'
    (hidden,) = apply(Redact(), [line]).lines
    assert json.loads(hidden)["requestObject"]["data"] == {"a": HIDDEN}


def test_config_maps_are_hidden_if_asked_for() -> None:
    value = {"kind": "ConfigMap", "metadata": {}, "data": {"a": "YQ=="}, "binaryData": {"b": "YQ=="}, "immutable": True}
    assert body(value, "configmaps") == value
    hidden = body(value, "configmaps", config_maps=True, key=KEY)
    assert hidden == value | {"data": {"a": digest(b"YQ==")}, "binaryData": {"b": digest(b"a")}}
    assert body({"x": [value]}, "pods", config_maps=True, key=KEY) == {"x": [hidden]}


def test_tokens_are_hidden() -> None:
    review = {
        "kind": "TokenReview",
        "spec": {"token": "eyJ", "audiences": ["a"]},
        "status": {"user": {"username": "u"}},
    }
    assert body(review, "tokenreviews") == review | {"spec": {"token": HIDDEN, "audiences": ["a"]}}
    answer = {
        "kind": "TokenRequest",
        "spec": {"audiences": ["a"]},
        "status": {"token": "eyJ", "expirationTimestamp": "t"},
    }
    event = request(None, "serviceaccounts", part="token") | {"responseObject": answer}
    assert redacted(event)["responseObject"]["status"] == {"token": HIDDEN, "expirationTimestamp": "t"}
    assert redacted(event, tokens=False) == event
    assert body({"kind": "Many", "items": [review]}, "many")["items"][0]["spec"]["token"] == HIDDEN
    kubeadm = {
        "kind": "KubeadmConfig",
        "spec": {
            "discovery": {"bootstrapToken": {"token": "a.b", "apiServerEndpoint": "e"}, "tlsBootstrapToken": "a.b"}
        },
        "bootstrapTokens": [{"token": "a.b", "ttl": "1h"}],
    }
    hidden = body(kubeadm, "kubeadmconfigs")
    assert hidden["spec"]["discovery"]["bootstrapToken"] == {"token": HIDDEN, "apiServerEndpoint": "e"}
    assert hidden["spec"]["discovery"]["tlsBootstrapToken"] == HIDDEN
    assert hidden["bootstrapTokens"] == [{"token": HIDDEN, "ttl": "1h"}]
    patch = [{"op": "add", "path": "/spec/discovery/bootstrapToken/token", "value": "a.b"}]
    assert body(patch, "kubeadmconfigs", "patch") == [patch[0] | {"value": HIDDEN}]


@pytest.mark.parametrize(
    ("part", "query", "hidden"),
    [
        ("exec", "command=sh&command=-c&container=app", f"command={HIDDEN}&command={HIDDEN}&container=app"),
        ("exec", "%63ommand=sh;command=a", f"%63ommand={HIDDEN};command={HIDDEN}"),
        ("attach", "stdin=true&command=&stdout=1", "stdin=true&command=&stdout=1"),
        ("attach", "stdin=s3cret", f"stdin={HIDDEN}"),
        ("proxy", "password=x&y&=z&a=", f"password={HIDDEN}&{HIDDEN}&={HIDDEN}&a="),
        ("log", "command=x", "command=x"),
        (None, "command=x", "command=x"),
    ],
)
def test_arguments_that_are_commands_are_hidden(part: str | None, query: str, hidden: str) -> None:
    event = {"objectRef": {"resource": "pods", "subresource": part}, "requestURI": f"/api/v1/pods/x/{part}?{query}"}
    assert redacted(event)["requestURI"] == f"/api/v1/pods/x/{part}?{hidden}"
    assert redacted(event, commands=False) == event


def test_arguments_are_hashed_as_what_they_mean() -> None:
    event = {"objectRef": {"subresource": "exec"}, "requestURI": "/x?command=a+b%21"}
    assert redacted(event, key=KEY)["requestURI"] == f"/x?command={digest(b'a b!')}"
    for uri in ("/x", None, 7):
        assert redacted(event | {"requestURI": uri})["requestURI"] == uri


def test_commands_in_the_body_of_a_request_for_exec_are_hidden() -> None:
    event = request({"kind": "PodExecOptions", "command": ["sh", "-c"], "stdin": True}, "pods", part="exec")
    assert redacted(event)["requestObject"] == {"kind": "PodExecOptions", "command": [HIDDEN] * 2, "stdin": True}


def test_what_an_old_api_server_quotes_in_an_error_is_hidden() -> None:
    message = 'cannot be handled as a Secret: expects ", error found in #10 byte of ...|"a":s3cret|...'
    event = {"objectRef": {"resource": "secrets"}, "responseStatus": {"code": 400, "message": message}}
    hidden = f'cannot be handled as a Secret: expects ", error found in #{HIDDEN}'
    assert redacted(event)["responseStatus"] == {"code": 400, "message": hidden}
    event["responseObject"] = {"kind": "Status", "message": message}
    assert redacted(event)["responseObject"]["message"] == hidden
    assert redacted(event | {"objectRef": {"resource": "pods"}})["responseStatus"]["message"] == message
    assert redacted(request(secret()) | {"responseStatus": 7, "annotations": 7})["requestObject"] == MASKED
