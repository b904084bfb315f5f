"""Reading JSON in which something may be hidden, and writing it again with every other byte as it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

_open = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_open_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def has_repeated_keys(text: bytes) -> bool:
    """Tell whether some object has a key twice: the first of them is in the bytes, but in no decoded value.

    Raises ValueError, and RecursionError, for what Python cannot read.
    """
    found = False

    def look(pairs: Sequence[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({key for key, _ in pairs}) < len(pairs)

    json.loads(text, object_pairs_hook=look)
    return found


def respell(raw: bytes, before: Any, after: Any) -> bytes:
    """Write `after`, which was made of `before`, the value of `raw`: what is the same object keeps its bytes."""
    if after is before:
        return raw
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        keys = _open(raw)
        for key in keys:
            keys[key] = msgspec.Raw(respell(bytes(keys[key]), before[key], after[key]))
        return msgspec.json.encode(keys)
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        items = _open_list(raw)
        return msgspec.json.encode(
            [msgspec.Raw(respell(bytes(item), *pair)) for item, *pair in zip(items, before, after, strict=True)]
        )
    return msgspec.json.encode(after)
