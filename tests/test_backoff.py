"""Waiting for better times, by a clock that others move."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from delivering import Flying

from tailrace import Clock, Retry
from tailrace_plugins.sending.backoff import LONGEST, Backoff, retry_after


def test_waits_grow_and_end_as_those_of_the_api_server_do() -> None:
    backoff = Backoff(Flying(0), initial=10)
    for _ in range(50):
        waits = [backoff.delay("gone") for _ in range(4)]
        for wait, least in zip(waits, (10, 15, 22.5, 33.75), strict=True):
            assert least <= wait <= least * 1.2
        assert 81.25 <= sum(waits) <= 97.5
        with pytest.raises(Retry, match=r"^gone$"):
            backoff.delay("gone")
        backoff.reset()


def test_waits_differ_so_that_senders_do_not_come_all_at_once() -> None:
    assert len({Backoff(Flying(0), initial=10).delay("gone") for _ in range(20)}) > 10


def test_what_the_other_side_asks_for_is_done_ten_times_for_each_try() -> None:
    backoff = Backoff(Flying(0), initial=10)
    waits = [backoff.delay("full", 2.0) for _ in range(54)]
    assert waits.count(2.0) == 50
    with pytest.raises(Retry):
        backoff.delay("full", 2.0)


def test_nobody_can_ask_for_endless_patience() -> None:
    backoff = Backoff(Flying(0), initial=10)
    assert backoff.delay("full", 1e9) == LONGEST
    assert Backoff(Flying(0), initial=1e9).delay("full") == LONGEST


def test_a_wait_goes_by_the_clock_and_is_counted() -> None:
    clock = Flying(60)
    backoff = Backoff(clock, initial=10)
    backoff.wait(50, "gone")
    assert backoff.waited >= 50


def test_a_wait_is_ended_from_another_thread_and_so_are_those_that_follow() -> None:
    backoff = Backoff(Clock(), initial=10)
    waits: list[str] = []

    def wait() -> None:
        try:
            backoff.wait(1000, "gone")
        except Retry as error:
            waits.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    backoff.wake()
    thread.join(30)
    assert waits == ["gone"]
    with pytest.raises(Retry):
        backoff.wait(1000, "gone")
    backoff.open()
    assert backoff.pause(0.001)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3.0), (" 120 ", 120.0), ("9" * 400, 999_999_999.0), ("", None), ("-1", None), ("soon", None), ("٣", None)],
)
def test_retry_after_is_a_number(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}, 0) == seconds


def test_retry_after_is_a_date() -> None:
    now = datetime(2026, 11, 23, 6, 51, tzinfo=UTC)
    for ahead, seconds in ((90, 90.0), (-90, 0.0)):
        text = format_datetime(now + timedelta(seconds=ahead), usegmt=True)
        assert retry_after({"retry-after": text}, now.timestamp()) == seconds
    assert retry_after({}, 0) is None
