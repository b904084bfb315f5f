"""The state directory, or the spool in it, is removed while a webhook source runs: refused, said, taken up again."""

from __future__ import annotations

import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_webhook_overload import StuckSink, check_refusal
from waiting import wait_until
from webhook import Running, event_list

REFUSED = "bodies are refused with 503 until the spool can be written"
LOST = "a segment of the spool is gone, or shorter than it was; what followed the offset is lost"


def body(number: int) -> bytes:
    return event_list([b'{"auditID":"%d"}' % number])


def events(*numbers: int) -> list[bytes]:
    return [b'{"auditID":"%d"}' % number for number in numbers]


def accepts(running: Running, number: int) -> bool:
    return running.post(body(number)).status == 200


def said(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [vars(record) for record in list(caplog.records) if record.getMessage() == message]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("tailrace_plugins.receiving.spool.RETRY_SECONDS", 0.05)


@pytest.mark.parametrize("removed", ["state", "state/spool"])
def test_next_body_is_refused_once_and_all_that_is_acknowledged_comes_through_exactly_once(
    tmp_path: Path, removed: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Running(tmp_path / "state") as running:
        assert running.post(body(1)).status == 200
        assert running.lines(1) == events(1)
        wait_until(lambda: running.pipeline.counts.uncommitted_since is None)
        shutil.rmtree(tmp_path / removed)
        answer = running.post(body(2))
        check_refusal(answer)
        assert "a segment was removed while it was written" in answer.json["error"]
        [error] = said(caplog, REFUSED)
        assert error["levelname"] == "ERROR"
        assert f"{tmp_path}/state/spool/" in error["cause"]
        for number in (2, 3):
            wait_until(partial(accepts, running, number))
        assert running.request("GET", "/readyz").status == 200
        assert running.lines(3) == events(1, 2, 3)
        assert said(caplog, "the spool can be written again")
    with Running(tmp_path / "state") as running:
        assert running.post(body(4)).status == 200
        assert running.lines(1) == events(4)
    assert said(caplog, LOST) == []


def test_what_was_acknowledged_and_is_not_written_yet_is_said_to_be_lost_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = StuckSink()
    with Running(tmp_path / "state", sink, spool_bytes=800) as running:  # one record a segment
        assert running.post(body(1)).status == 200
        wait_until(lambda: running.source.lag() == 0)  # it is in the sink's hands
        assert running.post(body(2)).status == 200
        shutil.rmtree(tmp_path / "state")
        sink.gate.set()
        wait_until(partial(accepts, running, 3))
        wait_until(lambda: sink.written[-1:] == events(3))
        wait_until(lambda: running.pipeline.counts.uncommitted_since is None)
        assert running.post(body(4)).status == 200
        wait_until(lambda: sink.written[-1:] == events(4))
    assert sink.written == events(1, 3, 4)
    [lost] = said(caplog, LOST)
    assert (lost["path"], lost["offset"]) == (f"{tmp_path}/state/spool/0000000002.spool", 0)
    assert running.pipeline.counts.recoveries == 0


def test_spool_that_was_removed_before_it_held_anything_is_made_again_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Running(tmp_path / "state") as running:
        shutil.rmtree(tmp_path / "state")
        assert running.request("GET", "/readyz").status == 200
        assert running.post(body(1)).status == 200
        assert running.lines(1) == events(1)
    assert said(caplog, "the directory of the spool was removed while it was in use; it is made again")
