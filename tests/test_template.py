from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.batch import Batch
from tailrace.memo import Memo
from tailrace.names import encode_name, value_text
from tailrace.template import Template, TemplateError

MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
TEXTS = st.text(st.characters() | st.sampled_from("._%/~\0\n\ud800"), max_size=300)


def batch_of(*records: dict[str, Any], tag: str = "audit.a") -> Batch:
    return Batch([json.dumps(record).encode() for record in records], tag=tag)


def render(text: str, record: dict[str, Any] | None = None, tag: str = "audit.a.b") -> str:
    return Template(text).render_all(batch_of(record or {}, tag=tag))[0]


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", ""),
        ("plain 100%d", "plain 100%d"),
        ("{objectRef.namespace}.log", "kube-system.log"),
        ("{a}/{a}", "_none/_none"),
        ('{annotations["a.b/}c"]}', "x%20y"),
        ("{annotations['a.b/}c']}", "x%20y"),
        ("{{{verb}}}", "{get}"),
        ("{verb}}}", "get}"),
        ("{tag}", "audit.a.b"),
        ("{tag[0]}-{tag[2]}", "audit-b"),
        ("{tag[-1]}{tag[-3]}", "baudit"),
        ("{tag[3]} {tag[-4]}", "_none _none"),
        ("{tag[1:]}", "a.b"),
        ("{tag[:2]}", "audit.a"),
        ("{tag[1:2]}", "a"),
        ("{tag[-2:]}", "a.b"),
        ("{tag[:]}", "audit.a.b"),
        ("{tag[3:]}", "_none"),
        ('{["tag"]}', "mine"),
    ],
)
def test_places_are_filled_like_this(text: str, rendered: str) -> None:
    record = {
        "verb": "get",
        "objectRef": {"namespace": "kube-system"},
        "annotations": {"a.b/}c": "x y"},
        "tag": "mine",
    }
    assert render(text, record) == rendered


def test_a_template_says_what_it_reads() -> None:
    template = Template('logs/{{{tag[1]}/{user.name}-{verb}-{user.name}-{a["b"]}-%Y%m%dT%H-%Y', time=True)
    assert template.text.startswith("logs/")
    assert template.fields == ("user.name", "verb", 'a["b"]')
    assert template.uses_tag
    assert template.time_directives == {"Y", "m", "d", "H"}
    assert template.literal_prefix == "logs/{"


def test_a_template_without_places_reads_nothing() -> None:
    template = Template("logs/%Y")
    assert (template.fields, template.uses_tag, template.time_directives) == ((), False, frozenset())
    assert template.literal_prefix == "logs/%Y"
    assert template.inputs(batch_of({})) == []
    assert template.render_all(batch_of({}, {})) == ["logs/%Y"] * 2


def test_a_template_that_starts_with_a_place_has_no_prefix() -> None:
    assert Template("{a}/x").literal_prefix == ""
    assert Template("%Y/x", time=True).literal_prefix == ""
    assert Template("").literal_prefix == ""


def test_the_tags_come_before_the_fields() -> None:
    batch = batch_of({"b": 1, "a": "x"}, {"b": 2})
    template = Template("{b}{tag}{a}")
    assert template.inputs(batch) == [["audit.a", "audit.a"], [1, 2], ["x", None]]
    assert template.render(["audit.a", 1, "x"]) == "1audit.ax"


