from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.match import PatternError, TagPattern


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("a.b", ["a.b"], ["a", "a.b.c", "xa.b", "axb", "a.b\n"]),
        ("a.*", ["a.b", "a.kube-system"], ["a", "a.b.c", "ab"]),
        ("*.b", ["a.b"], ["b", "a.a.b"]),
        ("a.kube-*", ["a.kube-system"], ["a.default", "a.kube-system.x"]),
        ("a.**", ["a", "a.b", "a.b.c"], ["ab", "b.a", ""]),
        ("**.c", ["c", "a.c", "a.b.c"], ["bc", "a.bc", "c.d"]),
        ("a.**.c", ["a.c", "a.b.c", "a.b.b.c"], ["ac", "a", "c", "a.bc", "ab.c"]),
        ("a.**.b.**", ["a.b", "a.x.b", "a.b.x"], ["a", "b", "a.x"]),
        ("**", ["", "a", "a.b"], []),
        ("*", ["a", ""], ["a.b"]),
        ("a**", ["a", "ab.c"], ["b"]),
        ("{a,b}", ["a", "b"], ["a,b", "{a,b}", "c"]),
        ("{a.**,b}.c", ["a.c", "a.x.c", "b.c"], ["a", "b", "c"]),
        ("x.{**.c,d}", ["x.c", "x.a.c", "x.d"], ["c", "x.bc"]),
        ("{a,{b,c}.d}", ["a", "b.d", "c.d"], ["b", "a.d"]),
        ("a b.*", ["a", "b.x"], ["b", "a b.x"]),
        ("  a\n\tb ", ["a", "b"], [" a"]),
        ("a,b", ["a,b"], ["a", "b"]),
        ("a+(b)|c", ["a+(b)|c"], ["aab", "c"]),
        (r"a.\*", ["a.*"], ["a.b"]),
        (r"\{a\}", ["{a}"], ["a"]),
        ("a.", ["a."], ["a"]),
        ("/a/b", ["/a/b"], []),
    ],
)
def test_patterns_have_fluentds_meaning(pattern: str, fits: list[str], fits_not: list[str]) -> None:
    tags = fits + fits_not
    assert TagPattern(pattern).mask(tags) == [True] * len(fits) + [False] * len(fits_not)


@pytest.mark.parametrize(
    ("pattern", "column", "words"),
    [
        ("", 1, "empty"),
        ("  ", 1, "empty"),
        ("a.{b", 3, "not closed"),
        ("x {a, b}", 3, "without white space"),
        ("a} b", 2, r"write \} for the sign"),
        ("a b\\", 4, r"write \\ for the sign"),
        ("a /b.*/", 3, "regular expressions"),
    ],
)
def test_a_wrong_pattern_says_where_and_what_is_right(pattern: str, column: int, words: str) -> None:
    with pytest.raises(PatternError) as caught:
        TagPattern(pattern)
    assert caught.value.column == column
    assert str(caught.value).startswith(f"column {column}: ")
    assert words in str(caught.value)


@given(st.text(), st.text())
def test_every_pattern_either_works_or_is_refused(text: str, tag: str) -> None:
    try:
        pattern = TagPattern(text)
    except PatternError:
        return
    assert pattern.matches(tag) == pattern.matches(tag)


def test_many_tags_do_not_pile_up_in_memory() -> None:
    pattern = TagPattern("a.*")
    assert pattern.mask([f"a.{number}" for number in range(10_000)]) == [True] * 10_000
    assert len(pattern._known) <= 4096


def test_a_pattern_shows_its_text() -> None:
    assert repr(TagPattern("a.**")) == "TagPattern('a.**')"
