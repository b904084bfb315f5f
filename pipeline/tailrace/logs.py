"""The log on standard error: one line per event, for people on a terminal and as JSON everywhere else.

A message is constant; what varies is given as `extra={...}` and comes out as keys beside it. Values may come
from whoever sends requests to the API server, so nothing in them can start a line or steer a terminal.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TextIO

import orjson

ROOT: Final = "tailrace"
"""The logger of the service; a pipeline's is its child, named after it."""

OTHERS: Final = ("uvicorn.error", "asyncio")
"""The loggers of what serves HTTP; only their warnings and errors matter."""

# what a record has before any `extra` was added; the two others are set by formatters
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS: Final = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m", "DEBUG": "\x1b[2m"}
_RESET: Final = "\x1b[0m"


class Format(StrEnum):
    """How log lines look; `auto` is `human` on a terminal and `json` elsewhere."""

    AUTO = "auto"
    HUMAN = "human"
    JSON = "json"


class Level(StrEnum):
    """From which level on events are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure(stream: TextIO, format: Format = Format.AUTO, level: Level = Level.INFO) -> None:  # noqa: A002
    """Send what is logged, here and in the loggers of `OTHERS`, to `stream` alone."""
    terminal = stream.isatty()
    if format is Format.HUMAN or (format is Format.AUTO and terminal):
        formatter: logging.Formatter = HumanFormatter(colour=terminal)
    else:
        formatter = JsonFormatter()
    handler = _Handler(stream)
    handler.setFormatter(formatter)
    handler.setLevel(level.upper())
    for name in (ROOT, *OTHERS):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper() if name == ROOT else logging.WARNING)
        logger.propagate = False


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Go on: a standard error that cannot be written to is no reason to stop collecting."""


class JsonFormatter(logging.Formatter):
    """One JSON object per event: time (RFC 3339, UTC), level, pipeline, message, and the extra keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the event as one line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        event: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
        }
        if pipeline := _pipeline(record):
            event["pipeline"] = pipeline
        event["message"] = _message(record)
        for key, value in _extras(record).items():
            event.setdefault(key, value)
        try:
            return orjson.dumps(event, default=_text).decode()
        except TypeError:  # a number above 64 bits, a lone surrogate, a key that is no string
            return orjson.dumps({_text(key): _text(value) for key, value in event.items()}).decode()


class HumanFormatter(logging.Formatter):
    """`12:34:56 WARNING [audit] file was truncated path=/var/log/kube-audit offset=4`; the time is local."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colours: Mapping[str, str] = _COLOURS if colour else {}

    def format(self, record: logging.LogRecord) -> str:
        """Write the event as one line."""
        words = [time.strftime("%H:%M:%S", time.localtime(record.created)), f"{record.levelname:<7}"]
        if pipeline := _pipeline(record):
            words.append(f"[{escape(pipeline)}]")
        words.append(escape(_message(record)))
        words += [f"{escape(key)}={_quote(_text(value))}" for key, value in _extras(record).items()]
        line = " ".join(words)
        colour = self._colours.get(record.levelname)
        return f"{colour}{line}{_RESET}" if colour else line


def _pipeline(record: logging.LogRecord) -> str:
    root, _, name = record.name.partition(".")
    return name if root == ROOT else ""


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # the arguments do not fit the message; both are better than neither
        return f"{_text(record.msg)} {_text(record.args)}"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    extras = {key: value for key, value in vars(record).items() if key not in _OWN}
    if record.name in OTHERS:
        extras["logger"] = record.name
    if record.exc_info and record.exc_info[0] is not None:
        extras["traceback"] = logging.Formatter().formatException(record.exc_info)
    return extras


def _text(value: object) -> str:
    """Give the value as text that UTF-8 can hold, whatever the value does."""
    try:
        return str(value).encode("utf-8", "backslashreplace").decode()
    except Exception:
        return f"<{type(value).__name__}>"


def _quote(text: str) -> str:
    """Put quotes around what could be taken for something else than one value."""
    escaped = escape(text)
    if escaped and not any(sign in escaped for sign in ' "='):
        return escaped
    return '"' + escaped.replace('"', '\\"') + '"'


def escape(text: str) -> str:
    """Escape backslashes and what a terminal acts on: control characters, line ends, changes of direction."""
    return "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if char.isprintable() and char != "\\":
        return char
    return char.encode("unicode_escape").decode()
