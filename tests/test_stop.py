"""The process and its signals: config reloaded, deadline of a stop, pauses."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from test_cli import EVENTS, Place, running, tailrace

HANGING = """
import os
import signal
import threading

from tailrace import Source
from stages_of_test_cli import Announce


class Blocked(Source, kw_only=True):
    path: str

    def open(self, position): pass

    def read(self, timeout):
        self.context.log.info("stuck")
        threading.Event().wait()


class StuckClose(Announce, kw_only=True):
    def close(self):
        self.context.log.info("stuck")
        threading.Event().wait()


class Signal(Announce, kw_only=True):
    def commit(self, position):
        os.kill(os.getpid(), signal.SIGHUP)
        super().commit(position)


os.kill(os.getpid(), signal.SIGHUP)  # while the process starts
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    (made.stages / "hanging.py").write_text(HANGING.replace("stages_of_test_cli", ".stages"))
    return made


def test_hangup_reads_the_config_again_and_what_changed_goes_on_where_it_was(place: Place) -> None:
    with running("run", place.config) as service:
        service.wait_for("config reloaded")  # the signal that came while it was starting
        service.wait_for_events(place, EVENTS)
        place.configure("audit", "other", filters="[{type: drop, when: 'verb == \"get\"'}]")
        service.process.send_signal(signal.SIGHUP)
        said = service.wait_for("config reloaded")
        assert (said["started"], said["restarted"], said["kept"]) == (["other"], ["audit"], [])
        place.write_events([b'{"verb":"list"}', b'{"verb":"get"}'])
        service.wait_for_events(place, [*EVENTS, b'{"verb":"list"}'])
        place.config.write_text("pipelines: {}")
        service.process.send_signal(signal.SIGHUP)
        refused = service.wait_for("the config is not taken over; nothing has changed")
        assert refused["cause"].startswith(f"{place.config}:1:1: ")
        for number in (signal.SIGHUP, signal.SIGTERM):
            service.process.send_signal(number)
        assert service.end() == 0
    assert place.written() == [*EVENTS, b'{"verb":"list"}']


def test_hangup_during_a_run_to_the_end_changes_nothing(place: Place) -> None:
    place.configure(sink="signal")
    done = tailrace("run", place.config, "--once")
    assert done.returncode == 0
    assert "the config is not read again in this run" in done.stderr
    assert place.written() == EVENTS


@pytest.mark.parametrize("stuck", ["sink", "source", "close"])
def test_pipeline_that_hangs_is_abandoned_at_the_deadline_and_the_others_end_well(place: Place, stuck: str) -> None:
    place.configure("bad", "good", sink="announce")
    text = place.config.read_text()
    old, new = {
        "sink": ("{type: announce}", "{type: stuck}"),
        "source": ("{type: follow,", "{type: blocked,"),
        "close": ("{type: announce}", "{type: stuck_close}"),
    }[stuck]
    place.config.write_text(text.replace(old, new, 1))
    with running("run", place.config, "--stop-timeout", "1") as service:
        if stuck != "close":
            service.wait_for("stuck")
        service.wait_for_events(place, EVENTS, "good")
        service.process.send_signal(signal.SIGTERM)
        assert service.end() == 1
    said = service.log[-1]
    assert (said["level"], said["pipelines"], said["stop_timeout"]) == ("error", ["bad"], 1)
    assert "read again at the next start" in said["message"]
    assert [event["pipeline"] for event in service.log if event["message"] == "pipeline ended"] == ["good"]
    place.config.write_text(text)
    assert tailrace("run", place.config, "--once").returncode == 0
    assert place.written("bad") == place.written("good") == EVENTS


def test_pipeline_whose_output_nobody_takes_stops_no_other_one_and_loses_nothing(place: Place) -> None:
    more = [b'{"verb":"list","n":%d}' % number for number in range(5_000)]  # more than a pipe holds
    place.write_events(more)
    place.configure("bad", "good")
    text = place.config.read_text()
    place.config.write_text(text.replace("{type: announce}", "{type: stdout}", 1))
    reader, writer = os.pipe()
    with running("run", place.config, "--stop-timeout", "1", stdout=writer) as service:
        os.close(writer)
        service.wait_for_events(place, EVENTS + more, "good")
        service.process.send_signal(signal.SIGTERM)
        assert service.end() == 1
    assert [event["pipelines"] for event in service.log if "abandoned" in event["message"]] == [["bad"]]
    os.close(reader)
    place.config.write_text(text)
    assert tailrace("run", place.config, "--once").returncode == 0
    assert place.written("bad") == place.written("good") == EVENTS + more


def test_process_that_is_paused_goes_on_where_it_was(place: Place) -> None:
    expected = list(EVENTS)
    with running("run", place.config) as service:
        service.wait_for_events(place, expected)
        for number in range(3):
            service.process.send_signal(signal.SIGSTOP)
            events = [b'{"paused":%d,"n":%d}' % (number, each) for each in range(50)]
            place.write_events(events)
            expected += events
            service.process.send_signal(signal.SIGCONT)
            service.wait_for_events(place, expected)
        # a signal that comes meanwhile is not lost, though the kernel may hand it to any thread
        service.process.send_signal(signal.SIGSTOP)
        service.process.send_signal(signal.SIGTERM)
        service.process.send_signal(signal.SIGCONT)
        assert service.end() == 0
    assert tailrace("run", place.config, "--once").returncode == 0
    assert place.written() == expected
