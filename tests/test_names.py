"""Names made of data: each value has its own, and none of them leaves its place."""

from __future__ import annotations

import os
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tailrace.names import NAME_LIMIT, encode_name, encode_tag_part, fit_path, value_text
from tailrace.template import Template

# every string of Python, lone surrogates too, and more of what matters here than chance would give
TEXTS = st.text(st.characters() | st.sampled_from("._%/~-\0\n\ud800"), max_size=400)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
HARMLESS = re.compile(r"(?!\.)[A-Za-z0-9.:@+=_%~-]{1,200}")


def is_harmless(name: str) -> bool:
    return HARMLESS.fullmatch(name) is not None and len(name) <= NAME_LIMIT


@given(JSON)
def test_every_value_has_a_harmless_name(value: Any) -> None:
    assert is_harmless(encode_name(value))


@given(TEXTS, TEXTS)
def test_two_strings_never_share_a_name(one: str, other: str) -> None:
    assume(one != other)
    assert encode_name(one) != encode_name(other)


def near(text: str) -> list[str]:
    """Give texts that some step of the encoding could take for this one."""
    name = encode_name(text)
    return [
        *(unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")),
        *(text + end for end in ("\0", "\n", " ", ".", "/", "~", "x")),
        *(start + text for start in (".", "_", "/", "%")),
        text.swapcase(),
        text[:-1],
        text[1:],
        text.replace("%", "%25"),
        text.replace("%25", "%"),
        text.replace("\ud800", "\ud801"),
        name,
        name.lower(),
        name.replace("%2F", "/"),
    ]


@given(TEXTS | TEXTS.map(lambda text: text + "x" * 250))
def test_strings_that_differ_a_little_never_share_a_name(text: str) -> None:
    others = set(near(text)) - {text}
    assert encode_name(text) not in {encode_name(other) for other in others}


@given(TEXTS, TEXTS, st.booleans())
def test_a_path_made_of_values_never_leaves_its_directory_and_fits_the_file_system(
    one: str, other: str, dated: bool
) -> None:
    template = Template("/out/kube-{a}/x-{a}-{b}.{b}.%Y%m%d%H.log.gz", time=True)
    moment = datetime(2026, 11, 23, 5, tzinfo=UTC) if dated else None
    for values in ([one, other], [one, one], [None, other]):
        path = fit_path(os.path.abspath(template.render(values, moment)))
        assert path == os.path.normpath(path)
        _, out, *parts = path.split("/")
        assert (out, len(parts)) == ("out", 2)
        for part in parts:
            assert re.fullmatch(r"[!-~]{1,255}", part)  # plain ASCII, so that no file system normalises it
            assert not part.startswith(".")


@given(st.tuples(TEXTS, TEXTS), st.tuples(TEXTS, TEXTS))
def test_two_pairs_of_values_never_share_a_path(one: tuple[str, str], other: tuple[str, str]) -> None:
    assume(one != other)
    template = Template("/out/kube-{a}/audit-{b}.log")
    assert fit_path(template.render(one)) != fit_path(template.render(other))


@pytest.mark.parametrize("text", ["caf\u00e9", "\ud55c\uad6d", "\ufb01le", "\u212bngstr\u00f6m", "\u1e9b\u0323"])
def test_every_normalisation_form_of_a_name_is_another_name(text: str) -> None:
    forms = {unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")} | {text}
    names = {encode_name(form) for form in forms}
    assert len(names) == len(forms) > 1
    assert all(name.isascii() for name in names)


@given(TEXTS)
def test_only_the_empty_string_has_a_name_that_starts_with_an_underscore(text: str) -> None:
    assert encode_name(text).startswith("_") == (text == "")


@given(TEXTS)
def test_the_name_of_a_string_is_never_the_name_of_another_string(text: str) -> None:
    name = encode_name(text)
    assume(name != text)
    assert encode_name(name) != name


@given(JSON)
def test_a_tag_part_that_is_a_name_stays_as_it_is(value: Any) -> None:
    assert encode_tag_part(encode_name(value)) == encode_name(value)


@given(TEXTS)
def test_every_tag_text_is_made_harmless_once(text: str) -> None:
    encoded = encode_tag_part(text)
    assert is_harmless(encoded)
    assert encode_tag_part(encoded) == encoded


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("kube-system", "kube-system"),
        ("system:serviceaccount:a:b", "system:serviceaccount:a:b"),
        ("Jane.Doe+x=1@example.com", "Jane.Doe+x=1@example.com"),
        ("none", "none"),
        (None, "_none"),
        ("", "_empty"),
        ("_none", "%5Fnone"),
        ("_cluster", "%5Fcluster"),
        (".", "%2E"),
        ("..", "%2E."),
        (".ssh", "%2Essh"),
        ("../../x", "%2E.%2F..%2Fx"),
        ("https://issuer/#x", "https:%2F%2Fissuer%2F%23x"),
        (
            "https://accounts.example.com/realms/a b?x=1#Jane Doe",
            "https:%2F%2Faccounts.example.com%2Frealms%2Fa%20b%3Fx=1%23Jane%20Doe",
        ),
        ("caf\u00e9", "caf%C3%A9"),
        ("cafe\u0301", "cafe%CC%81"),
        ("\0", "%00"),
        ("/", "%2F"),
        ("x" * 300, "x" * 167 + "~c2f093e41879e412280bfcc0ed6533e4"),
        ("a\nb\0", "a%0Ab%00"),
        ("a\n", "a%0A"),
        ("100%", "100%25"),
        ("%2E", "%252E"),
        ("a~b", "a%7Eb"),
        ("ü", "%C3%BC"),
        ("\ud800", "%ED%A0%80"),
        (200, "200"),
        (-1.5, "-1.5"),
        (True, "true"),
        ([], "%5B%5D"),
        (["a", 1], "%5B%22a%22%2C1%5D"),
        ({"a": None}, "%7B%22a%22:null%7D"),
    ],
)
def test_values_have_these_names(value: Any, name: str) -> None:
    assert encode_name(value) == name


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("audit.kube-system._none", "audit.kube-system._none"),
        ("audit.%2E.", "audit.%2E."),
        ("audit.%2e.", "audit.%252e."),
        ("", "_empty"),
        ("..", "%2E."),
        ("a/b%", "a%2Fb%25"),
        ("~" + "0" * 32, "%7E" + "0" * 32),
        ("a~b", "a%7Eb"),
        ("a\0%ZZ\n", "a%00%25ZZ%0A"),
    ],
)
def test_tag_texts_are_encoded_like_this(text: str, encoded: str) -> None:
    assert encode_tag_part(text) == encoded


