from __future__ import annotations

import datetime
from collections.abc import Mapping

import pytest
import yaml

from tailrace.document import Plain, Value, parse


def read(text: str, environ: Mapping[str, str] | None = None) -> Value:
    value, problems = parse(text, "c.yaml", environ or {})
    assert problems == []
    assert value is not None
    return value


def plain(text: str, environ: Mapping[str, str] | None = None) -> Plain:
    return read(text, environ).plain()


def complaints(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    _, problems = parse(text, "c.yaml", environ or {})
    return list(map(str, problems))


@pytest.mark.parametrize(
    "scalar",
    [
        *(
            "abc",
            "5",
            "-5",
            "0x1F",
            "017",
            "1_000",
            "1:30",
            "1.5",
            ".inf",
            "1e3",
            "1.0e+3",
            "yes",
            "Off",
            "true",
        ),
        *("null", "~", "", "2026-11-23", "2026-11-23T06:00:00Z", "'5'", '"yes"', "y", "a b", "08"),
        "|\n  two\n  lines",
    ],
)
def test_scalars_mean_what_they_mean_to_safe_loader(scalar: str) -> None:
    assert plain(f"key: {scalar}") == yaml.safe_load(f"key: {scalar}")


def test_signs_that_only_mean_something_as_keys_are_strings() -> None:
    assert plain("[=, <<]") == ["=", "<<"]


def test_every_key_and_value_knows_its_place() -> None:
    root = read("a: 1\nb:\n  - x\n  - {c: y}\n")
    assert isinstance(root.data, dict)
    b = root.data["b"]
    assert (b.place.line, b.place.column) == (2, 1)
    assert isinstance(b.value.data, list)
    assert str(b.value.data[0].place) == "c.yaml:3"
    inner = b.value.data[1].get("c")
    assert inner is not None
    assert (inner.place.line, inner.place.column) == (4, 9)


def test_a_key_that_is_missing_or_asked_of_a_scalar_has_no_value() -> None:
    root = read("a: 1")
    assert root.get("b") is None
    a = root.get("a")
    assert a is not None
    assert a.get("b") is None


# The environment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "one"),
        ("x${A}y${A}", "xoney" + "one"),
        ("${A:-two}", "one"),
        ("${UNSET:-two}", "two"),
        ("'${EMPTY}'", ""),
        ("${EMPTY:-two}", "two"),
        ("'${UNSET:-}'", ""),
        ("${UNSET:-/log/{tag}.gz}", "/log/{tag}.gz"),
        ("${UNSET:-${A}}", "one"),
        ("${UNSET:-$$}", "$"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$$${A}", "$${A}"),
        ("$1 costs 5$", "$1 costs 5$"),
        ("$A", "$A"),
    ],
)
def test_variables_are_replaced_as_in_a_shell(text: str, expected: str) -> None:
    assert plain(text, {"A": "one", "EMPTY": ""}) == expected


def test_a_value_without_quotes_gets_its_type_after_the_replacement() -> None:
    text = "- ${LEVEL:-1}\n- '${LEVEL:-1}'\n- ${ON}\n- \"${ON}\"\n- ${NOTHING:-}"
    assert plain(text, {"ON": "yes"}) == [1, "1", True, "yes", None]


def test_the_environment_cannot_change_the_structure() -> None:
    value = "a: b\n- [c]\n# d ${A} $$"
    assert plain("- ${A}\n- e", {"A": value}) == [value, "e"]


def test_keys_are_not_replaced() -> None:
    assert plain("${A}: 1", {"A": "one"}) == {"${A}": 1}


def test_all_variables_that_are_not_set_are_named_with_their_places() -> None:
    assert complaints("a: ${ONE}/${TWO}\nb: '${THREE:-${FOUR}}'") == [
        "c.yaml:1:4: the environment variable ONE is not set; set it, or write ${ONE:-default}",
        "c.yaml:1:4: the environment variable TWO is not set; set it, or write ${TWO:-default}",
        "c.yaml:2:4: the environment variable FOUR is not set; set it, or write ${FOUR:-default}",
    ]


def test_a_value_that_could_not_be_made_is_broken_and_its_neighbours_are_not() -> None:
    root, _ = parse("a: [x, '${ONE}']\nb: {c: 1}", "c.yaml", {})
    assert root is not None
    a, b = root.get("a"), root.get("b")
    assert a is not None
    assert b is not None
    assert (root.is_broken(), a.is_broken(), b.is_broken()) == (True, True, False)


@pytest.mark.parametrize("text", ["${A", "${A:+x}", "${A:-{x}", "${1}", "${}", "${A B}"])
def test_a_variable_that_is_not_well_written_is_an_error(text: str) -> None:
    [complaint] = complaints(f'"{text}"', {"A": "one"})
    assert complaint.startswith("c.yaml:1:1: write a variable as ${NAME} or ${NAME:-default}")


