"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest

from tailrace.quantity import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 2_592_000),
        ("2w", 1_209_600),
        ("12h", 43_200),
        ("1.5h", 5400),
        ("5 m", 300),
        ("90s", 90),
        (7, 7),
        ("7", 7),
    ],
)
def test_a_duration_is_read(text: str | int, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("50GiB", 50 << 30), ("1.5MiB", 3 << 19), ("500MB", 500_000_000), ("1 kB", 1000), ("2TB", 2 * 10**12), (5, 5)],
)
def test_a_size_is_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "d", "-1d", "30 days", "1d12h", "1e9", "٣d", "9" * 20, "30D", "50GiB", float("inf"), float("nan"), "1d\n"],
)
def test_what_is_no_duration_is_refused_with_examples(text: str | float) -> None:
    with pytest.raises(ValueError, match=r"is not a duration; write one like 30d, 12h"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "GiB", "-5GB", "50 gigabytes", "50G", "30d", "5gib"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a size; write one like 50GiB"):
        parse_size(text)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="'0d' is too little for a duration; leave the option out"):
        parse_duration("0d")
    with pytest.raises(ValueError, match="0 is too little for a size"):
        parse_size(0)
