"""The filter `truncate` against answers of the API server's own code."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.testing import apply
from tailrace_plugins.canonical import SIZES, canonical, canonical_size, fits
from tailrace_plugins.filters.extract import Extract
from tailrace_plugins.filters.truncate import Truncate

DATA = Path(__file__).parent / "data"
CASES = [
    json.loads(line) for line in gzip.decompress((DATA / "truncate-cases.jsonl.gz").read_bytes()).split(b"\n") if line
]
SAMPLE = gzip.decompress((DATA / "audit-sample.log.gz").read_bytes()).split(b"\n")[:-1]
LARGE = max(SAMPLE, key=len)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_what_comes_out_is_what_the_api_server_passes_on(case: dict[str, Any]) -> None:
    events = [text.encode() for text in case["events"]]
    expected = [event for batch in case["expect"]["batches"] for event in batch]
    outcome = apply(Truncate(max_event_size=case["maxEventSize"]), events)
    assert [reject.line for reject in outcome.rejects] == [events[index] for index in case["expect"]["dropped"]]
    assert len(outcome.lines) == len(expected)
    for line, event in zip(outcome.lines, expected, strict=True):
        if event["truncated"]:
            assert canonical(line) == event["line"].encode() + b"\n"
        else:
            assert line == events[event["event"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_sizes_are_those_of_the_api_server(case: dict[str, Any]) -> None:
    assert [canonical_size(text.encode()) for text in case["events"]] == case["expect"]["sizes"]


def test_an_event_that_the_api_server_wrote_is_its_own_canonical_form() -> None:
    assert [canonical(line) for line in SAMPLE] == [line + b"\n" for line in SAMPLE]


def test_events_that_fit_keep_their_bytes_and_the_large_one_loses_its_bodies() -> None:
    outcome = apply(Truncate(), SAMPLE)
    assert outcome.rejects == []
    changed = [(before, after) for before, after in zip(SAMPLE, outcome.lines, strict=True) if before != after]
    assert changed
    assert all(len(before) >= 102400 > len(after) for before, after in changed)
    for before, after in changed:
        event = json.loads(before)
        event.pop("requestObject", None)
        event.pop("responseObject", None)
        event["annotations"]["audit.k8s.io/truncated"] = "true"
        assert json.loads(after) == event


def test_what_is_still_too_large_is_rejected_with_its_size() -> None:
    (reject,) = apply(Truncate(max_event_size=300), [LARGE]).rejects
    size = len(LARGE) + 1
    assert reject.line == LARGE
    assert reject.reason.startswith(f"too large: {size} bytes, ")
    assert reject.reason.endswith(" without its bodies, and at most 300 may be")
    metadata = b'{"level":"Metadata","verb":"get","x":"' + b"x" * 400 + b'"}'
    (reject,) = apply(Truncate(max_event_size=100), [metadata]).rejects
    assert reject.reason == f"too large: {canonical_size(metadata)} bytes, and at most 100 may be"


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON " + b"x" * 300,
        b'{"level":"Request","user":[],"requestObject":"' + b"x" * 300 + b'"}',
        b'{"level":"Request","stageTimestamp":"0001-01-01T00:00:00+23:00","requestObject":"' + b"x" * 300 + b'"}',
        b'{"level":"Request","stageTimestamp":"2026-01-01T00:00:00","requestObject":"' + b"x" * 300 + b'"}',
        b'{"level":"Request","objectRef":7,"requestObject":"' + b"x" * 300 + b'"}',
        b'{"level":"Request","sourceIPs":{},"requestObject":"' + b"x" * 300 + b'"}',
        b'{"level":"Request","verb":7,"requestObject":"' + b"x" * 300 + b'"}',
        b'{"level":"Request","responseStatus":{"code":true},"requestObject":"' + b"x" * 300 + b'"}',
        b'{"level":"Request","userAgent":"\\ud800","requestObject":"' + b"x" * 300 + b'"}',
        b'{"level":"Request","requestObject":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    ],
)
def test_what_is_no_audit_event_counts_as_it_is(line: bytes) -> None:
    assert apply(Truncate(max_event_size=len(line) + 1), [line]).lines == [line]
    outcome = apply(Truncate(max_event_size=len(line)), [line])
    if line.startswith(b"not JSON") or b"[[" in line or b"ud800" in line:  # it cannot be taken apart
        assert [reject.line for reject in outcome.rejects] == [line]
    else:
        (shorter,) = outcome.lines
        assert shorter.endswith(b',"annotations":{"audit.k8s.io/truncated":"true"}}')
        assert b"requestObject" not in shorter


def test_annotations_that_are_none_are_no_reason_to_fail() -> None:
    line = b'{"level":"Request","annotations":[],"requestObject":"' + b"x" * 300 + b'"}'
    assert [reject.line for reject in apply(Truncate(max_event_size=200), [line]).rejects] == [line]


def test_what_other_filters_have_set_counts_and_stays() -> None:
    line = b'{"level":"Request","verb":"get","requestObject":{"x":"' + b"x" * 300 + b'"}}'
    stages = [Extract(field="verb", into="what"), Truncate(max_event_size=250)]
    outcome = apply(stages, [line, b'{ "verb":"get"}'])
    assert json.loads(outcome.lines[0]) == {
        "level": "Request",
        "verb": "get",
        "what": "get",
        "annotations": {"audit.k8s.io/truncated": "true"},
    }
    assert outcome.lines[1] == b'{ "verb":"get","what":"get"}'


@given(
    text=st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('<>&\u2028\u2029é\x7f\x01"\\')),
    key=st.sampled_from(["requestURI", "userAgent", "requestObject", "unknown"]),
    less=st.integers(-1, 1),
)
def test_the_quick_look_at_a_size_agrees_with_the_slow_one(text: str, key: str, less: int) -> None:
    line = json.dumps({"level": "Request", key: text}, ensure_ascii=False).encode()
    size = canonical_size(line)
    assert fits(line, size - less) == (less <= 0)
    assert fits(line, size + 10_000)
    assert [each(line) >= size for each in SIZES] == [True] * len(SIZES)
