"""Names made of data: what an event's value is called inside a file name or a tag.

Values are chosen by whoever sends a request, refused ones included, so a name has to be harmless whatever
the value: it is never empty, never hidden, never `.` or `..`, is plain ASCII and holds no `/`. Two strings
never share a name. Names that start with `_` are made here and by no string: `_none` where there is no
value, `_empty` for the empty string.
"""

from __future__ import annotations

import json
import os
import re
from hashlib import blake2b
from typing import Final

MISSING: Final = "_none"
EMPTY: Final = "_empty"
NAME_LIMIT: Final = 200
"""The longest name in bytes; file systems take 255, and the rest of the file name wants its share."""

_KEPT = "A-Za-z0-9.:@+=_-"
_HASH_DIGITS = 32
_PART_LIMIT = 255
_PART_END = 32  # of a part that is shortened, so much of the end stays: time and suffix
_NAME = re.compile(rf"(?![._])[{_KEPT}]{{1,{NAME_LIMIT}}}")
_NOT_IN_NAME = re.compile(rf"\A[._]|[^{_KEPT}]+")
# possessive: a text that does not fit must not be tried in every way
_TAG_PART = re.compile(rf"(?!\.)(?:[{_KEPT}]++|%[0-9A-F]{{2}})++(?:~[0-9a-f]{{{_HASH_DIGITS}}})?")
_NOT_IN_TAG_PART = re.compile(rf"\A\.|%(?![0-9A-F]{{2}})|[^%{_KEPT}]+")
_CUT_ESCAPE = re.compile(r"%.?\Z")

HASH_PATTERN: Final = rf"~[0-9a-f]{{{_HASH_DIGITS}}}"
_ESCAPED = "%(?:[0189A-F][0-9A-F]|2[0-9ACF]|3[BCEF]|5[B-E]|60|7[B-F])"  # of every byte that is not kept
NAME_PATTERN: Final = (
    rf"(?:{MISSING}|{EMPTY}|(?:(?![._])[{_KEPT}]|{_ESCAPED}|%2E|%5F)(?:[{_KEPT}]|{_ESCAPED})*(?:{HASH_PATTERN})?)"
)
"""What `encode_name` gives, as a regular expression without groups."""
TAG_PART_PATTERN: Final = rf"(?!\.)(?:[{_KEPT}]|%[0-9A-F]{{2}})+(?:{HASH_PATTERN})?"
"""What `encode_tag_part` gives, likewise."""
SHORTENED_PATTERN: Final = (
    rf"[^/]{{{_PART_LIMIT - _HASH_DIGITS - _PART_END - 1}}}{HASH_PATTERN}[^/]{{{_PART_END}}}(?![^/])"
)
"""A part of a path that `fit_path` shortened, likewise."""


def encode_name(value: object) -> str:
    """Give the name of a value inside a file name or a tag.

    A string keeps `[A-Za-z0-9-.:@+=_]`, but not a leading `.` or `_`; every other byte of its UTF-8 becomes
    `%XX`, as in RFC 3986. A result of more than 200 bytes is cut, and `~` and a hash of the whole take the
    place of what was cut. Another JSON value goes by its JSON text, so the number 1 and the string "1"
    share a name.
    """
    if value is None:
        return MISSING
    text = value_text(value)
    if _NAME.fullmatch(text):
        return text
    if not text:
        return EMPTY
    return _shorten(_NOT_IN_NAME.sub(_escape, text))


def encode_tag_part(text: str) -> str:
    """Make tag text safe inside a file name, and leave what `encode_name` made as it is.

    Like `encode_name`, but `%XX`, a leading `_` and a final `~` with a hash stay.
    """
    if len(text) <= NAME_LIMIT and _TAG_PART.fullmatch(text):
        return text
    if not text:
        return EMPTY
    return _shorten(_NOT_IN_TAG_PART.sub(_escape, text))


def fit_path(path: str) -> str:
    """Shorten those parts of a path that no file system takes, over 255 bytes, to a beginning, a hash and the end.

    One name made of several values can get that long, and whoever sends a request chooses the values.
    """
    if all(len(part) <= _PART_LIMIT for part in os.fsencode(path).split(b"/")):
        return path
    return "/".join(map(_fit_part, path.split("/")))


def _fit_part(part: str) -> str:
    encoded = os.fsencode(part)
    if len(encoded) <= _PART_LIMIT:
        return part
    digest = blake2b(encoded, digest_size=_HASH_DIGITS // 2).hexdigest()
    beginning = encoded[: _PART_LIMIT - _HASH_DIGITS - _PART_END - 1]
    return os.fsdecode(beginning) + f"~{digest}" + os.fsdecode(encoded[-_PART_END:])


def value_text(value: object) -> str:
    """Give a JSON value as plain text: a string as it is, nothing for None, else its compact JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:  # such a value is somebody's attack; it has to have some text all the same
        return "(nested too deeply)"


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def _shorten(name: str) -> str:
    if len(name) <= NAME_LIMIT:
        return name
    digest = blake2b(name.encode("ascii"), digest_size=_HASH_DIGITS // 2).hexdigest()
    kept = _CUT_ESCAPE.sub("", name[: NAME_LIMIT - _HASH_DIGITS - 1])
    return f"{kept}~{digest}"  # no short name holds a ~, so a long one is never mistaken for it
