"""Names of indices made of data: legal, each value its own, and never those of another index."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from bulk_server import check_name
from hypothesis import assume, given
from hypothesis import strategies as st
from test_names import JSON, TEXTS, near

from tailrace_plugins.indexing.names import NAME_LIMIT, encode_value, fit_name, index_template

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
HOSTILE = TEXTS | st.text(st.sampled_from('ab-_+.~%/\\*?"<>| ,#:{}AZ09\0\nİß'), max_size=300)


@given(JSON | HOSTILE)
def test_every_value_stands_in_a_legal_name(value: Any) -> None:
    template = index_template("audit-{x}-%Y.%m.%d", time=True)
    for moment in (NOW, None):
        name = fit_name(template.render([value], moment))
        check_name(name)
        assert name.startswith("audit-")
        assert len(name) <= NAME_LIMIT


@given(HOSTILE, HOSTILE)
def test_two_strings_never_share_a_name(one: str, other: str) -> None:
    assume(one != other)
    assert encode_value(one) != encode_value(other)


@given(HOSTILE | HOSTILE.map(lambda text: text + "x" * 150))
def test_strings_that_differ_a_little_never_share_a_name(text: str) -> None:
    name = encode_value(text)
    others = {*near(text), name, name.replace("~", "%"), text.replace("~", "~7e"), text.lower()} - {text}
    assert name not in {encode_value(other) for other in others}


@given(HOSTILE)
def test_a_name_means_the_same_in_a_url_however_often_it_is_decoded(text: str) -> None:
    name = f"audit-{encode_value(text)}"
    assert unquote(unquote(name)) == name
    assert urlsplit(f"http://h/{name}/_doc/1").path == f"/{name}/_doc/1"


@given(st.lists(HOSTILE, min_size=4, max_size=4), st.lists(HOSTILE, min_size=4, max_size=4))
def test_long_names_keep_apart_what_they_are_made_of_and_their_date(one: list[str], other: list[str]) -> None:
    template = index_template("audit-{a}/{b}/{c}/{d}".replace("/", "-") + "-%Y.%m.%d", time=True)
    long = [value + "~" * 90 for value in one], [value + "~" * 90 for value in other]
    whole = [template.render(values, NOW) for values in long]
    names = [fit_name(name) for name in whole]
    for name in names:
        check_name(name)
        assert name.endswith("-2026.11.23")
    assert (names[0] == names[1]) == (whole[0] == whole[1])


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("kube-system", "kube-system"),
        ("KUBE", "~4b~55~42~45"),
        ("system:node:a", "system~3anode~3aa"),
        ("..", "~2e."),
        ("_none", "~5fnone"),
        ("-x", "~2dx"),
        ("a/b%2f", "a~2fb~252f"),
        ("ü", "~c3~bc"),
        ("", "_empty"),
        (None, "_none"),
        (17, "17"),
    ],
)
def test_what_values_are_called(value: Any, name: str) -> None:
    assert encode_value(value) == name


def test_two_long_values_that_begin_alike_have_two_names() -> None:
    names = {encode_value("n" * 300), encode_value("n" * 299 + "v")}
    assert len(names) == 2
    assert all(re.fullmatch("n{66}~~[0-9a-f]{32}", name) for name in names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{objectRef.namespace}-audit", "does not begin with fixed text"),
        (".kibana-{verb}", "does not begin with fixed text"),
        ("_all", "does not begin with fixed text"),
        ("%Y-audit", "does not begin with fixed text"),
        ("", "does not begin with fixed text"),
        ("Audit", "does not begin with fixed text"),
        ("audit-X", "'audit-X' cannot stand in a name"),
        ("audit-{verb}*", r"'\*' cannot stand in a name"),
        ("audit-{verb}~41", "'~41' cannot stand in a name"),
        ("audit,other", "'audit,other' cannot stand in a name"),
        ("audit-{verb", "column 7: this { is not closed"),
        ("a" * 101, "is too long"),
    ],
)
def test_a_template_that_could_make_other_names_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index_template(text, time=True)


def test_the_name_of_a_data_stream_has_no_times() -> None:
    with pytest.raises(ValueError, match="'logs-audit-%Y' cannot stand in a name"):
        index_template("logs-audit-%Y", time=False)
