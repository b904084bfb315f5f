"""What the items of an EventList lack and the lines of a log have: `kind` and `apiVersion`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Raw, UnsetType

from tailrace_plugins.receiving.grammar import NotJson, Unreadable, read


class _Kind(msgspec.Struct):
    kind: Raw | UnsetType = UNSET
    apiVersion: Raw | UnsetType = UNSET  # noqa: N815 - Kubernetes' name


_decode = msgspec.json.Decoder(_Kind).decode


def restore_kind(lines: Sequence[bytes], version: str) -> list[bytes]:
    """Put `kind` and `apiVersion` in front of the other keys, as the log backend writes them, where they are missing.

    A line that is not a JSON object, or that cannot be read, stays as it is.
    """
    return [_restore(line, version) for line in lines]


def _restore(line: bytes, version: str) -> bytes:
    if not line.startswith(b"{"):
        return line
    try:
        found = _decode(line)
        has_kind, has_version = found.kind is not UNSET, found.apiVersion is not UNSET
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            event = read(line)
        except (NotJson, Unreadable):
            return line
        assert isinstance(event, dict)  # it begins with a brace
        has_kind, has_version = "kind" in event, "apiVersion" in event
    keys = b""
    if not has_kind:
        keys += b'"kind":"Event",'
    if not has_version:
        keys += b'"apiVersion":"%b",' % version.encode()
    rest = line[1:]
    if rest.lstrip().startswith(b"}"):
        keys = keys[:-1]
    return b"{" + keys + rest
