"""Decoding documents as strictly as Jackson does, which Elasticsearch and OpenSearch read them with."""

from __future__ import annotations

import json
from typing import Any

DEEPEST, LONGEST_NUMBER = 1000, 1000  # Jackson's StreamReadConstraints


def read_as_jackson(source: bytes) -> dict[str, Any]:
    """Decode a document as Jackson does. Raises ValueError or RecursionError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("Duplicate field")
        return dict(pairs)

    def number(text: str) -> float:
        if len(text) > LONGEST_NUMBER:
            raise ValueError("Number value length exceeds the maximum allowed")
        return float(text)

    def constant(text: str) -> None:
        raise ValueError(f"Non-standard token {text}")

    text = source.decode()
    document = json.loads(text, object_pairs_hook=unique, parse_int=number, parse_float=number, parse_constant=constant)
    if not isinstance(document, dict):
        raise ValueError("not an object")
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise ValueError("Document nesting depth exceeds the maximum allowed (1000)")
    return document


def _depth(text: str) -> int:
    """Count brackets, those in strings too, which is strict enough."""
    depth = deepest = 0
    for sign in text:
        depth += (sign in "[{") - (sign in "]}")
        deepest = max(deepest, depth)
    return deepest
