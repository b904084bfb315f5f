"""Secrets planted wherever the API lets them be: the filter `redact` leaves none."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from hypothesis import given
from hypothesis import strategies as st

from tailrace.testing import apply
from tailrace_plugins.filters.redact import Redact

PLANTED = "PLANTED"
BASE64 = base64.b64encode(PLANTED.encode()).decode()[:9]  # as far as it does not depend on what follows
COPIES = ["kubectl.kubernetes.io/last-applied-configuration", "kapp.k14s.io/original"]
KEYS = ["a", "b", "spec", "items", "type", "value", "token", "$patch", "password.txt"]

Json = Any
SECRETS = st.from_regex(rf"{PLANTED}[a-zA-Z0-9]{{5,12}}", fullmatch=True)
LEAVES = SECRETS | SECRETS.map(lambda text: base64.b64encode(text.encode()).decode())
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=5,
)


def holding(leaves: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    """Values of any shape with one of `leaves` somewhere inside."""
    return st.recursive(
        leaves,
        lambda inner: (
            st.tuples(st.lists(JUNK, max_size=2), inner).map(lambda two: [*two[0], two[1]])
            | st.tuples(st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=2), st.sampled_from(KEYS), inner).map(
                lambda three: {**three[0], three[1]: three[2]}
            )
        ),
        max_leaves=4,
    )


ANYTHING = holding(LEAVES)


def spelled(value: Json, draw: st.DrawFn) -> str:
    """Write JSON as some client might: with spaces, and with letters as escapes."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :  ")]))
    text = json.dumps(value, separators=separators, ensure_ascii=draw(st.booleans()))
    word = draw(st.sampled_from(["Secret", "kind", "data", PLANTED, "nothing"]))
    # in a string inside a string the backslash is one of the inner string, and must be escaped
    escaped = f"\\u{ord(word[0]):04x}{word[1:]}"
    return re.sub(rf'(?<=[{{,\s:\[]")(?<!\\"){word}', lambda _: escaped, text)


@st.composite
def secret_objects(draw: st.DrawFn, says_so: bool = True, copies: bool = True) -> Json:
    metadata: Json = {"name": draw(st.text(max_size=3))}
    if copies and draw(st.booleans()):
        copy = draw(secret_objects(copies=False))
        metadata["annotations"] = {draw(st.sampled_from(COPIES)): spelled(copy, draw)}
    value: Json = {"apiVersion": "v1", "metadata": metadata, "type": "Opaque"}
    value[draw(st.sampled_from(["data", "stringData", "Data", "binaryData", "x"]))] = draw(ANYTHING)
    return value | ({"kind": "Secret"} if says_so or draw(st.booleans()) else {})


def listed(kind: str, key: str, wrap: Callable[[Json], Json] = lambda value: value) -> st.SearchStrategy[Json]:
    objects = st.lists(secret_objects(says_so=kind == "List").map(wrap), min_size=1, max_size=3)
    return objects.map(lambda items: {"kind": kind, "apiVersion": "v1", "metadata": {}, key: items})


ANSWERS = (
    secret_objects()
    | listed("SecretList", "items")
    | listed("List", "items")
    | listed("Table", "rows", lambda value: {"cells": ["name", "Opaque", 1], "object": value})
    | secret_objects().map(lambda value: {"type": "MODIFIED", "object": value})
    | secret_objects().map(lambda value: {"kind": "WatchEvent", "type": "ADDED", "object": value})
    | SECRETS.map(lambda text: {"kind": "Status", "message": f"no Secret: error found in #1 byte of ...|{text}|..."})
)
OPERATIONS = (
    st.tuples(st.sampled_from(["/data", "/data/x", "/stringData/a~1b", "/x/0/y", "data", "/", 7, None]), ANYTHING)
    | st.tuples(st.just(""), secret_objects())
    | st.tuples(
        st.just("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"),
        secret_objects(copies=False).map(json.dumps) | SECRETS,
    )
    | st.tuples(
        st.just("/metadata"),
        secret_objects(copies=False).map(lambda one: {"annotations": {COPIES[0]: json.dumps(one)}}),
    )
)
PATCHES = (
    secret_objects(says_so=False)
    | st.dictionaries(st.sampled_from(["data", "stringData", "Data", "$setElementOrder/x"]), ANYTHING, min_size=1)
    | st.tuples(st.sampled_from(["Status", "Table", "SecretList"]), ANYTHING).map(
        lambda two: {"kind": two[0], "details": two[1], "rows": [two[1]], "items": two[1], "message": "x"}
    )
    | st.lists(
        OPERATIONS.map(lambda two: {"op": "add", "path": two[0], "value": two[1]}) | ANYTHING, min_size=1, max_size=3
    )
    | SECRETS
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Json, str, str]:
    """Give a request for Secrets: its body, resource and verb."""
    if draw(st.booleans()):
        return draw(PATCHES), "secrets", "patch"
    return draw(ANSWERS), "secrets", draw(st.sampled_from(["create", "update", "get", "list", "delete", "watch"]))


