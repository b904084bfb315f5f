"""Cutting bodies: what comes out is what went in, whatever it is, quickly and in little memory."""

from __future__ import annotations

import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poison import READABLE, UNREADABLE, event
from webhook import event_list

from tailrace_plugins.receiving.events import MOST_EVENTS, BadBody, cut, cut_plain

GOOD: Final = [event(f"good-{number}") for number in range(399)]
ODD: Final = {**READABLE, **UNREADABLE}
ITEM: Final = b'{"auditID":"x"}'


def items(body: bytes, *, lines: bool = False) -> list[bytes]:
    return list(map(bytes, cut(body, lines=lines).items))


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_event_list_of_each_version_is_cut_and_its_version_known(version: str) -> None:
    found = cut(event_list(GOOD).replace(b"audit.k8s.io/v1", b"audit.k8s.io/" + version.encode(), 1))
    assert list(map(bytes, found.items)) == GOOD
    assert (found.version, found.audit) == (f"audit.k8s.io/{version}", True)


@pytest.mark.parametrize(
    "body",
    [
        b'\n{ "items" : [ {"auditID":"x"} ] , "apiVersion":"audit.k8s.io/v1",\r\n"kind"\t:"EventList"}\r\n',
        b'{"metadata":{"items":[1,2]},"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[\n{"auditID":"x"}\n]}',
        b'{"\\u006bind":"Event\\u004cist","api\\u0056ersion":"audit.k8s.io\\/v1","i\\u0074ems":[{"auditID":"x"}]}',
        b'{"kind":"List","kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"auditID":"x"}],"x":"]}"}',
        b'\xef\xbb\xbf{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[{"auditID":"x"}]}',
        b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[{"auditID":"x"}],"more":[1]}',
        b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[{"auditID":"x"}] }\n\n',
    ],
    ids=["pretty", "metadata", "escaped keys", "repeated kind", "BOM", "members behind", "blanks behind"],
)
def test_event_list_may_be_written_in_any_way(body: bytes) -> None:
    assert items(body) == [ITEM]
    assert cut(body).version == "audit.k8s.io/v1"


def test_pretty_printed_items_keep_their_bytes() -> None:
    pretty = [json.dumps(json.loads(line), indent=2).encode() for line in GOOD[:5]]
    body = json.dumps({"apiVersion": "audit.k8s.io/v1", "items": [], "kind": "EventList"}, indent=2).encode()
    assert items(body.replace(b"[]", b"[\n" + b" ,\n".join(pretty) + b"\n]")) == pretty


@pytest.mark.parametrize("last", [b'{"n":3}', b'{"n":tru}'])
def test_no_event_of_two_lists_of_items_is_lost(last: bytes) -> None:
    items_twice = b'"items":[{"n":1},{"n":2}],"items":null,"items":[%b]}' % last
    body = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},' + items_twice
    assert items(body) == [b'{"n":1}', b'{"n":2}', last]


