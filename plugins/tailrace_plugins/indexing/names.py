"""Names of indices and data streams, made from data.

Values are chosen by whoever sends a request, refused ones included. So a name begins with fixed text, and what a value
becomes in it has no sign that an index name may not hold, or that a URL, a proxy or a shell takes for something else:
`a-z 0-9 . _ -` stay, `~` and two digits stand for each other byte. It is not `%`, for what is percent-encoded is
decoded by proxies too, once too often perhaps; and upper case has to be written somehow, for names have none.

The rules of names: `MetadataCreateIndexService.validateIndexOrAliasName` in Elasticsearch and in OpenSearch.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from tailrace import Template, value_text

MISSING: Final = "_none"
EMPTY: Final = "_empty"
NAME_LIMIT: Final = 200
"""The longest name in bytes. Servers take 255, and put `.ds-`, a date and a number around that of a data stream."""

_VALUE_LIMIT = 100
_HASH_DIGITS = 32
_END = 32  # of a name that is shortened, so much of the end stays: the date
_PLAIN = re.compile(r"(?![._-])[a-z0-9._-]+")
_NOT_PLAIN = re.compile(r"\A[._-]|[^a-z0-9._-]+")
_FIXED = re.compile(r"[a-z0-9._-]*")
_BEGINNING = re.compile(r"[a-z0-9]")
_CUT_ESCAPE = re.compile(r"~.?\Z")


def index_template(text: str, *, time: bool) -> Template:
    """Make the template of an index's name. Raises ValueError that says what is wrong with it."""
    template = Template(text, encode_value, time=time)
    if not _BEGINNING.match(template.literal_prefix):
        raise ValueError(
            f"{text!r} does not begin with fixed text; begin it with a small letter or a digit, as in audit-…, so that "
            "no event can choose among all indices of the cluster"
        )
    for piece in template.pieces:
        if isinstance(piece, str) and not _FIXED.fullmatch(piece):
            raise ValueError(f"{piece!r} cannot stand in a name; there, write a-z, 0-9, '.', '_' and '-' alone")
    if len(template.literal_prefix) > _VALUE_LIMIT:
        raise ValueError(f"{template.literal_prefix!r} is too long; begin with {_VALUE_LIMIT} bytes at most")
    return template


def encode_value(value: object) -> str:
    """Give what a value is called inside the name of an index.

    A string keeps `a-z 0-9 . _ -`, but none of the signs among them at its beginning; every other byte of its UTF-8
    becomes `~xx`. A result of more than 100 bytes is cut, and `~~` and a hash of the whole take the place of what was
    cut. Names that begin with `_` are made here: `_none` where there is no value, `_empty` for the empty string.
    Another JSON value goes by its JSON text. Two strings never share a name.
    """
    if value is None:
        return MISSING
    text = value_text(value)
    if not text:
        return EMPTY
    if not _PLAIN.fullmatch(text):
        text = _NOT_PLAIN.sub(_escape, text)
    if len(text) <= _VALUE_LIMIT:
        return text
    return f"{_CUT_ESCAPE.sub('', text[: _VALUE_LIMIT - _HASH_DIGITS - 2])}{_hash(text)}"


def fit_name(name: str) -> str:
    """Shorten a name of several values that got too long, to a beginning, a hash and the end."""
    if len(name) <= NAME_LIMIT:
        return name
    return f"{name[: NAME_LIMIT - _HASH_DIGITS - 2 - _END]}{_hash(name)}{name[-_END:]}"


def _escape(match: re.Match[str]) -> str:
    return "".join(f"~{byte:02x}" for byte in match[0].encode("utf-8", "surrogatepass"))


def _hash(text: str) -> str:
    """Give two signs that follow each other nowhere else, and a hash."""
    return f"~~{blake2b(text.encode('ascii'), digest_size=_HASH_DIGITS // 2).hexdigest()}"
