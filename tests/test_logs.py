"""Log lines: their two forms, and what hostile values cannot do to them."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tailrace.logs import OTHERS, ROOT, Format, Level, configure, escape

HOSTILE = "a\r\n12:00:00 ERROR [audit] forged\x1b[2J\x07\u202e\u2028"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("gone")


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.fixture(autouse=True)
def former_configuration() -> Iterator[None]:
    """Leave the loggers as they were, for other tests rely on records reaching the root logger."""
    loggers = [logging.getLogger(name) for name in (ROOT, *OTHERS)]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def as_json(stream: io.StringIO) -> dict[str, Any]:
    """Read the one line that was logged."""
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert isinstance(event, dict)
    return event


def log_json(message: str, *args: object, **extra: object) -> dict[str, Any]:
    stream = io.StringIO()
    configure(stream)
    logging.getLogger("tailrace.audit").info(message, *args, extra=extra)
    return as_json(stream)


def log_human(message: str, **extra: object) -> str:
    stream = io.StringIO()
    configure(stream, Format.HUMAN)
    logging.getLogger("tailrace.audit").info(message, extra=extra)
    text = stream.getvalue()
    assert text.endswith("\n")
    return text[:-1]


def test_json_line_has_time_level_pipeline_message_and_exactly_the_extra_keys() -> None:
    event = log_json("file was truncated", path="/var/log/kube-audit", offset=4096)

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("time"))
    assert event == {
        "level": "info",
        "pipeline": "audit",
        "message": "file was truncated",
        "path": "/var/log/kube-audit",
        "offset": 4096,
    }


def test_event_of_the_service_has_no_pipeline() -> None:
    stream = io.StringIO()
    configure(stream)
    logging.getLogger("tailrace").info("stopping")
    assert "pipeline" not in as_json(stream)


def test_human_line_has_time_level_pipeline_message_and_extra_keys() -> None:
    line = log_human("file was truncated", path="/var/log/kube-audit", offset=4096)
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d INFO    \[audit\] file was truncated path=/var/log/kube-audit offset=4096", line
    )


def test_human_line_of_the_service_names_no_pipeline() -> None:
    stream = io.StringIO()
    configure(stream, Format.HUMAN)
    logging.getLogger("tailrace").info("stopping")
    assert stream.getvalue()[9:] == "INFO    stopping\n"


def test_format_auto_is_human_with_colour_on_a_terminal() -> None:
    stream = Terminal()
    configure(stream)
    logging.getLogger("tailrace.audit").warning("careful")
    assert stream.getvalue().startswith("\x1b[33m")
    assert stream.getvalue().endswith("[audit] careful\x1b[0m\n")


def test_information_has_no_colour_on_a_terminal() -> None:
    stream = Terminal()
    configure(stream)
    logging.getLogger("tailrace.audit").info("fine")
    assert "\x1b" not in stream.getvalue()


def test_format_json_is_json_on_a_terminal_too() -> None:
    stream = Terminal()
    configure(stream, Format.JSON)
    logging.getLogger("tailrace.audit").warning("careful")
    assert json.loads(stream.getvalue())["message"] == "careful"


def test_hostile_values_cannot_start_a_line_or_steer_the_terminal() -> None:
    line = log_human(HOSTILE, path=HOSTILE)
    assert line.isprintable()


def test_hostile_value_cannot_look_like_another_key() -> None:
    line = log_human("x", path='a" offset=1', other="")
    assert line.endswith('x path="a\\" offset=1" other=""')


def test_backslash_in_a_value_is_told_from_an_escaped_character() -> None:
    assert escape("\n") == "\\n"
    assert escape("\\n") == "\\\\n"


def test_json_takes_values_that_json_has_no_word_for() -> None:
    event = log_json("odd", big=1 << 70, lone="\ud800", mute=Mute(), raw=b"\xff", nested={1: {2}})
    assert event["message"] == "odd"
    assert event["big"] == str(1 << 70)
    assert event["lone"] == "\\ud800"
    assert event["mute"] == "<Mute>"
    assert event["nested"] == "{1: {2}}"


def test_one_odd_value_leaves_the_others_as_they_are() -> None:
    event = log_json("odd", mute=Mute(), count=3)
    assert event["mute"] == "<Mute>"
    assert event["count"] == 3


def test_human_form_takes_any_value() -> None:
    assert log_human("odd", mute=Mute(), lone="\ud800").endswith("odd mute=<Mute> lone=\\\\ud800")


def test_extra_key_cannot_replace_what_every_line_has() -> None:
    event = log_json("refused", level="Metadata", time="never")
    assert event["level"] == "info"
    assert event["time"] != "never"


def test_arguments_that_do_not_fit_the_message_are_logged_with_it() -> None:
    assert log_json("%d files", "seven")["message"] == "%d files ('seven',)"
    assert log_json("%d files", 7)["message"] == "7 files"


def test_exception_comes_as_traceback_on_the_same_line() -> None:
    stream = io.StringIO()
    configure(stream)
    try:
        raise KeyError("bug")
    except KeyError:
        logging.getLogger("tailrace.audit").exception("failed")
    event = as_json(stream)
    assert event["traceback"].startswith("Traceback (most recent call last):\n")
    assert event["traceback"].endswith("KeyError: 'bug'")


def test_exception_that_there_is_not_gives_no_traceback() -> None:
    stream = io.StringIO()
    configure(stream)
    logging.getLogger("tailrace.audit").error("failed", exc_info=True)
    assert "traceback" not in as_json(stream)


def test_level_is_the_least_that_is_logged() -> None:
    stream = io.StringIO()
    configure(stream, level=Level.WARNING)
    logging.getLogger("tailrace.audit").info("not this")
    logging.getLogger("tailrace.audit").warning("this")
    assert as_json(stream)["message"] == "this"


@pytest.mark.parametrize("name", OTHERS)
def test_warnings_of_the_http_server_come_out_in_our_form_with_the_name_of_their_logger(name: str) -> None:
    stream = io.StringIO()
    configure(stream, level=Level.DEBUG)
    logging.getLogger(name).info("Finished server process")
    logging.getLogger(name).warning("Invalid HTTP request\r\nreceived")
    event = as_json(stream)
    assert (event["level"], event["logger"], "pipeline" in event) == ("warning", name, False)

    stream = io.StringIO()
    configure(stream, Format.HUMAN, Level.ERROR)
    logging.getLogger(name).warning("not this")
    logging.getLogger(name).error("failed\n")
    assert stream.getvalue()[9:] == f"ERROR   failed\\n logger={name}\n"


def test_second_configuration_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure(first)
    configure(second)
    logging.getLogger("tailrace.audit").info("once")
    assert first.getvalue() == ""
    assert as_json(second)["message"] == "once"


def test_stream_that_cannot_be_written_to_stops_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Broken())
    logging.getLogger("tailrace.audit").info("lost")
    assert capsys.readouterr().err == ""
