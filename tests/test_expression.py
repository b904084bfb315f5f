from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace.batch import Batch
from tailrace_plugins.expression import Expression
from tailrace_plugins.rewriting import ExpressionError

EVENT: dict[str, Any] = {
    "verb": "get",
    "stage": None,
    "code": 404,
    "big": 2**64,
    "user": {"username": "system:node:a", "groups": ["system:nodes", "g"], "extra": {"k": ["v"]}},
    "objectRef": {"namespace": "kube-system"},
    "annotations": {"authorization.k8s.io/decision": "allow"},
    "stageTimestamp": "2026-11-23T06:51:11.257346Z",
    "empty": [],
    "odd": {'q"k': 1},
}


def mask(text: str, *records: dict[str, Any], tag: str = "audit.a") -> list[bool]:
    batch = Batch([json.dumps(record).encode() for record in records], tag=tag)
    result = Expression(text).mask(batch)
    assert batch.settle() == []
    return result


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('verb == "get"', ["verb"]),
        ("a.b.c == a.b.c", ["a.b.c"]),
        ('a["b.c"]["d"].e == 1', ['a["b.c"].d.e']),
        ("a['\\x62'] == 1", ["a.b"]),
        ('a[r"x y"] == 1 && b["""c d"""] == 1', ['a["x y"]', 'b["c d"]']),
        ('a.b[r"\\x"] == 1 && c["""d"e"""] == 1', ["a.b", "c"]),
        ('a[b"k"] == 1 && a[0] == 1', ["a"]),
        ("a[b.c].d == 1", ["a", "b.c"]),
        ('a.b.startsWith("x.y") || c.size() > 0', ["a.b", "c"]),
        ("has(a.b) && has(c) && has(d['e'])", ["a.b", "c", "d.e"]),
        ("a.exists(x, x.y == b && x == c.d) && x.y", ["a", "b", "c.d", "x.y"]),
        ("a.all(x, b.exists(y, x == y)) || y || x", ["a", "b", "y", "x"]),
        ("a.all(x, b.exists(y, x == y) && x == y)", ["a", "b", "y"]),
        ("a.map(x, x > 1, x + n).size() > 0", ["a", "n"]),
        ("a.exists == 1 && b.map.x == 2", ["a.exists", "b.map.x"]),
        ('tag == "x" && a', ["a"]),
        ("type(a) == string && b.string == int(c)", ["a", "b.string", "c"]),
        ('type == "x" && map.a', ["type", "map.a"]),
        ("true && !false && null == null && 1 in [a]", ["a"]),
        ('{"a": b}.a == c ? d : e', ["b", "c", "d", "e"]),
        ("a == 1u && b == 0xFFu && c == .5 && d == 1.5e-3 // e\n&& f == 1", ["a", "b", "c", "d", "f"]),
        ('"a b.c" == \'d\' && b"x" == bytes(f)', ["f"]),
        ("math.greatest(a, 1) == 1 && math.b == 1", ["a", "math.b"]),
    ],
)
def test_fields_are_found_in_the_expression(text: str, fields: list[str]) -> None:
    assert list(Expression(text).fields) == fields