def test_times_are_those_of_the_event() -> None:
    template = Template("%Y/%m/%d/%H:%M:%S-100%%", time=True)
    assert template.render([], MOMENT) == "2026/03/04/05:06:07-100%"
    assert template.render([], MOMENT.replace(year=33)) == "0033/03/04/05:06:07-100%"


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("audit-%Y%m%d%H", "audit-_unparsed"),
        ("audit-%Y-%m-%d.log", "audit-_unparsed.log"),
        ("%Y/%m/%d/x-%H", "_unparsed/_unparsed/_unparsed/x-_unparsed"),
        ("%Y-{a}-%m", "_unparsed-v-_unparsed"),
        ("%Y%%%m", "_unparsed"),
        ("%Y-x/y-%m", "_unparsed-x/y-_unparsed"),
        ("x%%", "x%"),
    ],
)
def test_an_event_without_a_time_goes_to_the_unparsed_slice(text: str, rendered: str) -> None:
    template = Template(text, time=True)
    values = ["v"] if template.fields else []
    assert template.render(values) == rendered
    assert template.render(values, no_time="?") == rendered.replace("_unparsed", "?")


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("a{b", 2, "not closed; write {{"),
        ('a{b["}', 2, "not closed"),
        ("a}b", 2, "write }}"),
        ("{}", 2, "not a field name"),
        ("x{a..b}", 3, "not a field name"),
        ("{a b}", 2, "not a field name"),
        ("x{tag[a]}", 3, "not a part of the tag"),
        ("{tag.x}", 2, '{["tag"]}'),
        ("{tag[1:2:3]}", 2, "not a part of the tag"),
        ("a%y", 2, "%y is not a part of a time; there are %Y %m %d %H %M %S, and %%"),
        ("a%", 2, "is not a part of a time"),
        ("%{a}", 1, "is not a part of a time"),
    ],
)
def test_a_wrong_template_says_where_and_what_is_right(text: str, column: int, words: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(text, time=True)
    assert caught.value.column == column
    assert str(caught.value).startswith(f"column {column}: ")
    assert words in str(caught.value)


def test_a_field_whose_name_begins_like_the_tag_is_a_field() -> None:
    assert Template("{tags}{tag_name}").fields == ("tags", "tag_name")


@given(TEXTS, TEXTS)
def test_no_value_leaves_its_place_in_a_path(value: str, tag: str) -> None:
    template = Template("logs/{tag}/{a}/{tag[1]}/{tag[1:]}/%Y.log", time=True)
    top, *places, last = template.render([tag, value], MOMENT).split("/")
    assert (top, len(places), last) == ("logs", 4, "2026.log")
    assert all(place and not place.startswith(".") and place.isprintable() for place in places)


@given(TEXTS)
def test_a_tag_made_of_a_value_gives_the_name_of_the_value_back(value: str) -> None:
    tag = Template("audit.{a}").render([value])
    assert Template("{tag[1:]}").render([tag]) == encode_name(value)


def test_another_quote_is_used_for_fields_and_tag() -> None:
    template = Template("{a}|{b}|{c}|{tag[1]}|{tag[7]}", quote=value_text)
    record = {"a": "../x y", "c": {"k": [1, None]}}
    assert template.render_all(batch_of(record, tag="t._/")) == ['../x y||{"k":[1,null]}|_/|']


def test_equal_values_are_formatted_once() -> None:
    seen: list[object] = []

    def quote(value: object) -> str:
        seen.append(value)
        return str(value)

    template = Template("{a}-{b}", quote)
    batch = batch_of({"a": "x", "b": ["l"]}, {"a": "x", "b": ["l"]}, {"a": "y"})
    assert template.render_all(batch) == ["x-['l']", "x-['l']", "y-None"]
    assert seen == ["x", ["l"], "y", None]


def test_values_that_python_calls_equal_have_their_own_texts() -> None:
    values = [1, 1.0, True, "1", "(1,)", None, 0.0, -0.0, {"a": 1}, {"a": True}]
    texts = Template("{a}", value_text).render_all(batch_of(*({"a": value} for value in values)))
    assert texts == ["1", "1.0", "true", "1", "(1,)", "", "0.0", "-0.0", '{"a":1}', '{"a":true}']


def test_a_value_that_is_nested_too_deeply_is_not_remembered_but_answered() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    memo = Memo(lambda values: len(values[0]))
    assert memo.map([[deep, deep, []]], 3) == [1, 1, 0]
    while deep:  # one level at a time, for freeing it at once would nest just as deeply
        deep = deep[0]


def test_a_memo_that_holds_too_much_starts_anew() -> None:
    asked: list[Sequence[Any]] = []

    def ask(values: Sequence[Any]) -> int:
        asked.append(values)
        return len(asked)

    memo = Memo(ask, limit=20)
    two = [["a", "c"], ["b", "b"]]
    assert memo.map(two, 2) == [1, 2]
    assert memo.map(two, 2) == [1, 2]
    assert memo.map([["a", "c" * 30], ["b", "b"]], 2) == [1, 3]
    assert memo.map(two, 2) == [4, 5]
