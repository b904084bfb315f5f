"""Changing one field of a line and no other byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.edit import EditError, delete_field, encode_value, set_field, splice

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
PLAIN_KEYS = st.text("abcdef", max_size=3)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN_KEYS, inner, max_size=3), max_leaves=8
)
RECORDS = st.dictionaries(PLAIN_KEYS, VALUES, max_size=5)
ENDINGS = st.sampled_from([b"", b"\r", b" \t\r"])


def dumps(record: Any) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


@given(RECORDS, VALUES, ENDINGS)
def test_splice_appends_and_changes_no_byte_of_the_line(record: dict[str, Any], value: Any, ending: bytes) -> None:
    line = dumps(record)
    spliced = splice(line + ending, "new", value)
    assert spliced.startswith(line[:-1])
    assert spliced.endswith(b"}" + ending)
    assert json.loads(spliced) == record | {"new": value}
    assert delete_field(spliced, ("new",)) == line + ending


@given(RECORDS, VALUES, ENDINGS)
def test_deleting_a_key_that_was_set_gives_back_the_bytes(record: dict[str, Any], value: Any, ending: bytes) -> None:
    line = dumps(record) + ending
    edited = set_field(line, ("new",), value)
    assert json.loads(edited) == record | {"new": value}
    assert delete_field(edited, ("new",)) == line


@given(RECORDS, RECORDS, VALUES)
def test_deleting_a_nested_key_that_was_set_gives_back_the_bytes(
    record: dict[str, Any], inner: dict[str, Any], value: Any
) -> None:
    line = dumps(record | {"outer": {"inner": inner}})
    edited = set_field(line, ("outer", "inner", "new"), value)
    assert json.loads(edited) == record | {"outer": {"inner": inner | {"new": value}}}
    assert delete_field(edited, ("outer", "inner", "new")) == line


@pytest.mark.parametrize(
    ("line", "spliced"),
    [
        (b"{}", b'{"k":1}'),
        (b"{ }\r", b'{ "k":1}\r'),
        (b'{"a":1 }', b'{"a":1 ,"k":1}'),
        (b'{"a":"{"}', b'{"a":"{","k":1}'),
        (b'{"a":{}}', b'{"a":{},"k":1}'),
        (b'{"a":1,"a":1.10} \t', b'{"a":1,"a":1.10,"k":1} \t'),
        (b'{"a":"\xff\\ud800"}', b'{"a":"\xff\\ud800","k":1}'),
        (b'\xef\xbb\xbf{"a":-0}', b'\xef\xbb\xbf{"a":-0,"k":1}'),
    ],
)
def test_splice_keeps_spaces_duplicates_and_poison(line: bytes, spliced: bytes) -> None:
    assert splice(line, "k", 1) == spliced


def test_splice_escapes_the_key() -> None:
    assert splice(b"{}", 'a"\n', 1) == b'{"a\\"\\n":1}'


@pytest.mark.parametrize("line", [b"", b"[]", b'"text"', b"\r"])
def test_splice_into_what_is_no_object_is_refused(line: bytes) -> None:
    with pytest.raises(EditError, match="does not end in an object"):
        splice(line, "k", 1)


def test_set_keeps_the_other_values_as_they_were_written() -> None:
    line = b'{"a":1.10,"b":{"x":-0,"y":"\\u0041","z":18446744073709551616},"c":1E2,"d":[1, 2],"e":"\\ud83d\\ude00"}\r'
    expected = line.replace(b"-0", b'"new"')
    assert set_field(line, ("b", "x"), "new") == expected


def test_set_replaces_in_place() -> None:
    assert set_field(b'{"a":1,"b":2,"c":3}', ("b",), {"x": None}) == b'{"a":1,"b":{"x":null},"c":3}'


@pytest.mark.parametrize("outer", [b"null", b"3", b'"text"', b"[1]"])
def test_set_makes_objects_on_the_way_also_in_place_of_another_value(outer: bytes) -> None:
    assert set_field(b'{"a":' + outer + b"}", ("a", "b", "c"), 1) == b'{"a":{"b":{"c":1}}}'


def test_set_makes_missing_objects_on_the_way() -> None:
    assert set_field(b"{}", ("a", "b"), 1) == b'{"a":{"b":1}}'


@pytest.mark.parametrize(
    "path", [("x",), ("x", "y"), ("a", "x"), ("a", "b", "c"), ("text", "y"), ("null", "y"), ("list", "y")]
)
def test_deleting_what_is_not_there_changes_nothing(path: tuple[str, ...]) -> None:
    line = b'{ "a": {"b" : 1}, "text": "t", "null": null, "list": [], "list": [1] } \r'
    assert delete_field(line, path) == line


def test_delete_takes_away_every_duplicate() -> None:
    assert delete_field(b'{"a":1,"b":1.10,"a":2}', ("a",)) == b'{"b":1.10}'


def test_delete_of_a_nested_field_leaves_its_object() -> None:
    assert delete_field(b'{"a":{"b":1}}\r', ("a", "b")) == b'{"a":{}}\r'


@pytest.mark.parametrize("line", [b"", b"[]", b'{"a":', b"\xef\xbb\xbf{}", b'{"\\ud800":1}', b'{"x":' + b"[" * 100_000])
def test_a_line_that_cannot_be_opened_is_refused(line: bytes) -> None:
    with pytest.raises(EditError, match="cannot open the object that holds 'a'"):
        set_field(line, ("a",), 1)
    with pytest.raises(EditError, match="cannot open the object that holds 'a'"):
        delete_field(line, ("a",))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (None, b"null"),
        ("null", b'"null"'),
        ([None, "x"], b'[null,"x"]'),
        ({"a": (None, 1.5)}, b'{"a":[null,1.5]}'),
        ("\ud800", b'"\\ud800"'),
        ("\udcff", b'"\\udcff"'),
        (2**64, b"18446744073709551616"),
        ({"é": 1}, '{"é":1}'.encode()),
    ],
)
def test_value_is_encoded_as_short_json(value: Any, encoded: bytes) -> None:
    assert encode_value(value) == encoded


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        float("inf"),
        float("nan"),
        {"a": [None, -float("inf")]},
        ["\ud800", float("inf")],
        object(),
        {"a": object()},
        nested(100_000),
    ],
)
def test_value_that_json_has_no_word_for_is_refused(value: Any) -> None:
    with pytest.raises(EditError, match="value cannot be written as JSON"):
        encode_value(value)