def test_the_tag_is_no_field() -> None:
    assert Expression("tag == 'a'").uses_tag
    assert not Expression("tags == 'a' || a.tag == 'b'").uses_tag


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "verb == 'get' && code >= 400 && code < 500.0 && code > 3u",
        'verb in ["get", "list"]',
        'user.username.startsWith("system:node:")',
        'user.username.endsWith("a") && user.username.contains(":node:")',
        'user.username.matches("^system:(node|kube-)")',
        '"system:nodes" in user.groups && size(user.groups) == 2 && user.groups[1] == "g"',
        'user.groups.exists(g, g.startsWith("system:")) && !user.groups.all(g, g == "g")',
        'user.groups.filter(g, g != "g").size() == 1 && user.groups.exists_one(g, g == "g")',
        'user.extra["k"][0] == "v" && odd["q\\"k"] == 1',
        'annotations["authorization.k8s.io/decision"] == "allow"',
        '"authorization.k8s.io/decision" in annotations',
        'objectRef.namespace == "kube-system" && objectRef.size() == 1',
        'verb == "get" ? code == 404 : false',
        'timestamp(stageTimestamp) > timestamp("2026-01-01T00:00:00Z")',
        'timestamp(stageTimestamp).getHours() == 6 && duration("1h") > duration("59m")',
        "type(verb) == string && type(code) == int && type(user) == map && type(user.groups) == list",
        "big > 1000",
        'tag == "audit.a" && tag.split(".")[1] == "a"',
        'verb.upperAscii() == "GET" && verb.replace("g", "s") == "set"',
        'user.groups.contains("g") && math.greatest(1, code) == 404',
        'user.groups.first().value() == "system:nodes"',
        '"\\u0067et" == verb && r"\\d" != verb',
        'string(code) == "404" && int("404") == code && double(code) == 404.0 && uint(code) == 404u',
        'bytes(verb) == b"get" && dyn(verb) == "get"',
    ],
)
def test_the_language_has_what_audit_logs_need(text: str) -> None:
    assert mask(text, EVENT) == [True]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("has(objectRef.namespace)", False),
        ("!has(objectRef.namespace)", True),
        ("has(objectRef)", False),
        ("has(stage)", False),
        ("!has(stage)", True),
        ("has(verb)", True),
        ("has(a.b.c.d)", False),
        ('objectRef.namespace == "x"', False),
        ('objectRef.namespace != "x"', False),
        ('!(objectRef.namespace == "x")', False),
        ('!has(objectRef.namespace) || objectRef.namespace != "x"', True),
        ('has(objectRef.namespace) && objectRef.namespace == "x"', False),
        ('objectRef.namespace == "x" || verb == "get"', True),
        ('verb == "get" || objectRef.namespace == "x"', True),
        ('objectRef.namespace == "x" || verb == "put"', False),
        ('(objectRef.namespace == "x" && verb == "put") == false', True),
        ('userAgent.startsWith("kube")', False),
        ('userAgent == null || stage == "x"', False),
        ('verb == "get" ? userAgent == "x" : true', False),
        ('"x" in objectRef || user.extra["none"][0] == "v"', False),
        ("has(user.username) && has(user) && has(user.nothing)", False),
    ],
)
def test_a_missing_field_makes_false_what_needs_it(text: str, result: bool) -> None:
    event = {"verb": "get", "stage": None, "user": {"username": "a"}}
    assert mask(text, event) == [result]
    assert mask(text, event | {"objectRef": "not an object"}) == [result or "has(objectRef)" in text]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("verb > 3", "No such overload"),
        ("verb", "it is not true or false but of type str"),
        ("code.startsWith('4')", "'startsWith' does not take these values"),
        ("timestamp(verb) > timestamp('2026-01-01T00:00:00Z')", "Function 'timestamp' error"),
        ("1 / (code - 404) > 1", "division by zero"),
        ("empty[0] == 'a'", "index out of bounds"),
        ("verb.matches(verb + '(')", "not a valid regex"),
        ("code.trim() == ''", "Function 'trim' error"),
    ],
)
def test_an_event_that_cannot_be_judged_is_rejected(text: str, words: str) -> None:
    batch = Batch([json.dumps(EVENT).encode(), b"{}"])
    assert Expression(text).mask(batch) == [False, False]
    (reject,) = batch.settle()
    assert reject.reason.startswith(f"cannot evaluate {text}: ")
    assert words in reject.reason
    assert "\n" not in reject.reason
    assert batch.lines == [b"{}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("verb ==", "column 8: unexpected end of the expression"),
        ("", "column 1: unexpected end of the expression"),
        ("has(verb) && (", "column 15: unexpected end of the expression"),
        ('verb == "a" &&\n  ) b', "line 2, column 3: extraneous input ')'"),
        ("has(1)", "column 5: invalid argument to has() macro"),
        ('a["\\q"] == 1', "column 3: token recognition error at: '\"\\q'"),
        ("foo(verb)", "there is no function foo(), or not with so many arguments"),
        ("verb.foo()", "there is no function foo(), or not with so many arguments"),
        ("[1].all(i, v, true)", "there is no function all(), or not with so many arguments"),
        ('.verb == "x"', "'.verb' is not a field; write it like objectRef.namespace"),
        ("a.Foo{b: 1} == c", "a.Foo{...} makes a message, and there are none here"),
        ("1 + 2", "cannot evaluate 1 + 2: it is not true or false but of type int"),
        ('"a".matches("(")', 'cannot evaluate "a".matches("("): Function \'matches\' error'),
    ],
)
def test_a_wrong_expression_says_where_and_why(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression(text)
    assert str(caught.value).startswith(message)


def test_an_error_that_only_the_rewritten_expression_has_is_told_as_it_is() -> None:
    with pytest.raises(ExpressionError, match="column"):
        Expression("a.exists(x, has(x)) && has(a)")


def test_a_variable_of_a_macro_hides_the_field_of_its_name() -> None:
    text = 'l.exists(verb, verb == "a") && verb == "get"'
    assert mask(text, {"l": ["a"], "verb": "get"}, {"l": ["get"], "verb": "a"}) == [True, False]


def test_text_that_is_not_unicode_is_compared_with_question_marks() -> None:
    lines = [b'{"a":"x\\ud800","l":["\\ud800"]}', b'{"a":"x\xff","l":["?"]}', '{"a":"xü","l":[]}'.encode()]
    batch = Batch(lines)
    assert Expression('a == "x?" && "?" in l').mask(batch) == [True, True, False]
    assert Expression('a == "xü"').mask(batch) == [False, False, True]
    assert batch.settle() == []


def test_a_value_that_is_nested_too_deeply_costs_only_its_event() -> None:
    batch = Batch([b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", b'{"a":[{"b":1}]}'])
    assert Expression("a.size() == 1").mask(batch) == [False, True]
    (reject,) = batch.settle()
    assert "nested more than 100 levels deep" in reject.reason


def test_equal_values_of_different_types_are_judged_each() -> None:
    records = [{"a": value} for value in (1, 1.0, True, "1", [1], [True])]
    assert mask("type(a) == int", *records) == [True, False, False, False, False, False]


def test_a_constant_holds_for_every_event() -> None:
    assert mask("1 < 2", {}, {}) == [True, True]
    assert mask("1 > 2", {}, {}) == [False, False]
