"""From a batch to documents: the index of each event, by fields, tag and time."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.batch import Batch
from tailrace.fields import Projection
from tailrace_plugins.sinks.elasticsearch import Elasticsearch

LINES = [
    b'{"stageTimestamp":"2026-11-23T23:30:00.0Z","verb":"get"}',
    b'{"stageTimestamp":"2026-11-23T22:30:00.0Z","verb":"GET"}',
    b'{"requestReceivedTimestamp":"2026-11-24T00:30:00+02:00"}',
    b'{"stageTimestamp":17,"verb":["a"]}',
]


def indices(**options: Any) -> list[str]:
    """Name the index of each line, as the sink encodes it."""
    sink = Elasticsearch(hosts=["http://127.0.0.1:9200"], **options)
    batch = Batch(LINES, tag="audit.Kube-System.x", origin={"path": "audit.log"})
    batch.project(Projection(list(sink.reads()), list(sink.writes())))
    documents, rejects = sink.encode(batch)
    assert (documents.lines, rejects) == (LINES, [])
    assert batch.undeclared == set()
    return [start.removeprefix(b'{"create":{"_index":"').removesuffix(b'"').decode() for start in documents.starts]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"index": "audit"}, ["audit"] * 4),
        (
            {"index": "audit-{verb}-%Y.%m.%d"},
            [
                "audit-get-2026.11.23",
                "audit-~47~45~54-2026.11.23",
                "audit-_none-2026.11.23",
                "audit-~5b~22a~22~5d-_unparsed",
            ],
        ),
        (
            {"index": "a-%Y%m%d%H", "timezone": "Europe/Berlin"},
            ["a-2026112400", "a-2026112323", "a-2026112323", "a-_unparsed"],
        ),
        ({"index": "a-{tag[1]}-{tag[2:]}"}, ["a-~4bube-~53ystem-x"] * 4),
        ({"index": "a-{tag}"}, ["a-audit.~4bube-~53ystem.x"] * 4),
        ({"index": "a-%Y", "time_fields": ["verb"]}, ["a-_unparsed"] * 4),
        ({"data_stream": "logs-{tag[0]}-x", "add_timestamp": False}, ["logs-audit-x"] * 4),
    ],
)
def test_the_index_is_made_of_fields_tag_and_time(options: dict[str, Any], expected: list[str]) -> None:
    assert indices(**options) == expected


def test_other_sinks_see_events_without_the_time_that_was_added() -> None:
    sink = Elasticsearch(hosts=["http://127.0.0.1:9200"], data_stream="logs-a-b")
    batch = Batch(LINES[:1], origin={"path": "audit.log"})
    batch.project(Projection(list(sink.reads()), list(sink.writes())))
    documents, _ = sink.encode(batch)
    assert documents.lines == [LINES[0][:-1] + b',"@timestamp":"2026-11-23T23:30:00.0Z"}']
    assert [original.line for original in documents.originals] == LINES[:1]
    assert batch.encoded() == LINES[:1]
    assert batch.undeclared == set()


def test_an_event_to_which_no_time_can_be_added_is_refused_as_it_was_read() -> None:
    sink = Elasticsearch(hosts=["http://127.0.0.1:9200"], data_stream="logs-a-b")
    timeless, good, broken = b'{"verb":"get"}', LINES[0], b"\xef\xbb\xbf" + LINES[1] + b" x"
    batch = Batch([timeless, good, broken], origin={"path": "audit.log"})
    documents, rejects = sink.encode(batch)
    assert len(documents) == 1
    assert documents.originals[0].line == good
    assert sorted(reject.line for reject in rejects) == sorted([timeless, broken])
