"""No event, whatever its values, stops a pipeline or costs a neighbour: each is written or put aside, once."""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.context import Context
from tailrace.pipeline import Pipeline
from tailrace.records import Record
from tailrace.stage import Filter, RecordFilter
from tailrace.testing import ListSource
from tailrace_plugins.filters.drop_keys import DropKeys
from tailrace_plugins.filters.extract import Extract
from tailrace_plugins.filters.keep import Keep
from tailrace_plugins.filters.rename_keys import RenameKeys
from tailrace_plugins.filters.rewrite_tag import RewriteTag
from tailrace_plugins.filters.set import Set
from tailrace_plugins.sinks.file import File

# JSON texts, hostile ones first
VALUES = st.one_of(
    st.sampled_from(
        [
            '"\\ud800"',
            '["\\ud800"]',
            '{"\\udfff":1}',
            "1e400",
            "-1e400",
            "[1e400]",
            "18446744073709551616",
            "1" * 5000,
            "1.10",
            "-0",
            "null",
            "true",
            '""',
            '".."',
            '"a/../b"',
            '"\\u0000"',
            '"' + "x" * 400 + '"',
            '"2026-11-23T05:00:00.000000Z"',
            '"9999-12-31T23:59:59-23:59"',
            '"0001-01-01T00:00:00+23:59"',
            "[" * 300 + "]" * 300,
            "[" * 5000 + "]" * 5000,
            '{"namespace":{"namespace":1}}',
            '{"username":["a"],"extra":7}',
            '{"k":1,"k":2}',
        ]
    ),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ).map(json.dumps),
)
KEYS = ["objectRef", "user", "verb", "stageTimestamp", "namespace", "annotations", "n"]
EVENTS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5).map(
    lambda fields: ("{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}").encode()
)


class Touch(RecordFilter, kw_only=True):
    def process(self, record: Record) -> Record | None:
        if "verb" in record:
            record["touched"] = record["verb"]
        return record


FILTERS: list[list[Filter]] = [
    [
        Extract(field="objectRef.namespace", into="namespace", default="x"),
        RewriteTag(tag="{tag}.{namespace}.{user}"),
        DropKeys(keys=["namespace", "user.extra"]),
    ],
    [
        RewriteTag(field="verb", pattern="(.)", tag="audit.$1"),
        RenameKeys(keys={"verb": "what", "user.username": "who.name"}),
        Set(fields={"n": "{user} {verb} {tag}", "objectRef.seen": True}),
    ],
    [Touch(), Keep(when='verb != "get" || user.username.startsWith("a") || size(objectRef.namespace) > n')],
    [],
]
PATHS = ["{tag}-{verb}-{user.username}.%Y%m%d%H", "{objectRef}/{n}-{annotations}.%Y%m%d%H%M", "all"]


@settings(max_examples=150)
@given(st.lists(EVENTS, min_size=1, max_size=6), st.sampled_from(FILTERS), st.sampled_from(["UTC", "Asia/Kolkata"]))
def test_every_event_is_written_dropped_or_put_aside_and_nothing_stops(
    events: list[bytes], filters: list[Filter], zone: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sinks = {
            path: File(path=f"{directory}/out/{number}/{path}.log", timezone=zone) for number, path in enumerate(PATHS)
        }
        source = ListSource(lines=[b'{"verb":"create","first":1}', *events, b'{"verb":"create","last":1}'])
        context = Context(pipeline="poison", state_dir=directory / "state")
        pipeline = Pipeline(context, source, filters, sinks)
        pipeline.run(threading.Event(), once=True)
        counts = pipeline.counts
        assert counts.events_in == len(events) + 2
        assert counts.events_out + counts.dropped + counts.rejected == counts.events_in
        for number in range(len(PATHS)):
            files = [path for path in (directory / "out" / str(number)).rglob("*") if path.is_file()]
            written = [line for path in files for line in path.read_bytes().splitlines()]
            assert len(written) == counts.events_out
            assert sum(b'"first":1' in line or b'"last":1' in line for line in written) == 2