@st.composite
def others(draw: st.DrawFn) -> tuple[Json, str, str]:
    """Give a request for something else, in which a Secret or a token lies."""
    token = draw(SECRETS)
    tokens: list[Json] = [
        {"kind": "TokenReview", "spec": {"token": token}},
        {"kind": "TokenRequest", "status": {"token": token}},
        {"spec": {"discovery": {"bootstrapToken": {"token": token}, "tlsBootstrapToken": token}}},
        {"bootstrapTokens": [{"token": token}]},
    ]
    value = draw(holding(secret_objects() | listed("SecretList", "items") | st.sampled_from(tokens)))
    return value, "things", draw(st.sampled_from(["create", "get", "patch"]))


@st.composite
def uris(draw: st.DrawFn) -> Json:
    part = draw(st.sampled_from(["exec", "attach", "proxy"]))
    name = draw(st.sampled_from(["x", "q"] if part == "proxy" else ["command", "stdin", "c%6fmmand"]))
    values = draw(st.lists(SECRETS.map(lambda text: quote(f"export X='{text}'")), min_size=1, max_size=3))
    sign = draw(st.sampled_from("&;"))
    query = sign.join([f"{name}={value}" for value in values] + ["stdout=true"])
    return {"objectRef": {"resource": "pods", "subresource": part}, "requestURI": f"/api/v1/pods/x/{part}?{query}"}


@st.composite
def events(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 9)) == 0:
        return json.dumps(draw(uris())).encode()
    body, resource, verb = draw(bodies() | others())
    where = "requestObject" if verb == "patch" else draw(st.sampled_from(["requestObject", "responseObject"]))
    held = [f'"{where}":{spelled(body, draw)}' for _ in range(draw(st.integers(1, 2)))]
    event = {"verb": verb, "objectRef": {"resource": resource}}
    if resource == "secrets" and draw(st.booleans()):
        patch = [{"op": "add", "path": "/data/a", "value": draw(ANYTHING)}]
        event["annotations"] = {
            "patch.webhook.admission.k8s.io/round_0_index_0": json.dumps({"patch": patch, "patchType": "JSONPatch"})
        }
    return f"{json.dumps(event)[:-1]},{','.join(held)}}}".encode()


def plain(value: Json) -> str:
    """Write out all that a value holds, with strings that are JSON, or part of a URI, read."""
    if isinstance(value, dict):
        return " ".join(map(plain, [*value, *value.values()]))
    if isinstance(value, list):
        return " ".join(map(plain, value))
    if not isinstance(value, str):
        return str(value)
    try:
        inner = json.loads(value)
    except ValueError:
        inner = None
    return f"{value} {unquote(value)}" if inner is None or inner == value else f"{value} {plain(inner)}"


@given(st.lists(events(), min_size=1, max_size=3), st.sampled_from([None, "0123456789abcdef"]))
def test_no_byte_of_a_planted_secret_is_left(lines: list[bytes], key: str | None) -> None:
    clean = b'{ "verb":"get","objectRef":{"resource":"pods"},"requestObject":{"a":1.10, "kind":"Pod"}}'
    outcome = apply(Redact(key=key), [*lines, clean])
    assert outcome.rejects == []
    assert outcome.lines[-1] == clean
    for before, after in zip(lines, outcome.lines, strict=False):
        held = plain(json.loads(before)) + before.decode()
        assert PLANTED in held or BASE64 in held
        for left in (after.decode(), plain(json.loads(after))):
            assert PLANTED not in left
            assert BASE64 not in left