# Aliases and merges


def test_aliases_stand_for_the_values_of_their_anchors() -> None:
    assert plain("a: &x [1, &y {b: 2}]\nc: *x\nd: *y") == {
        "a": [1, {"b": 2}],
        "c": [1, {"b": 2}],
        "d": {"b": 2},
    }


@pytest.mark.parametrize(
    "text",
    [
        "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}",
        "x: &x {a: 1, b: 2}\ny: {b: 3, <<: *x}",
        "x: &x {a: 1}\nz: &z {a: 2, c: 3}\ny: {<<: [*x, *z]}",
        "x: &x {a: 1}\nz: &z {<<: *x, c: 3}\ny: {<<: *z}",
    ],
)
def test_merges_are_those_of_safe_loader(text: str) -> None:
    assert plain(text) == yaml.safe_load(text)


def test_a_merge_of_something_else_than_mappings_is_an_error() -> None:
    assert complaints("a: {<<: 1}\nb: {<<: [{}, x]}") == [
        "c.yaml:1:9: << takes a mapping or a list of mappings",
        "c.yaml:2:14: << takes a mapping or a list of mappings",
    ]


def test_a_value_inside_itself_is_refused() -> None:
    assert complaints("a: &x\n  b: [*x]") == ["c.yaml:1:4: this value holds an alias of itself"]


def test_aliases_that_unfold_to_more_than_memory_holds_are_refused() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))]
    [complaint] = complaints("\n".join(lines))
    assert "unfold to more than 100,000 values" in complaint


def test_deep_nesting_is_refused_however_it_is_made() -> None:
    by_aliases = "\n".join(["- &a0 [x]", *(f"- &a{n} [*a{n - 1}]" for n in range(1, 150))])
    assert "more than 100 levels" in complaints(by_aliases)[0]
    assert complaints("[" * 5000) == ["c.yaml:1:1: nested too deeply"]


# What is refused


def test_keys_that_occur_twice_are_errors_at_the_second() -> None:
    assert complaints("a: 1\nb: 2\na: 3") == ['c.yaml:3:1: the key "a" occurs twice in this mapping']
    assert complaints("{<<: {a: 1}, <<: {b: 1}}") == ['c.yaml:1:14: the key "<<" occurs twice in this mapping']


def test_keys_that_are_no_strings_are_errors_that_tell_of_quotes() -> None:
    assert complaints("on: 1\n5: 1\n? [a]\n: 1") == [
        'c.yaml:1:1: a key must be a string, and YAML reads this as bool; write "on" in quotes',
        'c.yaml:2:1: a key must be a string, and YAML reads this as int; write "5" in quotes',
        "c.yaml:3:3: a key must be a string",
    ]


def test_tags_are_refused() -> None:
    assert complaints("a: !!python/name:os.system\nb: !!str 5\nc: !!set {a}\nd: !x [1]") == [
        "c.yaml:1:4: the tag !!python/name:os.system is not supported; remove it",
        "c.yaml:2:4: the tag !!str is not supported; remove it",
        "c.yaml:3:4: the tag !!set is not supported; remove it",
        "c.yaml:4:4: the tag !x is not supported; remove it",
    ]


def test_a_date_that_does_not_exist_is_an_error() -> None:
    assert plain("2026-11-23") == datetime.date(2026, 11, 23)
    [complaint] = complaints("a: 2026-13-45")
    assert complaint.startswith("c.yaml:1:4: YAML reads this as timestamp, and it is none: ")
    assert complaint.endswith("; use quotes")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: [", "c.yaml:2:5: not YAML: while parsing a flow node"),
        ("a: 1\n\tb: 2", "c.yaml:2:1: not YAML: while scanning for the next token, found character '\\t'"),
        (
            "a: 1\n--- \nb: 2",
            "c.yaml:2:1: not YAML: expected a single document in the stream, but found another",
        ),
        ("a: *b", "c.yaml:1:4: not YAML: found undefined alias 'b'"),
        ("a: 1\nb: x\x07", "c.yaml:2:5: not YAML: the character U+0007 is not allowed"),
        ("a\x01", "c.yaml:1:2: not YAML: the character U+0001 is not allowed"),
        ("# nothing", "c.yaml:1:1: the file is empty"),
    ],
)
def test_text_that_is_no_yaml_is_an_error_with_its_place(text: str, expected: str) -> None:
    [complaint] = complaints(text)
    assert complaint.startswith(expected)


def test_without_an_environment_a_dollar_is_a_dollar() -> None:
    value, problems = parse("a: $$\nb: ${HOME}\nc: '${'\nd: ${1:-2}\n", "c.yaml", None)
    assert problems == []
    assert value is not None
    assert value.plain() == {"a": "$$", "b": "${HOME}", "c": "${", "d": "${1:-2}"}
