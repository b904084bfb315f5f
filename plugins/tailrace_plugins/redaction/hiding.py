"""What is written in the place of a secret: always the same word, or a keyed hash, by which equal ones can be told."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any, Final

import msgspec

LEAST_KEY: Final = 16  # bytes
_PREFIX: Final = "hmac-sha256:"
_DIGITS: Final = 32  # 128 bits: no two secrets of one archive share them by chance


class Hiding:
    """Hides values. With a key, by HMAC-SHA-256 of the value's bytes; without one, by `mask`."""

    def __init__(self, key: bytes | None, mask: str) -> None:
        self._key = key
        self._mask = mask

    def text(self, value: bytes) -> str:
        """Give what stands for these bytes."""
        if self._key is None:
            return self._mask
        return _PREFIX + hmac.new(self._key, value, hashlib.sha256).hexdigest()[:_DIGITS]

    def leaves(self, value: Any, is_base64: bool = False) -> Any:
        """Hide every string, number and boolean in a value; keys stay, and null, which says nothing.

        With `is_base64`, a string stands for the bytes that it encodes, so that `stringData` and `data` of one Secret
        come out the same.
        """
        if isinstance(value, dict) and value:
            return {key: self.leaves(each, is_base64) for key, each in value.items()}
        if isinstance(value, list) and value:
            return [self.leaves(each, is_base64) for each in value]
        if value is None or isinstance(value, dict | list):
            return value
        if isinstance(value, str):
            return self.text(_decoded(value) if is_base64 else value.encode())
        return self.text(msgspec.json.encode(value))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode()
