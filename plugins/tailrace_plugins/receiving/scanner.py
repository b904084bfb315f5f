"""Finding the items of a list in JSON that may have a fault somewhere: by its brackets and strings alone.

For bodies that the decoder refuses, or that are not written as the API server writes them. Where only one item is at
fault (a number that is none, a lone surrogate, a bracket of the wrong kind), the others are cut out all the same. What
it costs grows with the number of brackets, and nothing is recursive.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container
from typing import Final, NamedTuple

MOST_DEPTH: Final = 100_000
"""No value is nested deeper; the API server takes 10,000."""

MOST_MEMBERS: Final = 10_000
"""No object that is looked into has more members; an event has some twenty."""

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_PLAIN = rb'[^"\[\]{}]++|' + _STRING
# up to the next bracket that stands outside strings, over pairs with none between them, or over a thousand of them, for
# no other thread runs meanwhile; it matches everywhere, for what does not match here must not be looked for further on
_BRACKET = re.compile(rb"(?:%b|\[(?:%b)*+\]|\{(?:%b)*+\}){0,1000}+([\[\]{}]?+)" % (_PLAIN, _PLAIN, _PLAIN), re.DOTALL)
_BREAK = re.compile(rb'(?:[^"\[\]{},]++|%b)*+([\[\]{},])' % _STRING, re.DOTALL)
_BLANK = re.compile(rb"[ \t\r\n]*+")
_KEY = re.compile(rb"(%b)[ \t\r\n]*+:" % _STRING, re.DOTALL)
_LONGEST_KEY: Final = 64  # of those that are asked for, however it is escaped
_OPENER: Final = {b"}": b"{", b"]": b"["}


class Unscannable(Exception):  # noqa: N818 - said of the body
    """Not even its brackets make sense; `offset` is where."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} (byte {offset})")


class TooMany(Exception):  # noqa: N818 - said of the body
    """There are more elements than were asked for."""


class Span(NamedTuple):
    """A part of a body."""

    start: int
    end: int


class Members(NamedTuple):
    """What was asked for of an object: by key the last value, and the elements of all lists under the list's key."""

    values: dict[bytes, Span]
    elements: list[Span]
    is_list: bool  # false: under the list's key there was something that is neither a list nor null
    end: int


def scan_object(body: bytes, at: int, keys: Container[bytes], list_key: bytes, most: int) -> Members:
    """Find the values of `keys` in the object that begins at `at`, and the elements of the lists under `list_key`.

    Raises Unscannable, and TooMany if there are more than `most` elements.
    """
    values: dict[bytes, Span] = {}
    elements: list[Span] = []
    is_list = True
    members = 0
    at = _skip(body, at + 1)
    while not body.startswith(b"}", at):
        members += 1
        if members > MOST_MEMBERS:
            raise Unscannable("an object with too many members", at)
        found = _KEY.match(body, at)
        if found is None:
            raise Unscannable("here should be a key and a colon", at)
        start = _skip(body, found.end())
        key = _unescape(found[1])
        if key == list_key and body.startswith(b"[", start):
            more, end = scan_list(body, start, most - len(elements))  # an element's stray bracket does not end the list
            elements += more
        else:
            end = _end_of_element(body, start, b"}")
            is_list &= key != list_key or body[start:end] == b"null"
        if key in keys:
            values[key] = Span(start, end)
        at = _next(body, end, b"}")
    return Members(values, elements, is_list, at + 1)


def scan_list(body: bytes, at: int, most: int) -> tuple[list[Span], int]:
    """Find the elements of the list that begins at `at`, and where it ends. Raises Unscannable and TooMany."""
    found: list[Span] = []
    at = _skip(body, at + 1)
    while not body.startswith(b"]", at):
        if len(found) >= most:
            raise TooMany
        end = _end_of_element(body, at, b"]")
        found.append(Span(at, end))
        at = _next(body, end, b"]")
    return found, at + 1


def _unescape(key: bytes) -> bytes:
    """Give what is between a key's quotes; one that is too long to be asked for stays as it is."""
    if b"\\" in key and len(key) <= _LONGEST_KEY:
        try:
            return str(json.loads(key)).encode("utf-8", "surrogatepass")
        except ValueError:
            pass
    return key[1:-1]


def _skip(body: bytes, at: int) -> int:
    blank = _BLANK.match(body, at)
    return blank.end() if blank else at


def _next(body: bytes, at: int, closer: bytes) -> int:
    """Go from behind a value to the next one, or to the closing bracket."""
    at = _skip(body, at)
    if body.startswith(b",", at):
        following = _skip(body, at + 1)
        if body.startswith(closer, following):
            raise Unscannable("a comma before a closing bracket", at)
        return following
    if body.startswith(closer, at):
        return at
    raise Unscannable("here should be a comma or a closing bracket", at)


def _end_of_element(body: bytes, start: int, closer: bytes) -> int:
    """Find where the value that begins at `start` ends, or what stands in its place: before a comma or the closer."""
    at = start
    while (stop := _BREAK.match(body, at)) is not None:
        sign = stop[1]
        if sign == b"," or sign == closer:
            end = at + len(body[at : stop.start(1)].rstrip())
            if end == start:
                raise Unscannable("here should be a value", start)
            return end
        at = _end_of_brackets(body, stop.start(1)) if sign in b"{[" else stop.end()
    raise Unscannable("a value that does not end", start)


def _end_of_brackets(body: bytes, start: int) -> int:
    """Find where the bracket that opens at `start` is closed."""
    opened = [body[start : start + 1]]
    depth = {b"{": 0, b"[": 0, opened[0]: 1}  # how often each is in `opened`, which is not to be searched
    for found in _BRACKET.finditer(body, start + 1):
        sign = found[1]
        if sign in depth:
            opened.append(sign)
            depth[sign] += 1
            if len(opened) > MOST_DEPTH:
                raise Unscannable("brackets are nested too deeply", start)
        elif not found[0]:
            break
        elif sign and depth[_OPENER[sign]]:
            last = b""
            while last != _OPENER[sign]:  # one of the wrong kind within closes with it
                last = opened.pop()
                depth[last] -= 1
            if not opened:
                return found.end()
    raise Unscannable("a bracket that is not closed", start)
