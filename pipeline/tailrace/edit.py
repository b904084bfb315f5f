"""Changing one field of a JSON line while every byte that has nothing to do with it stays as it is.

Only the objects on the way to the field are taken apart, and their other values travel as raw bytes, so that
numbers, escapes and the order of keys survive. White space between the keys of the opened objects does not, nor do
escapes in these keys, and of keys that occur twice in an opened object the last one stays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from tailrace.fields import DECODE_ERRORS, Path

_open = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_SPACE = b" \t\r\n"


class EditError(ValueError):
    """The line, or the value, cannot be edited without breaking it; the message says why."""


def encode_value(value: Any) -> bytes:
    """Encode one value as JSON; strings that UTF-8 cannot hold come out escaped.

    Raises EditError for what JSON has no word for (an infinite number, a Python object).
    """
    try:
        encoded = msgspec.json.encode(value)
        if b"null" in encoded and not _is_finite(value):  # msgspec writes an infinite number as null
            raise EditError("value cannot be written as JSON: it holds an infinite number")
        return encoded
    except (UnicodeEncodeError, TypeError, OverflowError, RecursionError):
        try:
            return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise EditError(f"value cannot be written as JSON: {error}") from None


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def splice(line: bytes, key: str, value: Any) -> bytes:
    """Append `key` to the object in `line`, which must not have that key yet; no byte of the line changes."""
    body = line.rstrip(_SPACE)
    if not body.endswith(b"}"):
        raise EditError("the line does not end in an object")
    inside = body[:-1].rstrip(_SPACE)
    comma = b"" if inside.endswith(b"{") else b","
    return b"".join((body[:-1], comma, encode_value(key), b":", encode_value(value), b"}", line[len(body) :]))


def set_field(line: bytes, path: Path, value: Any) -> bytes:
    """Set the field at `path`, making the objects on the way where they are missing."""
    return _edit(line, path, encode_value(value))


def change_keys(line: bytes, keys: Mapping[str, bytes | None]) -> bytes:
    """Give keys of the object in `line` other values, as JSON, or take them away (None): all in one go."""
    try:
        opened = _open(line)
    except DECODE_ERRORS as error:
        raise EditError(f"cannot open the object that holds {next(iter(keys))!r}: {error}") from None
    for key, encoded in keys.items():
        if encoded is None:
            opened.pop(key, None)
        else:
            opened[key] = msgspec.Raw(encoded)
    return msgspec.json.encode(opened) + line[len(line.rstrip(_SPACE)) :]


def delete_field(line: bytes, path: Path) -> bytes:
    """Remove the field at `path`; a line that does not have it comes back as it is."""
    return _edit(line, path, None)


def _edit(line: bytes, path: Path, encoded: bytes | None) -> bytes:
    try:
        keys = _open(line)
    except DECODE_ERRORS as error:
        raise EditError(f"cannot open the object that holds {path[0]!r}: {error}") from None
    key, rest = path[0], path[1:]
    if rest:
        below = bytes(keys[key]) if key in keys else b"null"
        if not below.lstrip(_SPACE).startswith(b"{"):
            if encoded is None:
                return line
            below = b"{}"
        edited = _edit(below, rest, encoded)
        if edited == below and encoded is None:
            return line
        keys[key] = msgspec.Raw(edited)
    elif encoded is not None:
        keys[key] = msgspec.Raw(encoded)
    elif key in keys:
        del keys[key]
    else:
        return line
    ending = line[len(line.rstrip(_SPACE)) :]
    return msgspec.json.encode(keys) + ending
