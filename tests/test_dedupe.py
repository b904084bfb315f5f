"""The filters that remember: `dedupe` and `throttle`, against what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.stage import Filter, OptionError
from tailrace.testing import apply, check_remembering_filter
from tailrace_plugins.filters.dedupe import Dedupe
from tailrace_plugins.filters.throttle import Throttle

STEPS = st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.integers(0, 59)), max_size=40)


def line(value: Any, second: int | None, **more: Any) -> bytes:
    time = {} if second is None else {"stageTimestamp": f"2026-11-23T05:00:{second:02}.500000Z"}
    return json.dumps({"v": value} | time | more).encode()


def lines(steps: list[tuple[str, int | None]]) -> list[bytes]:
    return [line(value, second, n=number) for number, (value, second) in enumerate(steps)]


def numbers(kept: list[bytes]) -> list[int]:
    return [json.loads(each)["n"] for each in kept]


@given(STEPS, st.integers(1, 20), st.integers(1, 4))
def test_dedupe_lets_one_of_each_go_on_per_window(steps: list[tuple[str, int | None]], window: int, most: int) -> None:
    known: dict[str, float] = {}
    latest, expected = -1e9, []  # before there was any time
    for number, (value, second) in enumerate(steps):
        latest = latest if second is None else max(latest, second)
        known = {key: time for key, time in known.items() if time >= latest - window}
        if value not in known:
            expected.append(number)
            known[value] = latest
            known = dict(list(known.items())[-most:])

    def make() -> Filter:
        return Dedupe(fields=["v"], window=window, most=most)

    assert numbers(apply(make(), lines(steps)).lines) == expected
    check_remembering_filter(make, lines(steps))


@given(STEPS, st.integers(1, 20), st.integers(1, 3))
def test_throttle_lets_so_many_of_each_go_on_in_each_span(
    steps: list[tuple[str, int | None]], per: int, rate: int
) -> None:
    counts: dict[tuple[str, int], int] = {}
    base = 1_795_410_000  # 2026-11-23T05:00:00Z
    latest: int | None = None
    expected = []
    for number, (value, second) in enumerate(steps):
        span = latest if second is None else (base + second) // per
        latest = span if latest is None else max(latest, span or 0)
        span = 0 if span is None else max(span, (latest or 0) - 1)
        counts[value, span] = counts.get((value, span), 0) + 1
        if counts[value, span] <= rate:
            expected.append(number)

    def make() -> Filter:
        return Throttle(fields=["v"], rate=rate, per=per)

    assert numbers(apply(make(), lines(steps)).lines) == expected
    check_remembering_filter(make, lines(steps))


def test_throttle_counts_all_together_without_fields_and_forgets_spans_that_are_over() -> None:
    stage = Throttle(rate=2, per="10s")
    steps: list[tuple[str, int | None]] = [("a", 1), ("b", 2), ("c", 3), ("d", 11), ("e", 9), ("f", 59)]
    assert numbers(apply(stage, lines(steps)).lines) == [0, 1, 3, 5]
    assert len([entry for entry in stage.state().values() if isinstance(entry, tuple)]) == 1


def test_throttle_counts_up_to_so_many_combinations() -> None:
    stage = Throttle(rate=1, per="1h", fields=["v"], most=2)
    steps: list[tuple[str, int | None]] = [(value, 1) for value in "abaca"]
    assert numbers(apply(stage, lines(steps)).lines) == [0, 1, 3, 4]


def test_dedupe_tells_values_apart_and_lets_go_on_what_has_none() -> None:
    values: list[Any] = [1, "1", 1.5, True, [1], {"a": 1}, "\ud800", None, None, 1, "1"]
    events = [line(value, 1, n=number) for number, value in enumerate(values)]
    assert numbers(apply(Dedupe(fields=["v", "w"]), events).lines) == list(range(9))


@pytest.mark.parametrize("time", [7, "yesterday", "2026-11-23T05:00:00", "0001-01-01T00:00:00+23:00"])
def test_an_event_whose_time_cannot_be_read_belongs_to_the_latest(time: Any) -> None:
    events = [line(1, 30), json.dumps({"v": 1, "stageTimestamp": time}).encode(), line(1, 41)]
    assert apply(Dedupe(fields=["v"], window="10s"), events).lines == [events[0], events[2]]


@pytest.mark.parametrize(
    ("kind", "option", "words", "options"),
    [
        (Dedupe, "fields", "at least one", {"fields": []}),
        (Dedupe, "fields", "not a field name", {"fields": ["a..b"]}),
        (Dedupe, "window", "is not a duration", {"fields": ["a"], "window": "soon"}),
        (Throttle, "fields", "not a field name", {"fields": ["a..b"], "rate": 1}),
        (Throttle, "per", "is not a duration", {"rate": 1, "per": "soon"}),
    ],
)
def test_what_cannot_work_is_refused(kind: Any, option: str, words: str, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        kind(**options)
    assert caught.value.option == option
