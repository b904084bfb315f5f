"""What the items of an EventList lack and the lines of a log have: `kind` and `apiVersion`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Raw, UnsetType


class _Kind(msgspec.Struct):
    kind: Raw | UnsetType = UNSET
    apiVersion: Raw | UnsetType = UNSET  # noqa: N815 - Kubernetes' name


_decode = msgspec.json.Decoder(_Kind).decode


def restore_kind(lines: Sequence[bytes], version: str) -> list[bytes]:
    """Put `kind` and `apiVersion` in front of the other keys, as the log backend writes them, where they are missing.

    A line that is not a JSON object, or that cannot be decoded and may have these keys, stays as it is.
    """
    return [_restore(line, version) for line in lines]


def _restore(line: bytes, version: str) -> bytes:
    if not line.startswith(b"{"):
        return line
    try:
        found = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if b'"kind"' in line or b'"apiVersion"' in line:
            return line
        found = _Kind()
    keys = b""
    if found.kind is UNSET:
        keys += b'"kind":"Event",'
    if found.apiVersion is UNSET:
        keys += b'"apiVersion":"%b",' % version.encode()
    rest = line[1:]
    if rest.lstrip().startswith(b"}"):
        keys = keys[:-1]
    return b"{" + keys + rest
