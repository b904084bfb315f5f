"""Finding the items of a list in JSON that has a fault somewhere: by its brackets and strings alone.

For bodies that the decoder refuses. Where only one item is at fault (a number that is none, a lone surrogate, a
bracket of the wrong kind), the others are cut out all the same. What it costs grows with the number of brackets, and
nothing is recursive, so depth costs nothing.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# up to the next bracket, or to the next bracket or comma, that stands outside strings
_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{}])', re.DOTALL)
_BREAK = re.compile(rb'(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{},])', re.DOTALL)
_BLANK = re.compile(rb"[ \t\r\n]*+")
_KEY = re.compile(rb'("(?:[^"\\]++|\\.)*+")[ \t\r\n]*+:', re.DOTALL)
_OPENER: Final = {b"}": b"{", b"]": b"["}


class Unscannable(Exception):  # noqa: N818 - said of the body
    """Not even its brackets make sense; `offset` is where."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} (byte {offset})")


class Span(NamedTuple):
    """A part of a body."""

    start: int
    end: int


class Members(NamedTuple):
    """The members of an object, by their keys in quotes; the list that was asked for by its elements."""

    values: dict[bytes, Span]
    elements: list[Span] | None
    end: int


def scan_object(body: bytes, at: int, list_key: bytes, most: int) -> Members:
    """Find the members of the object that begins at `at`, and those of the list under `list_key`, if it is one.

    At most `most` + 1 elements are looked for. Raises Unscannable.
    """
    values: dict[bytes, Span] = {}
    found: list[Span] | None = None
    at = _skip(body, at + 1)
    while not body.startswith(b"}", at):
        key = _KEY.match(body, at)
        if key is None:
            raise Unscannable("here should be a key and a colon", at)
        start = _skip(body, key.end())
        if key[1] == list_key and body.startswith(b"[", start):
            found, end = scan_list(body, start, most)  # an element's stray bracket does not end the list
        else:
            end = _end_of_element(body, start)
        values[key[1]] = Span(start, end)
        at = _next(body, end, b"}")
    return Members(values, found, at + 1)


def scan_list(body: bytes, at: int, most: int) -> tuple[list[Span], int]:
    """Find the elements of the list that begins at `at`, and where it ends; not more than `most` + 1 of them.

    Raises Unscannable.
    """
    found: list[Span] = []
    at = _skip(body, at + 1)
    while not body.startswith(b"]", at) and len(found) <= most:
        end = _end_of_element(body, at)
        found.append(Span(at, end))
        at = _next(body, end, b"]")
    return found, at + 1


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


def _end_of_element(body: bytes, start: int) -> int:
    """Find where the value that begins at `start` ends."""
    if body[start : start + 1] not in (b"{", b"["):
        stop = _BREAK.match(body, start)
        if stop is None:
            raise Unscannable("a value that does not end", start)
        end = len(body[start : stop.start(1)].rstrip()) + start
        if end == start or stop[1] in b"{[":
            raise Unscannable("here should be a value", start)
        return end
    opened: list[bytes] = []
    at = start
    while True:
        found = _BRACKET.match(body, at)
        if found is None:
            raise Unscannable("a bracket that is not closed", start)
        at = found.end()
        sign = found[1]
        if sign in b"{[":
            opened.append(sign)
        elif _OPENER[sign] in opened:
            while opened.pop() != _OPENER[sign]:  # one of the wrong kind within closes with it
                pass
            if not opened:
                return at