@pytest.mark.parametrize("body", [b'"items":null}', b'"items":[]}', b'"items":[ ]}', b'"metadata":{}}'])
def test_event_list_without_items_holds_no_event(body: bytes) -> None:
    assert cut(b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1",' + body)[:3] == ([], "audit.k8s.io/v1", True)


@pytest.mark.parametrize("value", [b"7", b'"x"', b'{"n":1}', b"tru", b'{"n":tru}', b'[{"n":1}],"items":{"n":2}'])
def test_items_that_are_no_list_are_refused(value: bytes) -> None:
    with pytest.raises(BadBody, match="no list") as caught:
        cut(b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":%b}' % value)
    assert not caught.value.too_many


@pytest.mark.parametrize(
    "version", [b'"v1"', b'"audit.k8s.io/v2"', b"null", b'["audit.k8s.io/v1"]', b'"%b"' % (b"v" * 999)]
)
def test_event_list_of_another_api_is_refused(version: bytes) -> None:
    with pytest.raises(BadBody, match="an EventList of apiVersion"):
        cut(b'{"kind":"EventList","apiVersion":%b,"items":[{}]}' % version)


@pytest.mark.parametrize(
    ("body", "audit"),
    [
        (event("x"), True),
        (event("x").replace(b'"kind":"Event",', b""), False),
        (b'{"kind":"List","apiVersion":"v1","items":[{"n":1}]}', False),
        (b'{"kind":["EventList"],"items":[{"n":1}]}', False),
        (b'{"a":"\\ud800"}', False),
        (b'{"a":"\\ud800","kind":"Event","apiVersion":"audit.k8s.io/v1"}', True),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", False),
        (b"{}", False),
    ],
)
def test_any_other_object_is_one_event(body: bytes, audit: bool) -> None:
    for dressed in (body, b"\xef\xbb\xbf" + body + b"\r\n", b" \n" + body):
        assert cut(dressed)[:3] == ([body], "", audit)


@pytest.mark.parametrize(
    ("body", "expected"), [(b" [ ]", []), (b'[{"a":[1]} ,\n"b",3]\n', [b'{"a":[1]}', b'"b"', b"3"])]
)
def test_array_is_cut(body: bytes, expected: list[bytes]) -> None:
    assert items(body) == expected
    assert not cut(body).audit


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n \n\r\n\t\n"])
@pytest.mark.parametrize("first", [*GOOD[:1], b'{"a":"\\ud800"}', b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"])
def test_lines_are_told_by_the_first_of_them(first: bytes, end: bytes) -> None:
    assert [line.strip() for line in items(end.join([first, *GOOD, b""]))] == [first, *GOOD]


def test_declared_lines_may_be_anything_and_stay_as_they_are() -> None:
    lines = [*UNREADABLE.values(), *READABLE.values(), b'{"cut off":"', b"a\r", *GOOD]
    assert items(b"\xef\xbb\xbf" + b"\n".join(lines), lines=True) == lines


def test_blank_lines_are_not_counted_as_events() -> None:
    body = b" \n\r\n" * MOST_EVENTS + b"\n".join(GOOD)
    assert items(body, lines=True) == GOOD


@pytest.mark.parametrize("dress", ["list", "other list", "array"])
@pytest.mark.parametrize("name", ODD)
def test_one_odd_item_costs_no_neighbour(name: str, dress: str) -> None:
    several = [*GOOD[:200], ODD[name].strip(), *GOOD[200:]]
    body = event_list(several)
    if dress == "other list":
        body = b'{"items":[' + b" ,\n".join(several) + b'],"kind":"EventList","apiVersion":"audit.k8s.io/v1"}'
    elif dress == "array":
        body = b"[" + b", ".join(several) + b"]"
    assert items(body) == several


@pytest.mark.parametrize(
    "body", [b"", b" \r\n", b"\xef\xbb\xbf", b"7", b'"x"', b"null", b"\0{}", b"{", b"[", b"}", b"[1", b'{"a"']
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadBody) as caught:
        cut(body)
    assert not caught.value.too_many


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"0," * MOST_EVENTS + b"0]",
        event_list([b"{}"] * (MOST_EVENTS + 1)),
        event_list([b"{}"] * MOST_EVENTS).replace(b"]}", b'],"items":[{}]}'),
        event_list([b"{}"] * MOST_EVENTS + [b"tru"]).replace(b'"metadata":{},', b""),
        b"{}\n" * (MOST_EVENTS + 1),
    ],
    ids=["array", "list", "two lists", "bad list", "lines"],
)
def test_more_events_than_a_body_may_hold_are_refused_as_too_many(body: bytes) -> None:
    with pytest.raises(BadBody, match="more than 200000 events") as caught:
        cut(body)
    assert caught.value.too_many


def test_as_many_events_as_a_body_may_hold_are_cut() -> None:
    assert len(cut(event_list([b"{}"] * MOST_EVENTS)).items) == MOST_EVENTS
    assert len(cut(b"{}\n" * MOST_EVENTS).items) == MOST_EVENTS


# Anything

JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
SOUND: Final = st.builds(
    lambda value, ascii_only, indent: json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(
        "utf-8", "surrogatepass"
    ),
    JSON,
    st.booleans(),
    st.sampled_from([None, 1]),
)
JUNK: Final = st.sampled_from(
    [b"tru", b"01", b"1e", b"-", b":", b'"\\x"', b'"\xff"', b'"\\ud800"', b'"\n"', b"\0", b"//", b"'"]
)
BROKEN: Final = st.recursive(
    JUNK | SOUND,
    lambda inner: (
        st.lists(inner, max_size=4).map(b",".join).map(lambda text: b"[" + text + b"]")
        | st.lists(inner, max_size=4).map(b",".join).map(lambda text: b"{" + text + b"}")
        | st.tuples(inner, st.sampled_from([b" ", b":", b"\n", b""]), inner)
        .map(b"".join)
        .map(lambda text: b"{" + text + b"}")
    ),
    max_leaves=6,
)
ITEMS: Final = st.lists(SOUND | BROKEN, max_size=5)
BLANKS: Final = st.sampled_from([b"", b" ", b"\n", b"\r\n\t "])


@given(ITEMS, BLANKS, BLANKS)
def test_joined_items_are_cut_to_the_byte_however_broken_between_their_brackets(
    several: list[bytes], before: bytes, behind: bytes
) -> None:
    joined = before + (behind + b"," + before).join(several) + behind
    assert items(b"[" + joined + b"]") == several
    assert items(event_list([joined])) == several
    plain = cut_plain(event_list([joined]))
    assert plain is None or list(map(bytes, plain.items)) == several
    assert items(b'{"items":[%b],"kind":"EventList","apiVersion":"audit.k8s.io/v1"}' % joined) == several


SIGNS: Final = st.sampled_from([bytes([sign]) for sign in b'{}[],:"\\\n 0\xff'])
WORDS: Final = st.sampled_from(
    [
        b'"kind":"EventList"',
        b'"apiVersion":"audit.k8s.io/v1"',
        b'"items":',
        b'{"a":1}\n',
        b"{}",
        b"\xef\xbb\xbf",
        event_list([]),
    ]
)


@given(st.binary(max_size=40) | st.lists(SIGNS | WORDS, max_size=20).map(b"".join), st.booleans())
def test_any_bytes_are_cut_or_refused_with_a_reason(body: bytes, lines: bool) -> None:
    try:
        found = items(body, lines=lines)
    except BadBody:
        return
    at = 0
    for item in found:  # what is given was there, in this order
        at = body.index(item, at) + len(item)
        assert item.strip()
