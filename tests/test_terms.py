"""A condition that is taken apart means what the library takes it for as a whole."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from tailrace.batch import Batch
from tailrace_plugins.expression import Expression
from tailrace_plugins.rewriting import ExpressionError

FIELDS = ["a", "b", 'c["d.e"]', "a.f", "tag", "string"]
LITERALS = ['"a"', "'ab'", '""', 'r"é"', '"""?"""', '"\\u0061b"', 'b"a"', '"a || b"', "'(&&'", '"// \\""']
TEXTS = [None, "", "a", "ab", "ba", "é", "aé", "?", "\ud800", "a\ud800", "a || b", "(&&", '// "']
VALUES = [*TEXTS, 0, 1, True, False, [], ["a", "b"], {"a": 1}, {"f": "a"}, {"f": False}]
EVENTS: list[dict[str, Any]] = [
    {"a": first, "b": second, "c": {"d.e": VALUES[number % len(VALUES)]}, "string": TEXTS[number % len(TEXTS)]}
    for number, (first, second) in enumerate(product(VALUES, VALUES))
]
STRINGS = [{"a": first, "b": second, "c": {"d.e": "ab"}} for first, second in product(["", "a", "ab"], repeat=2)]

TESTS = [
    "{field}{gap}=={gap}{literal}",
    "{field} != {literal}",
    "{literal} == {field}",
    "{literal}{gap}!={gap}{field}",
    "{field} in [{literal}, {literal}]",
    "{field} in [{literal}]",
    "{field} in []",
    "{field}.startsWith({literal})",
    "{field}.endsWith({literal})",
    "{field}.contains({literal})",
    "has({field})",
]
OTHERS = [
    "{field}",
    '{field}.matches("^a|(b)$")',
    "{field}.exists(x, x == {literal} || x == {field} && {field} != x)",
    "{literal} in {field}",
    "{field} in [{field}, {literal}]",
    "{field} == {field}",
    "({field}) == ({field})",
    "{field} < {field}",
    "type({field}) == string",
    "1 / (size({field}) - 1) > 0",
    '{"a": {field} || {field}}.a',
    "true",
    "false",
]
GRAMMAR = {
    "field": FIELDS,
    "literal": LITERALS,
    "gap": ["", " ", " ", "\n", " // || (\n"],
    "term": TESTS * 2 + OTHERS + ["({chain})", "!({chain})"] * 2 + ["!{term}", "({chain}) == true", "({choice})"],
    "chain": ["{term}{gap}||{gap}{term}", "{term}{gap}&&{gap}{term}", "{term} && {term} || {term}"],
    "choice": ["{term} ? {chain} : {chain}"],
    "expression": ["{term}", "{chain}", "{chain}", "{chain}", "{choice}"],
}


@st.composite
def made(draw: st.DrawFn, name: str) -> str:
    """Something of the grammar."""
    return re.sub(r"\{(\w+)\}", lambda found: draw(made(found[1])), draw(st.sampled_from(GRAMMAR[name])))


def check(text: str, events: Sequence[dict[str, Any]]) -> None:
    """See that each event is judged, and rejected, as the library does it with the expression as a whole."""
    expression = Expression(text)
    batch = Batch([json.dumps(event).encode() for event in events], tag="ab")
    columns = expression.inputs(batch)
    whole = [expression.evaluate([column[row] for column in columns]) for row in range(len(events))]
    assert expression.mask(batch) == [answer is True for answer in whole], text
    assert [each.reason for each in batch.settle()] == [answer for answer in whole if isinstance(answer, str)], text


@given(made("expression"), st.sampled_from([EVENTS, STRINGS]))
def test_an_expression_means_the_same_as_its_parts(text: str, events: list[dict[str, Any]]) -> None:
    try:
        check(text, events)
    except ExpressionError:
        reject()


@pytest.mark.parametrize("form", ["{}", "!{}", "!({})", "!!({})", '({}) || a == "-"', 'b == "-" || {}'])
@pytest.mark.parametrize("test", TESTS + OTHERS)
def test_each_term_means_what_it_means_to_the_library(test: str, form: str) -> None:
    for literal in LITERALS:
        term = (
            test.replace("{literal}", literal).replace("{gap}", "").replace("{field}", "a", 1).replace("{field}", "b")
        )
        try:
            check(form.format(term), [*STRINGS, *({"a": value, "b": "a"} for value in VALUES)])
        except ExpressionError:
            assert form.startswith("!{}")  # which denies the literal


OUTCOMES = [
    'a == "a"',
    'a == "b"',
    'x == "a"',
    'n.startsWith("a")',
    "size(a) == 1",
    "size(a) == 2",
    "size(x) == 1",
    "n",
]


@pytest.mark.parametrize("sign", ["&&", "||"])
@pytest.mark.parametrize("form", ["{}", "!({})", '({}) && a == "a"', '({}) || a == "b"'])
def test_all_that_two_parts_can_be_is_combined_as_the_library_does(sign: str, form: str) -> None:
    for first, second in product(OUTCOMES, repeat=2):
        check(form.format(f"{first} {sign} {second}"), [{"a": "a", "n": 1}])


class Untouchable(list[Any]):
    """A value that nobody may look at."""

    def __repr__(self) -> str:
        raise AssertionError("somebody looked")


@pytest.mark.parametrize(
    "text",
    [
        'verb == "delete" && l.size() == 1',
        'l.size() == 1 && verb == "delete"',
        '(l.size() == 1 || l.size() == 2) && verb == "delete"',
        '!(l.size() != 1 || verb != "delete")',
        '!(l.size() == 0 || l.size() == 2) && (verb == "delete")',
    ],
)
def test_what_is_settled_by_one_term_costs_no_other(text: str) -> None:
    batch = Batch([b'{"verb":"delete"}', b'{"verb":"get"}'])
    batch["l"] = [["a"], Untouchable()]
    assert Expression(text).mask(batch) == [True, False]
    assert batch.settle() == []
