"""Every reason for which an event is put aside has one of a few kinds, which metrics count by."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tailrace.batch import Batch
from tailrace.context import Context
from tailrace.fields import Projection
from tailrace.records import Record
from tailrace.reject import REJECT_KINDS
from tailrace.stage import BadEvent, Filter, RecordFilter
from tailrace.testing import apply
from tailrace_plugins.filters.keep import Keep
from tailrace_plugins.sources.tail import Tail
from tailrace_plugins.sources.webhook import Webhook

UNREADABLE_LINES = [
    (b"", "not_json"),
    (b"\xef\xbb\xbf", "not_json"),
    (b"not JSON at all", "not_json"),
    (b'{"verb":', "not_json"),
    (b'{"verb":NaN}', "not_json"),
    (b'{"verb":-Infinity}', "not_json"),
    (b"[1]", "not_an_object"),
    (b"7", "not_an_object"),
    (b"[" * 100_000, "unreadable"),
    (b'{"verb":' + b"[" * 5000 + b"]" * 5000 + b"}", "unreadable"),
    (b'{"verb":' + b"9" * 5000 + b"}", "unreadable"),
]


def kinds(batch: Batch) -> list[str]:
    return [reject.kind for reject in batch.settle()]


class Write(Filter, kw_only=True):
    """Set one field to one value."""

    field: str
    value: object = 1

    def apply(self, batch: Batch) -> None:
        batch[self.field] = [self.value] * len(batch)

    def writes(self) -> Iterable[str]:
        return [self.field]


class WriteRecord(RecordFilter, kw_only=True):
    """Set one key of the record to one value."""

    value: object

    def process(self, record: Record) -> Record | None:
        record["new"] = self.value
        return record


class Refuse(RecordFilter, kw_only=True):
    """Refuse events with words that look like a reason of another kind."""

    def process(self, record: Record) -> Record | None:
        raise BadEvent("not JSON: line longer than 7 bytes")


@pytest.mark.parametrize(("line", "kind"), UNREADABLE_LINES)
def test_line_that_cannot_be_read_has_the_kind_of_its_reason_however_it_is_read(line: bytes, kind: str) -> None:
    projected = Batch([line])
    projected.project(Projection(["verb"]))
    assert kinds(projected) == [kind]

    decoded = Batch([line])
    decoded.records()
    assert kinds(decoded) == [kind]

    alone = Batch([line])
    assert alone["verb"] == [None]
    assert kinds(alone) == [kind]


def test_line_whose_nesting_can_be_read_but_not_written_is_unreadable() -> None:
    found = set()
    for depth in range(900, 1100):
        batch = Batch([b'{"a":' + b"[" * depth + b"]" * depth + b"}"])
        batch.records()
        found.update(kinds(batch))
    assert found <= {"unreadable"}


@pytest.mark.parametrize(
    ("stage", "line", "kind"),
    [
        (Write(field="new", value=float("inf")), b"{}", "cannot_change"),
        (Write(field="new", value=object()), b"{}", "cannot_change"),
        (Write(field="verb", value=[float("nan")]), b'{"verb":1}', "cannot_change"),
        (Write(field="user.name"), b'\xef\xbb\xbf{"user":{}}', "cannot_change"),
        (WriteRecord(value=object()), b"{}", "cannot_change"),
        (WriteRecord(value=float("inf")), b"{}", "cannot_change"),
        (Refuse(), b"{}", "filter"),
        (Keep(when="verb > 3"), b'{"verb":"get"}', "filter"),
    ],
)
def test_what_a_filter_cannot_do_or_will_not_take_has_its_kind(stage: Filter, line: bytes, kind: str) -> None:
    assert [reject.kind for reject in apply(stage, [line]).rejects] == [kind]


def test_line_that_is_too_long_for_its_source_has_a_kind_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_bytes(b'{"long":true}\n')
    source = Tail(paths=[str(tmp_path / "audit.log")], max_line_bytes=10, watch=False)
    source.attach(Context(pipeline="t", state_dir=tmp_path))
    source.open({})
    try:
        pieces = iter(lambda: source.read(0), None)
        assert [kind for batch in pieces for kind in kinds(batch)] == ["too_long"] * 2
    finally:
        source.close()


def test_bytes_that_were_damaged_where_a_source_kept_them_have_a_kind_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "0000000001.spool").write_bytes(b"no record\n" * 2)
    source = Webhook(listen="127.0.0.1:0")
    source.attach(Context(pipeline="t", state_dir=tmp_path))
    source.open(None)
    try:
        batch = source.read(0)
        assert batch is not None
        assert kinds(batch) == ["damaged"]
    finally:
        source.close()
        source.stop()


def test_kind_that_there_is_not_is_a_bug_that_names_those_there_are() -> None:
    reject: Callable[..., None] = Batch([b"{}"]).reject
    with pytest.raises(ValueError, match=f"'eve' is no kind of reject; there are: {', '.join(REJECT_KINDS)}"):
        reject(0, "reason", "eve")


def test_events_as_they_were_read_can_go_to_another_process() -> None:
    originals = Batch([b"{}", b"[]"], tag="t").originals()
    assert pickle.loads(pickle.dumps(originals)) == originals
