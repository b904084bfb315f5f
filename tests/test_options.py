from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from tailrace.document import parse
from tailrace.options import build
from tailrace.stage import Filter, OptionError


class Rule(msgspec.Struct, forbid_unknown_fields=True):
    pattern: str
    level: Literal["low", "high"] = "low"

    def __post_init__(self) -> None:
        if self.pattern == "(":
            raise OptionError("pattern", "does not parse")
        if self.pattern == ")":
            raise ValueError("no rule")


class Color(enum.Enum):
    RED = "red"


class Picky(Filter, kw_only=True):
    """A filter with an option of each type."""

    needed: Annotated[str, Meta(description="Some text.")]
    bare: int
    count: Annotated[int, Meta(ge=1)] = 1
    ratio: float = 1.0
    on: bool = False
    level: Literal["low", "high"] | None = None
    color: Color = Color.RED
    names: Annotated[list[str], Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["x"])
    limits: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    pairs: Annotated[dict[str, int], Meta(min_length=2)] = msgspec.field(default_factory=dict)
    rules: list[Rule] = msgspec.field(default_factory=list)
    either: str | list[int] = ""
    anything: Any = None
    renamed: int = msgspec.field(name="other-name", default=3)

    def __post_init__(self) -> None:
        if self.count == 13:
            raise OptionError("count", "13 is not possible; take 12")
        if self.count == 14:
            raise OptionError("rules[0].pattern", "is bad")
        if self.count == 15:
            raise OptionError("ratio", "is too small by default")
        if self.count == 16:
            raise ValueError("count and ratio exclude each other")


def made(options: str) -> tuple[Picky | None, list[str]]:
    """Make a filter of YAML; give it, and what is said to be wrong."""
    table, problems = parse(options, "c.yaml", {})
    assert table is not None
    stage = build(Picky, table, "picky", problems)
    return stage, list(map(str, problems))


def complaints(options: str) -> list[str]:
    stage, problems = made(f"{{needed: n, bare: 1, {options}}}")
    assert stage is None
    return problems


def test_every_type_of_option_can_be_given() -> None:
    stage, problems = made(
        "{needed: n, bare: 1, count: 2, ratio: 3, 'on': yes, level: high, color: red, names: [a], "
        "limits: {a: {b: 1}}, pairs: {x: 1, y: 2}, rules: [{pattern: a}], anything: {x: [1]}, other-name: 4}"
    )
    assert problems == []
    assert stage is not None
    assert (stage.count, stage.ratio, stage.on, stage.renamed) == (2, 3.0, True, 4)
    assert (stage.limits, stage.anything) == ({"a": {"b": 1}}, {"x": [1]})
    assert [rule.pattern for rule in stage.rules] == ["a"]


def test_missing_options_are_named_with_what_they_are_for() -> None:
    assert made("{}") == (
        None,
        [
            'c.yaml:1:1: picky needs the option "needed" (Some text)',
            'c.yaml:1:1: picky needs the option "bare"',
        ],
    )


@pytest.mark.parametrize(
    ("option", "column", "expected"),
    [
        ("count: x", 7, "expected a whole number, got a string"),
        ("count: 0", 7, "expected a whole number >= 1"),
        ("ratio: x", 7, "expected a number, got a string"),
        ('"on": x', 6, "expected true or false, got a string"),
        ("level: x", 7, 'expected "high" or "low", got "x"'),
        ("color: blue", 7, 'expected "red", got "blue"'),
        ("color: 2026-11-23", 7, "expected a string, got a date; put it in quotes"),
        ("names: [a, 5]", 11, "expected a string, got a whole number; put it in quotes"),
        ("either: [x]", 9, "expected a whole number, got a string"),
        ("names: []", 7, "expected a list of length >= 1"),
        ("limits: {a: {b: 1}, c: {d: 1, e: x}}", 33, "expected a whole number, got a string"),
        ("limits: {a: 1}", 12, "expected a mapping, got a whole number"),
        ("pairs: {a: x}", 7, "expected a mapping of length >= 2"),
        ("pairs: {a: 1, b: x}", 7, "expected a whole number, got a string"),
        ("rules: [{pattern: a, patern: b}]", 21, 'there is no key "patern" here; did you mean "pattern"?'),
        ("rules: [{}]", 8, 'the key "pattern" is missing'),
        ("rules: [{pattern: a}, {pattern: b, level: x}]", 42, 'expected "high" or "low", got "x"'),
        ("rules: [{pattern: a}, {pattern: '('}]", 32, "does not parse"),
        ("rules: [{pattern: ')'}]", 8, "no rule"),
        ("other-name: x", 12, "expected a whole number, got a string"),
        ("count: 13", 7, "13 is not possible; take 12"),
    ],
)
def test_a_wrong_option_is_named_in_plain_words_where_it_stands(option: str, column: int, expected: str) -> None:
    name = option.split(":")[0].strip('"')
    start = len("{needed: n, bare: 1, ") + 1
    assert complaints(option) == [f'c.yaml:1:{start + column}: picky, option "{name}": {expected}']


def test_two_wrong_options_give_two_problems() -> None:
    assert len(complaints("count: x, names: 5, nam: 1")) == 3


def test_what_excludes_each_other_is_told_at_the_stage_or_the_option() -> None:
    assert complaints("count: 16") == ["c.yaml:1:1: picky: count and ratio exclude each other"]
    assert complaints("count: 15") == ['c.yaml:1:1: picky, option "ratio": is too small by default']
    [nested] = complaints("count: 14, rules: [{pattern: xyz}]")
    assert nested == 'c.yaml:1:51: picky, option "rules[0].pattern": is bad'


@pytest.mark.parametrize("option", ["count: '${NONE}'", "anything: ['${NONE}']", "limits: {a: {b: '${NONE}'}}"])
def test_a_value_that_could_not_be_made_is_no_second_problem(option: str) -> None:
    [complaint] = complaints(option)
    assert "the environment variable NONE is not set" in complaint
