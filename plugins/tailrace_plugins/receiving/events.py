"""Cutting the events out of a request's body, to the byte."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from tailrace_plugins.receiving.scanner import Members, Span, Unscannable, scan_list, scan_object

MOST_EVENTS: Final = 200_000
"""So many events a body may hold: 64 MiB of `[0,0,0,...` would take gigabytes otherwise."""

VERSIONS: Final = ("audit.k8s.io/v1", "audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1")

_BOM = b"\xef\xbb\xbf"
_BRACKET = ord("[")
_BIG = 1 << 20  # a smaller body cannot make the decoder take more than some 40 MB
_DENSE = 8  # bytes for each comma: fewer than any event has
_BLANK = re.compile(rb"[ \t\r\n]*+")
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LINE = re.compile(rb"[^\n]+")


class _List(msgspec.Struct):
    kind: Any = None
    apiVersion: Any = None  # noqa: N815 - Kubernetes' name
    items: list[Raw] | None = None


_decode_object = msgspec.json.Decoder(_List).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode


class BadBody(Exception):  # noqa: N818 - said of the body
    """Nothing can be made of the body; the message says why. `too_many`: but only because it holds too much."""

    def __init__(self, message: str, *, too_many: bool = False) -> None:
        super().__init__(message)
        self.too_many = too_many


class Events(NamedTuple):
    """The events of a body."""

    items: Sequence[bytes]
    version: str = ""  # apiVersion of the list that they are items of
    audit: bool = False  # an EventList or Event of the audit API: two of them are never equal by chance


def cut(body: bytes, *, lines: bool = False) -> Events:
    """Give the events of a body: an EventList, an Event, an array, or one event a line (`lines`: that for certain).

    An item that is no JSON is given all the same if the others can be told from it. Raises BadBody if nothing can be
    told, or if it is an EventList of another API.
    """
    body = body.removeprefix(_BOM)
    start = _BLANK.match(body)
    at = start.end() if start else 0
    if at == len(body):
        raise BadBody("the body is empty")
    if lines:
        return _lines(body)
    if body[at] not in b"{[":
        raise BadBody("the body is not JSON: it begins with neither { nor [")
    if len(body) > _BIG and body.count(b",") > len(body) // _DENSE:
        events = _scan(body, at, "it has more commas than events have")
    else:
        try:
            events = _decode(body, at)
        except _ERRORS as error:
            events = _scan(body, at, str(error))
    if len(events.items) > MOST_EVENTS:
        raise _too_many()
    return events


def _decode(body: bytes, at: int) -> Events:
    """Cut a body that is JSON throughout."""
    if body[at] == _BRACKET:
        return Events(_decode_array(body))
    found = _decode_object(body)
    return _of_object(body[at:], found.kind, found.apiVersion, found.items)


def _of_object(body: bytes, kind: object, version: object, items: Sequence[bytes] | None) -> Events:
    audit = version in VERSIONS
    if kind != "EventList":
        return Events([body.rstrip()], audit=audit and kind == "Event")
    if not audit:
        raise BadBody(f"an EventList of apiVersion {version!r:.80}; it can be of {', '.join(VERSIONS)}")
    return Events(items or [], str(version), audit=True)


def _lines(body: bytes) -> Events:
    lines = [line[0] for line in islice(_LINE.finditer(body), MOST_EVENTS + 1) if not line[0].isspace()]
    if len(lines) > MOST_EVENTS:
        raise _too_many()
    return Events(lines)


def _scan(body: bytes, at: int, reason: str) -> Events:
    """Cut a body that is not JSON throughout, by its brackets; or else by its lines, if the first one is an object."""
    try:
        if body[at] == _BRACKET:
            spans, end = scan_list(body, at, MOST_EVENTS)
            found = Members({}, spans, end)
        else:
            found = scan_object(body, at, b'"items"', MOST_EVENTS)
    except Unscannable as error:
        reason += f"; and its parts cannot be told from each other: {error}"
    else:
        items = None if found.elements is None else [body[start:end] for start, end in found.elements]
        if items and len(items) > MOST_EVENTS:
            raise _too_many()
        if not body[found.end :].strip():
            if body[at] == _BRACKET:
                return Events(items or [])
            kind, version = (_value(body, found.values.get(key)) for key in (b'"kind"', b'"apiVersion"'))
            if kind == "EventList" and items is None and _value(body, found.values.get(b'"items"')) is not None:
                raise BadBody("the items of the EventList are no list")
            if kind != "EventList" and _is_no_json(body):
                raise BadBody(f"the body is not JSON: {reason}")
            return _of_object(body[at:], kind, version, items)
    if _begins_with_a_line(body[at:]):
        return _lines(body)
    raise BadBody(f"the body is not JSON: {reason}")


def _begins_with_a_line(body: bytes) -> bool:
    """Tell whether the body goes on after a first line that is an object by itself."""
    line, _, rest = body.partition(b"\n")
    try:
        return bool(rest.strip()) and line.startswith(b"{") and bool(msgspec.json.decode(line, type=Raw))
    except _ERRORS:
        return False


def _is_no_json(body: bytes) -> bool:
    """Tell whether the body breaks JSON's grammar, not just a limit of the decoder."""
    try:
        json.loads(body.decode("utf-8", "surrogateescape"))
    except json.JSONDecodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


def _value(body: bytes, span: Span | None) -> object:
    try:
        return None if span is None else msgspec.json.decode(body[span.start : span.end])
    except _ERRORS:
        return None


def _too_many() -> BadBody:
    return BadBody(f"the body holds more than {MOST_EVENTS} events; send them in several", too_many=True)
