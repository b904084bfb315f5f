"""Event times become slices of a year, a day, an hour or a minute, in any zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import timeslice
from tailrace.timeslice import UNPARSED, TimeSlicer

HOUR = "YmdH"


def rendered(slicer: TimeSlicer, time: Any, form: str = "%Y%m%d%H%M") -> str:
    (key,) = slicer.keys([[time]])
    moment = slicer.moment(key)
    return "none" if moment is None else moment.strftime(form)


@pytest.mark.parametrize(
    ("directives", "key"),
    [
        ("", "2026"),
        ("Y", "2026"),
        ("Ym", "2026-11"),
        ("Ymd", "2026-11-23"),
        (HOUR, "2026-11-23T06"),
        ("HM", "2026-11-23T06:51"),
        ("S", "2026-11-23T06:51:11"),
    ],
)
def test_finest_directive_sets_the_length_of_a_slice(directives: str, key: str) -> None:
    slicer = TimeSlicer(directives)
    times = ["2026-11-23T06:51:11.257346Z", "2026-11-23T06:51:11Z", "2026-11-23T06:51:11.257346+00:00"]
    assert slicer.keys([times]) == [key] * 3
    start = "2026-01-01T00:00:00"
    moment = slicer.moment(key)
    assert moment is not None
    assert moment.isoformat() == key + start[len(key) :] + "+00:00"


@pytest.mark.parametrize(
    ("time", "slice_start"),
    [
        ("2026-11-23T00:30:00+02:00", "202611222200"),
        ("2026-11-23T00:30:00-05:30", "202611230600"),
        ("2026-11-23T00:30:00.123456789+05:30", "202611221900"),
        ("2026-12-31T23:59:59-01:00", "202701010000"),
    ],
)
def test_a_time_with_an_offset_falls_into_the_slice_of_its_moment(time: str, slice_start: str) -> None:
    assert rendered(TimeSlicer(HOUR), time) == slice_start


@pytest.mark.parametrize(
    ("zone", "time", "local"),
    [
        ("Europe/Berlin", "2026-11-23T23:10:00Z", "202611240010"),
        ("Europe/Berlin", "2026-07-23T23:10:00Z", "202607240110"),
        ("Europe/Berlin", "2026-10-25T00:30:00Z", "202610250230"),  # the hour that comes twice
        ("Europe/Berlin", "2026-10-25T01:30:00Z", "202610250230"),
        ("Europe/Berlin", "2026-03-29T01:00:00Z", "202603290300"),  # the hour that is left out
        ("Asia/Kolkata", "2026-11-23T18:29:00Z", "202611232359"),
        ("Asia/Kolkata", "2026-11-23T18:30:00Z", "202611240000"),
        ("Asia/Kathmandu", "2026-11-23T18:15:00+00:00", "202611240000"),
    ],
)
def test_a_slice_is_named_in_the_time_of_its_zone(zone: str, time: str, local: str) -> None:
    assert rendered(TimeSlicer("Y", zone), time) == local


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe"]),
    st.sampled_from(["Ymd", HOUR, "YmdHM"]),
)
def test_a_slice_is_where_parsing_every_time_would_put_it(naive: datetime, zone: str, directives: str) -> None:
    form = "".join(f"%{letter}" for letter in directives)
    expected = naive.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).strftime(form)
    slicer = TimeSlicer(directives, zone)
    assert rendered(slicer, f"{naive.isoformat()}Z", form) == expected
    assert rendered(slicer, f"{naive.isoformat()}+00:00", form) == expected


@pytest.mark.parametrize(
    "time",
    [
        None,
        1763880671,
        1.5,
        True,
        {},
        {"time": "Z"},
        [],
        ["2026-11-23T06:51:11Z"],
        "",
        "Z",
        "yesterday",
        "yesterdayZ",
        "2026-11-23T06:51:11",
        "2026-13-45T06:51:11Z",
        "2026-11-23T06Z",
        "06:51:11Z",
        "../../../../Z",
        "\ud800Z",
        "0001-01-01T00:00:00+01:00",
    ],
)
def test_what_is_no_time_goes_to_no_slice(time: object) -> None:
    slicer = TimeSlicer("YmdHM")
    assert rendered(slicer, time) == "none"
    good = "2026-11-23T06:51:11Z"
    assert slicer.keys([[good, time, good]])[::2] == ["2026-11-23T06:51"] * 2


def test_no_time_has_no_moment() -> None:
    assert TimeSlicer(HOUR).keys([[None, 3, "2026-11-23T06:51:11"]]) == [UNPARSED] * 3
    assert TimeSlicer(HOUR).moment(UNPARSED) is None


@pytest.mark.parametrize(
    ("time", "zone"), [("0001-01-01T00:00:00Z", "America/New_York"), ("9999-12-31T23:59:59Z", "Asia/Tokyo")]
)
def test_a_time_that_its_zone_puts_outside_the_calendar_goes_to_no_slice(time: str, zone: str) -> None:
    assert rendered(TimeSlicer(HOUR, zone), time) == "none"
    assert rendered(TimeSlicer(HOUR), time) != "none"


def test_the_first_time_that_is_there_counts() -> None:
    columns: list[list[Any]] = [
        ["2026-11-23T06:00:00Z", None, None, None],
        ["2026-11-23T07:00:00Z", "2026-11-23T08:00:00Z", None, None],
        ["2026-11-23T09:00:00Z", "2026-11-23T09:00:00Z", "2026-11-23T10:00:00Z", None],
    ]
    keys = TimeSlicer(HOUR).keys(columns)
    assert keys == ["2026-11-23T06", "2026-11-23T08", "2026-11-23T10", UNPARSED]
    assert TimeSlicer(HOUR).keys([columns[0][:1], columns[1][:1]]) == ["2026-11-23T06"]


def test_moments_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeslice, "_CACHE_LIMIT", 3)
    slicer = TimeSlicer("Y")
    first = slicer.moment("2020")
    assert slicer.moment("2020") is first
    for year in range(2021, 2031):
        assert slicer.moment(str(year)) == datetime(year, 1, 1, tzinfo=UTC)
    again = slicer.moment("2020")
    assert again == first
    assert again is not first
    assert slicer.moment(UNPARSED) is None


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "Europe", "../etc/passwd", "/etc/passwd", "a\0b", "x" * 5000])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone; write one like Europe/Berlin, or UTC"):
        TimeSlicer(HOUR, zone)
