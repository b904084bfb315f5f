"""Cutting the events out of a request's body, to the byte."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from tailrace_plugins.receiving.grammar import NotJson, Unreadable, read
from tailrace_plugins.receiving.scanner import Members, TooMany, Unscannable, scan_list, scan_object

MOST_EVENTS: Final = 200_000
"""So many events a body may hold: 64 MiB of `[0,0,0,...` would take gigabytes otherwise."""

VERSIONS: Final = ("audit.k8s.io/v1", "audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1")

_BOM = b"\xef\xbb\xbf"
_BRACKET = ord("[")
_BIG = 1 << 20  # the items of a smaller body take 40 MB at most, however many they are
_BLANK = re.compile(rb"[ \t\r\n]*+")
# an EventList as the API server writes it, up to the bracket of its items
_LIST = re.compile(
    rb'\{"kind":"EventList","apiVersion":"(audit\.k8s\.io/v1(?:|alpha1|beta1))","metadata":\{\},"items":(?=\[)'
)
_LINE = re.compile(rb"[^\n]+")
_KEYS: Final = frozenset({b"kind", b"apiVersion"})
_LONGEST: Final = 256  # a longer kind or apiVersion is not looked at
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Kind(msgspec.Struct):
    kind: Raw = Raw(b"null")  # it could be anything, and take much more memory than its bytes
    apiVersion: Raw = Raw(b"null")  # noqa: N815 - Kubernetes' name


_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode


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
    are_json: bool = False  # that is known for certain


def cut_plain(body: bytes) -> Events | None:
    """Cut an EventList as the API server writes it, at the decoder's speed; None if the body is anything else."""
    head = _LIST.match(body)
    try:
        items = _list(body, head.end(), b"}") if head else None
    except _ERRORS:
        return None
    return Events(items, head[1].decode(), audit=True, are_json=True) if head and items is not None else None


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
    if body[at] not in b"{[" and not lines:
        raise BadBody("the body is not JSON: it begins with neither { nor [")
    try:
        return _lines(body) if lines else cut_plain(body) or _cut(body, at)
    except TooMany:
        message = f"the body holds more than {MOST_EVENTS} events; send them in several"
        raise BadBody(message, too_many=True) from None


def _cut(body: bytes, at: int) -> Events:
    refused = None
    try:
        events = _decode(body, at)
    except _ERRORS as error:
        events, refused = None, str(error)
    return events or _scan(body, at, refused)


def _decode(body: bytes, at: int) -> Events | None:
    """Cut a body that is JSON throughout; None if it takes the scanner."""
    if body[at] == _BRACKET:
        items = _list(body, at, b"")
        return None if items is None else Events(items, are_json=True)
    found = _decode_kind(body)
    kind = _value(found.kind)
    return None if kind == "EventList" else _one(body[at:], kind, _value(found.apiVersion))


def _list(body: bytes, start: int, behind: bytes) -> list[Raw] | None:
    """Decode the list from `start` on, if nothing but `behind` follows it, and it may be that it is not too long."""
    end = body.rfind(b"]") + 1
    if body[end:].strip() != behind or (end - start > _BIG and body.count(b",", start, end) >= MOST_EVENTS):
        return None
    items = _decode_list(memoryview(body)[start:end])
    return items if len(items) <= MOST_EVENTS else None


def _one(event: bytes, kind: object, version: object) -> Events:
    return Events([event.rstrip()], audit=version in VERSIONS and kind == "Event")


def _lines(body: bytes) -> Events:
    lines = (line[0] for line in _LINE.finditer(body) if not line[0].isspace())
    events = list(islice(lines, MOST_EVENTS + 1))
    if len(events) > MOST_EVENTS:
        raise TooMany
    return Events(events)


def _scan(body: bytes, at: int, refused: str | None) -> Events:
    """Cut a body by its brackets, be it JSON throughout or not; or else by its lines, if the first one is an object.

    `refused` says why the decoder cannot read it. Raises BadBody and TooMany.
    """
    try:
        if body[at] == _BRACKET:
            spans, end = scan_list(body, at, MOST_EVENTS)
            found = Members({}, spans, True, end)
        else:
            found = scan_object(body, at, _KEYS, b"items", MOST_EVENTS)
    except Unscannable as error:
        trouble = f"its parts cannot be told from each other: {error}"
    else:
        if not body[found.end :].strip():
            return _of_parts(body, at, found, refused)
        trouble = "something follows its end"
    if _begins_with_a_line(body, at):
        return _lines(body)
    raise BadBody("the body is not JSON: " + "; and ".join(filter(None, (refused, trouble))))


def _of_parts(body: bytes, at: int, found: Members, refused: str | None) -> Events:
    items = [body[start:end] for start, end in found.elements]
    if body[at] == _BRACKET:
        return Events(items)
    kind, version = (_value(body[slice(*found.values.get(key, (0, 0)))]) for key in (b"kind", b"apiVersion"))
    if kind != "EventList":
        if _is_no_json(body):
            raise BadBody(f"the body is not JSON: {refused}")
        return _one(body[at:], kind, version)
    if version not in VERSIONS:
        raise BadBody(f"an EventList of apiVersion {version!r:.80}; it can be of {', '.join(VERSIONS)}")
    if not found.is_list:
        raise BadBody("the items of the EventList are no list")
    return Events(items, str(version), audit=True)


def _begins_with_a_line(body: bytes, at: int) -> bool:
    """Tell whether the body goes on after a first line that is an object by itself."""
    end = body.find(b"\n", at)
    blank = _BLANK.match(body, end)
    if end < 0 or blank is None or blank.end() == len(body):
        return False
    line = body[at:end]
    return line.startswith(b"{") and line.rstrip().endswith(b"}") and not _is_no_json(line)


def _is_no_json(text: bytes) -> bool:
    """Tell whether the text breaks JSON's grammar, not just a limit of the decoder."""
    try:
        read(text)
    except NotJson:
        return True
    except Unreadable:
        pass
    return False


def _value(text: bytes) -> object:
    try:
        return msgspec.json.decode(text) if len(text) <= _LONGEST else None
    except _ERRORS:
        return None
