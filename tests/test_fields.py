"""Field names, and reading many fields of many lines in one pass."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.fields import Projection, format_field, parse_field, tolerant_decode

KEYS = st.text(
    st.characters(blacklist_characters='"\\', blacklist_categories=["Cs"], min_codepoint=0x20),
    max_size=8,
)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("verb", ("verb",)),
        ("user.username", ("user", "username")),
        ('annotations["a.b/c"]', ("annotations", "a.b/c")),
        ("annotations['a.b/c']", ("annotations", "a.b/c")),
        ('["a.b"].c', ("a.b", "c")),
        ('["a b"]["it\'s"]', ("a b", "it's")),
        ('[""]', ("",)),
        ("naïve.日本", ("naïve", "日本")),
        ("@timestamp.a-b/c", ("@timestamp", "a-b/c")),
    ],
)
def test_field_name_is_split_into_its_keys(text: str, path: tuple[str, ...]) -> None:
    assert parse_field(text) == path


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 1),
        (".a", 1),
        ("a..b", 2),
        ("a.", 2),
        ("a b", 2),
        ("a[0]", 2),
        ('a["b"]c', 7),
        ('a.["b"]', 2),
        ('a["b', 2),
        ("a['b\"]", 2),
        ("a[\"it's]", 2),
        ('a["\\x"]', 2),
        ('a["\n"]', 2),
        ("a['\ud800']", 2),
        ("a\\b", 2),
        ("{a}", 1),
        ("a]", 2),
    ],
)
def test_what_is_no_field_name_is_refused_with_the_column(text: str, column: int) -> None:
    with pytest.raises(ValueError, match=rf"is not a field name \(column {column}\)"):
        parse_field(text)


@given(st.lists(KEYS, min_size=1, max_size=4).map(tuple))
def test_formatted_path_reads_back_and_can_be_projected(path: tuple[str, ...]) -> None:
    name = format_field(path)
    assert parse_field(name) == path
    value: Any = 1
    for key in reversed(path):
        value = {key: value}
    projection = Projection([name])
    rows, bad = projection.rows([json.dumps(value).encode()])
    assert (projection.column(rows, name), bad) == ([1], {})


def test_plain_keys_are_formatted_without_quotes() -> None:
    assert format_field(("annotations", "a.b/c", "d")) == 'annotations["a.b/c"].d'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "empty line"),
        (b" \r", "empty line"),
        (b"\xef\xbb\xbf", "empty line"),
        (b'{"a":', "not JSON: Expecting value at column 6"),
        (b'{"a":1}{"a":2}', "not JSON: Extra data at column 8"),
        (b"\0\0\0{}", "not JSON: Expecting value at column 1"),
        (b'{"a":NaN}', "not JSON: NaN is not a number"),
        (b'{"a":-Infinity}', "not JSON: -Infinity is not a number"),
        (b"[" * 100_000, "not readable: nested too deeply"),
        (b'{"a":' + b"9" * 5000 + b"}", "not readable: Exceeds the limit"),
    ],
)
def test_what_is_not_json_is_refused_in_plain_words(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(reason)):
        tolerant_decode(line)


def test_a_line_that_would_take_gigabytes_to_read_is_not_read() -> None:
    with pytest.raises(ValueError, match="it may have more than 2000000 values"):
        tolerant_decode(b'{"a":"\\ud800","b":[' + b"[]," * 1_000_000 + b"[]]}")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b'{"a":"\\ud800"}', {"a": "\ud800"}),
        (b'{"a":"\xff"}', {"a": "\udcff"}),
        (b'{"a":1e400}', {"a": float("inf")}),
        (b"\xef\xbb\xbf{}\r", {}),
        (b'{"a":18446744073709551616}', {"a": 18446744073709551616}),
        (b'{"a":1,"a":2}', {"a": 2}),
    ],
)
def test_poisoned_json_is_read(line: bytes, value: Any) -> None:
    assert tolerant_decode(line) == value


LINES = [
    b'{"verb":"get","user":{"username":"eve","groups":["a"]},"objectRef":{"namespace":"default"}}',
    b'{"verb":null,"user":null}',
    b'{"objectRef":{"namespace":null}}',
    b"{}",
    b'{"verb":1.10,"user":"nobody","objectRef":[]}',
    b'{"verb":[1],"verb":{"x":"y"},"user":{"username":{"first":"e"}}}',
    b'{"\\u0076erb":"get","objectRef":{"name":"n"}}',
]
FIELDS = ["verb", "user", "user.username", "user.username.first", "objectRef.namespace", "objectRef.name"]


def look_up(line: bytes, field: str) -> tuple[Any, bool]:
    """What plain `json` says: the value, and whether it is there."""
    value = json.loads(line)
    for key in parse_field(field):
        if not isinstance(value, dict) or key not in value:
            return None, False
        value = value[key]
    return value, True


@given(
    values=st.lists(st.sampled_from(FIELDS)),
    presence=st.lists(st.sampled_from(FIELDS)),
    lines=st.lists(st.sampled_from(LINES), max_size=4),
)
def test_projection_says_what_a_full_decode_says(values: list[str], presence: list[str], lines: list[bytes]) -> None:
    projection = Projection(values, presence)
    rows, bad = projection.rows(lines)
    assert not bad
    for field in FIELDS:
        assert not (field in values and not projection.has_value(field))
        assert not (field in presence and not projection.has_presence(field))
        if projection.has_value(field):
            assert projection.column(rows, field) == [look_up(line, field)[0] for line in lines]
        if projection.has_presence(field):
            assert projection.present(rows, field) == [look_up(line, field)[1] for line in lines]


@given(values=st.lists(st.sampled_from(FIELDS)), presence=st.lists(st.sampled_from(FIELDS)))
def test_a_line_that_needs_the_tolerant_decoder_gives_the_same_row(values: list[str], presence: list[str]) -> None:
    projection = Projection(values, presence)
    normal = projection.rows(LINES)[0]
    odd = projection.rows([b"\xef\xbb\xbf" + line for line in LINES])[0]
    for field in FIELDS:
        if projection.has_value(field):
            assert projection.column(odd, field) == projection.column(normal, field)
        if projection.has_presence(field):
            assert projection.present(odd, field) == projection.present(normal, field)


def test_a_field_inside_a_value_that_is_read_whole_needs_no_pass_of_its_own() -> None:
    projection = Projection(["requestObject"])
    assert projection.has_value("requestObject.metadata.name")
    assert projection.has_presence("requestObject.metadata.name")
    assert not projection.has_presence("requestObject")
    assert not projection.has_value("verb")
    rows, _ = projection.rows([b'{"requestObject":{"metadata":{"name":null}}}', b'{"requestObject":"text"}', b"{}"])
    assert projection.column(rows, "requestObject.metadata") == [{"name": None}, None, None]
    assert projection.present(rows, "requestObject.metadata.name") == [True, False, False]


def test_presence_alone_gives_no_value() -> None:
    projection = Projection(presence=["a.b"])
    assert not projection.has_value("a.b")
    assert not projection.has_presence("a")
    assert not projection.has_presence("a.c")


def test_presence_of_an_object_of_which_only_a_field_is_read_is_known() -> None:
    projection = Projection(["a.b"], ["a"])
    rows, _ = projection.rows([b'{"a":{}}', b'{"a":null}', b'{"a":3}', b'{"b":1}', b'{"a":{"b":5}}'])
    assert projection.present(rows, "a") == [True, True, True, False, True]
    assert projection.column(rows, "a.b") == [None, None, None, None, 5]


def test_an_empty_projection_is_false() -> None:
    assert not Projection()
    assert Projection(["a"])
    assert Projection(presence=["a"])


@pytest.mark.parametrize(
    ("line", "kind"),
    [(b"[]", "an array"), (b'"x"', "a string"), (b"true", "a boolean"), (b"null", "null"), (b"7", "a number")],
)
def test_a_line_that_is_no_object_is_bad_and_alone(line: bytes, kind: str) -> None:
    projection = Projection(["a"])
    rows, bad = projection.rows([b'{"a":1}', line, b'{"a":2}'])
    assert projection.column(rows, "a") == [1, None, 2]
    assert bad == {1: ("not_an_object", f"not a JSON object but {kind}")}


def test_a_poisoned_field_costs_nothing_to_those_who_do_not_read_it() -> None:
    projection = Projection(["a"])
    lines = [b'{"a":1,"b":"\\ud800"}', b'{"b":1e400,"a":2}', b'{"b":"\xff","a":3}', b'{"a":4,"b":' + b"9" * 400 + b"}"]
    rows, bad = projection.rows(lines)
    assert (projection.column(rows, "a"), bad) == ([1, 2, 3, 4], {})


def test_asking_for_what_is_not_projected_is_a_bug_that_names_the_field() -> None:
    projection = Projection(["a"])
    rows, _ = projection.rows([b"{}"])
    with pytest.raises(KeyError, match="b is not projected"):
        projection.column(rows, "b")
    with pytest.raises(KeyError, match="presence of a is not projected"):
        projection.present(rows, "a")
