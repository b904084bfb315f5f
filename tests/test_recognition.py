"""The way back from a path to its slice: what a template can have made is recognised, and nothing else."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.names import encode_name, encode_tag_part, fit_path
from tailrace.recognition import Recognised, SlicePaths
from tailrace.template import Template
from tailrace.timeslice import TimeSlicer

NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)
TEN = datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp()


def paths(text: str, zone: str = "UTC") -> SlicePaths:
    template = Template(text, time=True)
    return SlicePaths(template, TimeSlicer(template.time_directives, zone))


def read(made: SlicePaths, path: str) -> Recognised | None:
    below = os.path.relpath(path, made.root)
    found = made.recognise(below)
    if found is not None:  # then its directories are looked into too
        assert all(made.matches(level, part) for level, part in enumerate(below.split("/")))
        assert len(below.split("/")) == made.depth
    return found


@pytest.mark.parametrize(
    "text",
    [
        "/x/audit-{ns}.%Y%m%d%H.log.gz",
        "/x/kube-{ns}/{user}.%Y-%m-%d-%H.gz",
        "/x/%Y/%m/%d/{ns}-{tag[1:]}-{user}.%H.log",
        "/x/../y//{tag}/./{ns}/%Y%m%d/{ns}.%Y%m%d%H",
        "/x (1)+/%Y%m%d%H-{user}",
        "/{user}%%/%Y%m%d%H{ns}",
    ],
)
@given(
    ns=st.one_of(st.none(), st.text(), st.text("._%-~a/2é", max_size=250)),
    user=st.one_of(st.integers(), st.text("ab.20", max_size=250)),
    tag=st.text(),
    dated=st.booleans(),
)
def test_every_path_that_a_template_makes_is_recognised(
    text: str, ns: object, user: object, tag: str, dated: bool
) -> None:
    template = Template(text, time=True)
    values = ([tag] if template.uses_tag else []) + [{"ns": ns, "user": user}[field] for field in template.fields]
    path = fit_path(os.path.abspath(template.render(values, NINE if dated else None)))
    found = read(paths(text), path)
    if found is None:  # nothing is known of a value that was cut out of the name, so it is left alone
        assert "{ns}.%Y" in text
        assert "~" in path
    else:
        assert found.end == (TEN if dated else None)


@given(st.text(), st.text())
def test_slices_of_one_name_and_no_others_share_it(one: str, other: str) -> None:
    text = "/x/{user}/audit-{user}.%Y%m%d%H.gz"
    template, made = Template(text, time=True), paths(text)
    names = [
        found.name
        for values, moment in (([one], NINE), ([one], NINE + timedelta(days=40)), ([one], None), ([other], NINE))
        if (found := read(made, template.render(values, moment)))
    ]
    assert names[0] == names[1] == names[2]
    assert (names[0] == names[3]) == (one == other)


@pytest.mark.parametrize(
    "path",
    [
        "audit-a.2026112309.log",
        "audit-a.2026112309.log.gz.bak",
        "audit-a.202611230.log.gz",
        "audit-a.2026113309.log.gz",
        "audit-a.2026022931.log.gz",
        "audit-a.0000112309.log.gz",
        "audit-a.٢٠٢٦112309.log.gz",
        "audit-.2026112309.log.gz",
        "audit-_x.2026112309.log.gz",
        "audit-.hidden.2026112309.log.gz",
        "audit-%41.2026112309.log.gz",
        "audit-%2fa.2026112309.log.gz",
        "audit-a%.2026112309.log.gz",
        "audit-a b.2026112309.log.gz",
        "audit-é.2026112309.log.gz",
        "audit-a~b.2026112309.log.gz",
        "audit-a.2026112309.log.gz\n",
        "audit-a._unparsed.log",
        "Audit-a.2026112309.log.gz",
        "sub/audit-a.2026112309.log.gz",
        "",
    ],
)
def test_a_path_that_the_template_cannot_have_made_is_not_recognised(path: str) -> None:
    assert paths("/x/audit-{user}.%Y%m%d%H.log.gz").recognise(path) is None


@pytest.mark.parametrize("number", range(256))
def test_a_byte_is_recognised_as_it_is_encoded_and_in_no_other_way(number: int) -> None:
    made = paths("/x/a{user}.%Y")
    character = bytes([number]).decode("latin-1") if number < 128 else "é"
    name = encode_name(f"x{character}")
    assert made.recognise(f"a{name}.2026") is not None
    if number < 128:
        other = f"x%{number:02X}" if name == f"x{character}" else f"x{character}"
        assert made.recognise(f"a{other}.2026") is None


@given(st.text())
def test_the_name_that_a_tag_got_is_recognised(text: str) -> None:
    assert paths("/x/a{tag}.%Y").recognise(f"a{encode_tag_part(text)}.2026") is not None


def test_one_value_in_two_places_has_to_be_the_same() -> None:
    made = paths("/x/{user}/{user}.%Y%m/%Y.gz")
    assert made.recognise("a/a.202611/2026.gz") is not None
    assert made.recognise("a/b.202611/2026.gz") is None
    assert made.recognise("a/a.202611/2025.gz") is None


@pytest.mark.parametrize(
    ("text", "zone", "path", "end"),
    [
        ("%Y", "UTC", "2026", "2027-01-02T00:00"),
        ("%Y%m", "UTC", "202602", "2026-03-04T00:00"),
        ("%Y%m%d", "UTC", "20260228", "2026-03-01T00:00"),
        ("%Y%m%d%H%M", "UTC", "202602282359", "2026-03-01T00:00"),
        ("%Y%m%d%H%M%S", "UTC", "20260228235959", "2026-03-01T00:00"),
        ("%Y%m%d%H", "Asia/Kolkata", "2026022805", "2026-02-28T00:30"),
        ("%Y%m%d%H", "Europe/Berlin", "2026102502", "2026-10-25T02:00"),  # the later of the two such hours
        ("%Y", "UTC", "9999", "+0"),
        ("%Y%m%d%H", "Asia/Kolkata", "0001010100", "+0"),
        ("%Y%m%d%H", "America/New_York", "9999123123", "+0"),
    ],
)
def test_a_slice_is_never_over_before_its_last_event(text: str, zone: str, path: str, end: str) -> None:
    found = paths(f"/x/{text}", zone).recognise(path)
    assert found is not None
    assert found.end is not None
    if end != "+0":
        assert found.end == datetime.fromisoformat(f"{end}+00:00").timestamp()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/x/{user}.log", "has no time"),
        ("/x/{user}.%H.log", "only a part of the time"),
        ("/x/{user}.%Y%d.log", "only a part of the time"),
        ("/x/{ns}.%Y%m%d%H.{user}.log", "between two values"),
        ("/x/{ns}/../%Y", "goes up"),
    ],
)
def test_a_template_whose_paths_do_not_tell_their_time_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paths(text)


def test_recognising_takes_no_longer_for_a_name_that_was_made_to_take_long() -> None:
    made = paths("/x/{a}-{b}.%Y%m%d%H.log")
    for _ in range(100):
        assert made.recognise("-" * 250) is None
