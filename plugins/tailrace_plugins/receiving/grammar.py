"""JSON by its grammar alone: what the fast decoder refuses because of a value is read all the same.

That is a lone surrogate, bytes that are not UTF-8, a nesting that is deep for the one and not for the other.
"""

from __future__ import annotations

import json
from typing import Final

MOST_VALUES: Final = 2_000_000
"""Of more values than that nothing is read; Python may take 150 bytes for each."""


class NotJson(Exception):  # noqa: N818 - said of the text
    """The text breaks the grammar."""


class Unreadable(Exception):  # noqa: N818 - said of the text
    """The text may be JSON, but it goes beyond a limit: depth, number of values, digits of a number."""


def read(text: bytes) -> object:
    """Read a JSON text. Raises NotJson and Unreadable."""
    if sum(map(text.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise Unreadable
    try:
        return json.loads(text.decode("utf-8", "surrogateescape"), parse_constant=_refuse)
    except json.JSONDecodeError:
        raise NotJson from None
    except (ValueError, RecursionError):
        raise Unreadable from None


def _refuse(_constant: str) -> None:
    raise NotJson  # NaN and its like are Python's
