"""The filter `upgrade`: old events become what the API server's conversion made of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tailrace.testing import apply
from tailrace_plugins.filters.upgrade import Upgrade

SAMPLE = gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes()).split(b"\n")[:-1]
SOME = SAMPLE[::40]


def downgraded(event: dict[str, Any], version: str) -> dict[str, Any]:
    """Write an event as an API server did that was told to log an older version (types.go of that version)."""
    old: dict[str, Any] = {"kind": "Event", "apiVersion": f"audit.k8s.io/{version}"}
    old["metadata"] = {"creationTimestamp": event["stageTimestamp"][:19] + "Z"}
    old["level"] = event["level"]
    old["timestamp"] = event["requestReceivedTimestamp"][:19] + "Z"
    old |= {key: value for key, value in event.items() if key not in old}
    if version == "v1alpha1" and "apiVersion" in event.get("objectRef", {}):
        reference = dict(event["objectRef"])
        group = reference.pop("apiGroup", "")
        reference["apiVersion"] = f"{group}/{reference['apiVersion']}"
        old["objectRef"] = reference
    return old


def upgraded(event: dict[str, Any]) -> dict[str, Any]:
    outcome = apply(Upgrade(), [json.dumps(event).encode()])
    assert outcome.rejects == []
    result: dict[str, Any] = json.loads(outcome.lines[0])
    return result


def test_events_of_v1_keep_their_bytes() -> None:
    others = [
        b'{ "apiVersion":"audit.k8s.io/v1","timestamp":"x","metadata":{}}',
        b'{"apiVersion" : "v1", "timestamp":"2019-01-01T00:00:00Z","objectRef":{"apiVersion":"a/b"}}',
        b'{"apiVersion":7,"timestamp":"x"}',
        b'{ "objectRef":{"apiVersion":"a/b"}}',
    ]
    assert apply(Upgrade(), SAMPLE + others).lines == SAMPLE + others


@pytest.mark.parametrize("version", ["v1beta1", "v1alpha1"])
def test_what_an_older_api_server_wrote_becomes_what_a_newer_one_would_have_written(version: str) -> None:
    for line in SOME:
        event = json.loads(line)
        assert upgraded(downgraded(event, version)) == event


@pytest.mark.parametrize("missing", ["absent", None, "0001-01-01T00:00:00Z"])
@pytest.mark.parametrize("version", ["v1beta1", "v1alpha1"])
def test_missing_times_are_made_of_the_older_fields(version: str, missing: str | None) -> None:
    event = json.loads(SOME[0])
    old = downgraded(event, version)
    for key, before in (
        ("stageTimestamp", old["metadata"]["creationTimestamp"]),
        ("requestReceivedTimestamp", old["timestamp"]),
    ):
        event[key] = before[:-1] + ".000000Z"
        old[key] = missing
        if missing == "absent":
            del old[key]
    assert upgraded(old) == event


def test_times_are_written_in_utc_with_six_digits() -> None:
    old = {"apiVersion": "audit.k8s.io/v1beta1", "timestamp": "2019-03-01T01:30:00.5+02:00", "metadata": None}
    assert upgraded(old) == {
        "apiVersion": "audit.k8s.io/v1",
        "requestReceivedTimestamp": "2019-02-28T23:30:00.500000Z",
    }


def test_an_event_without_any_time_has_none() -> None:
    old = {"apiVersion": "audit.k8s.io/v1beta1", "metadata": {"creationTimestamp": None}, "timestamp": None}
    assert upgraded(old) == {"apiVersion": "audit.k8s.io/v1"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"apiVersion": "apps/v1"}, {"apiGroup": "apps", "apiVersion": "v1"}),
        ({"apiVersion": "/v1", "name": "x"}, {"apiVersion": "v1", "name": "x"}),
        ({"apiGroup": "", "apiVersion": "apps/v1"}, {"apiGroup": "apps", "apiVersion": "v1"}),
        ({"apiVersion": "v1"}, {"apiVersion": "v1"}),
        ({"apiVersion": "a/b/c"}, {"apiGroup": "a/b", "apiVersion": "c"}),
        ({"apiVersion": None}, {"apiVersion": None}),
        ({}, {}),
        (None, None),
    ],
)
def test_group_and_version_of_v1alpha1_are_taken_apart(before: Any, after: Any) -> None:
    event = {"apiVersion": "audit.k8s.io/v1alpha1", "objectRef": before}
    assert upgraded(event) == {"apiVersion": "audit.k8s.io/v1", "objectRef": after}


def test_items_of_a_list_are_known_by_their_timestamp() -> None:
    old = {"level": "Metadata", "timestamp": "2019-03-01T01:30:00Z", "metadata": {"creationTimestamp": None}}
    assert upgraded(old) == {"level": "Metadata", "requestReceivedTimestamp": "2019-03-01T01:30:00.000000Z"}


def test_all_else_keeps_its_spelling() -> None:
    line = (
        b'{"apiVersion":"audit.k8s.io/v1beta1","metadata":{},"x":[1.10, 1e400],"objectRef":{"apiVersion":"v1", "a":-0},'
        b'"stageTimestamp":"2019-03-01T01:30:00Z","requestObject":{"a":1,"a":"\\u0026"}}'
    )
    assert apply(Upgrade(), [line]).lines == [
        b'{"apiVersion":"audit.k8s.io/v1","x":[1.10, 1e400],"objectRef":{"apiVersion":"v1", "a":-0},'
        b'"stageTimestamp":"2019-03-01T01:30:00Z","requestObject":{"a":1,"a":"\\u0026"}}'
    ]


@pytest.mark.parametrize(
    "rest",
    [
        b'"timestamp":"yesterday"',
        b'"timestamp":"2019-03-01T01:30:00"',
        b'"timestamp":"0001-01-01T00:00:00+23:00"',
        b'"timestamp":7',
        b'"metadata":[]',
        b'"metadata":{"creationTimestamp":{}}',
        b'"objectRef":{"apiVersion":1}',
        b'"objectRef":"pods"',
        b'"userAgent":"\\ud800"',
    ],
)
def test_an_old_event_that_cannot_be_converted_is_rejected_alone(rest: bytes) -> None:
    line = b'{"apiVersion":"audit.k8s.io/v1beta1",' + rest + b"}"
    outcome = apply(Upgrade(), [SAMPLE[0], line, SAMPLE[1]])
    assert outcome.lines == [SAMPLE[0], SAMPLE[1]]
    (reject,) = outcome.rejects
    assert reject.line == line
    assert reject.reason.startswith("cannot be upgraded to audit.k8s.io/v1: ")