def test_a_name_of_200_bytes_is_whole_and_a_longer_one_ends_in_a_hash() -> None:
    assert encode_name("a" * 200) == "a" * 200
    name = encode_name("a" * 201)
    assert re.fullmatch(r"a{167}~[0-9a-f]{32}", name)
    assert name != encode_name("a" * 202)


def test_a_long_name_cannot_be_taken_by_the_string_it_looks_like() -> None:
    name = encode_name("a" * 201)
    assert encode_name(name) != name


@pytest.mark.parametrize("shift", range(3))
def test_a_long_name_is_never_cut_inside_an_escape(shift: int) -> None:
    name = encode_name("a" * shift + "/" * 200)
    assert re.fullmatch(r"a*(%2F)+~[0-9a-f]{32}", name)
    assert encode_tag_part(name) == name


def test_a_long_tag_is_shortened_too() -> None:
    assert re.fullmatch(r"(a\.)+a?~[0-9a-f]{32}", encode_tag_part("a." * 150))


def test_a_value_that_is_nested_too_deeply_has_a_name() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert encode_name(value) == "%28nested%20too%20deeply%29"
    while value:  # one level at a time, for freeing it at once would nest just as deeply
        value = value[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), ("a b", "a b"), (1, "1"), (False, "false"), ({"ä": [1.5, None]}, '{"ä":[1.5,null]}')],
)
def test_values_have_this_text(value: Any, text: str) -> None:
    assert value_text(value) == text
