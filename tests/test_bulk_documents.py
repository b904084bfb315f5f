"""Documents on their way: what the body of a request holds, and what the protocol cannot carry."""

from __future__ import annotations

import base64
import hashlib
import pickle

import pytest
from bulk_server import Item, parse_body
from hypothesis import given
from hypothesis import strategies as st

from tailrace.batch import Batch
from tailrace_plugins.indexing.documents import Documents, content_id, joined, sieved, start_of

LINES = st.lists(st.binary(max_size=60) | st.sampled_from([b"", b"\r", b"{}", b'{"a":1}\r']), max_size=12)


def documents(lines: list[bytes], *, has_ids: bool = True) -> Documents:
    """Make documents as the encoder does."""
    ids = [content_id(line) for line in lines] if has_ids else None
    return Documents([start_of("audit")] * len(lines), ids, lines, Batch(lines, origin={"path": "a.log"}).originals())


@given(LINES, st.booleans())
def test_what_is_sent_is_each_line_to_the_byte_and_what_cannot_be_is_refused(lines: list[bytes], has_ids: bool) -> None:
    fit, rejects = sieved(documents(lines, has_ids=has_ids))
    carried = [line for line in lines if b"\n" not in line and line.strip(b"\r")]
    assert sorted([*carried, *(reject.line for reject in rejects)]) == sorted(lines)
    expected = [Item("audit", content_id(line).decode() if has_ids else None, line) for line in carried]
    if carried:
        assert parse_body(fit.body()) == expected
        assert len(fit.body()) == fit.size if has_ids else len(fit.body()) <= fit.size
    assert pickle.loads(pickle.dumps(fit)) == fit


@given(LINES, st.integers(1, 500), st.integers(1, 5))
def test_documents_are_cut_into_as_much_as_a_request_may_have(lines: list[bytes], size: int, count: int) -> None:
    whole = documents(lines)
    parts = list(whole.within(size, count))
    assert joined(parts) == whole
    assert all(len(part) == 1 or (len(part) <= count and part.size <= size) for part in parts if len(part))


def test_a_line_with_a_newline_never_becomes_an_action_of_its_own() -> None:
    hostile = b'{"a":1}\n{"delete":{"_index":"other","_id":"1"}}'
    fit, rejects = sieved(documents([b'{"b":1}', hostile, b'{"c":1}']))
    assert [item.source for item in parse_body(fit.body())] == [b'{"b":1}', b'{"c":1}']
    assert [(reject.line, reject.kind, reject.offset) for reject in rejects] == [(hostile, "refused", 8)]
    assert rejects[0].reason == "the event has a newline in it, which the bulk protocol cannot carry"


def test_an_id_is_made_of_the_bytes_alone() -> None:
    line = b'{"auditID":"x"}'
    assert content_id(line) == base64.urlsafe_b64encode(hashlib.sha256(line).digest())[:32]
    assert content_id(line + b" ") != content_id(line)


@pytest.mark.parametrize("line", [b"", b"\r"])
def test_an_empty_line_is_no_document(line: bytes) -> None:
    fit, rejects = sieved(documents([line, b"{}"]))
    assert fit.lines == [b"{}"]
    assert [reject.reason for reject in rejects] == ["an empty line is no document"]
