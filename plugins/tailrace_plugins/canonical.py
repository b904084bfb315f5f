"""An audit event as the API server writes it, and so its size as the API server counts it.

That is what Go's `encoding/json` makes of `Event` in k8s.io/apiserver/pkg/apis/audit/v1/types.go: no spaces, the fields
in their order, empty ones left out, `<`, `>`, `&`, U+2028 and U+2029 escaped, a newline. Bodies keep their spelling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

_Normal = Callable[[Any], Any]  # of a value: as Go holds it; raises ValueError where it is of another type

_open = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ERRORS = (ValueError, TypeError, RecursionError)  # msgspec's and Unicode's are ValueErrors
_API_VERSION: Final = "audit.k8s.io/v1"
_MOST_ADDED: Final = 700  # bytes that the fields take that are never left out; and those of two times
_ESCAPED: Final = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)


def canonical(line: bytes) -> bytes:
    """Write an audit event as the API server does, with its newline; a line that is none comes back with a newline."""
    try:
        return _canonical(_open(line))
    except _ERRORS:
        return line + b"\n"


def canonical_size(line: bytes) -> int:
    """Count the bytes of an event as the API server does."""
    return len(canonical(line))


def _roughly(line: bytes) -> int:
    return 6 * len(line) + _MOST_ADDED


def _closely(line: bytes) -> int:
    escaped = 5 * sum(map(line.count, (b"<", b">", b"&"))) + 3 * line.count(b"\xe2\x80")
    return len(line) + escaped + _MOST_ADDED


SIZES: Final = (_roughly, _closely, canonical_size)
"""Ways to tell an event's size: each slower than the one before, and none less than the last, which is exact."""


def fits(line: bytes, limit: int) -> bool:
    """Tell whether an event has at most `limit` bytes; nearly always without decoding it."""
    return any(size(line) <= limit for size in SIZES)


def micro_time(text: str) -> str | None:
    """Write an RFC 3339 time as a metav1.MicroTime: in UTC, six digits; None for Go's zero time.

    Raises ValueError.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is out of range") from None
    return None if moment == _ZERO else moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _canonical(event: Mapping[str, msgspec.Raw]) -> bytes:
    parts: dict[str, Any] = {}
    for key, (normal, is_always) in _EVENT.items():
        raw = event.get(key)
        if normal is None:
            value = None if raw is None or bytes(raw).strip() == b"null" else msgspec.Raw(_compact(raw))
        else:
            value = normal(None if raw is None else msgspec.json.decode(raw))
        if value is not None or is_always:
            parts[key] = value
    parts["kind"], parts["apiVersion"] = parts["kind"] or "Event", parts["apiVersion"] or _API_VERSION
    encoded = msgspec.json.encode(parts)
    for plain, escape in _ESCAPED:
        encoded = encoded.replace(plain, escape)
    return encoded + b"\n"


def _compact(raw: msgspec.Raw) -> bytes:
    return msgspec.json.format(bytes(raw), indent=-1)


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError
    return value or None


def _always_text(value: Any) -> str:
    return _text(value) or ""


def _number(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ValueError
    return value or None


def _list(item: _Normal) -> _Normal:
    def normal(value: Any) -> list[Any] | None:
        if value is not None and not isinstance(value, list):
            raise ValueError
        return [item(each) for each in value] if value else None

    return normal


def _map(item: _Normal) -> _Normal:
    def normal(value: Any) -> dict[str, Any] | None:
        if value is not None and not isinstance(value, dict):
            raise ValueError
        return {key: item(value[key]) for key in sorted(value)} if value else None

    return normal


def _struct(fields: Mapping[str, _Normal], always: bool = False) -> _Normal:
    def normal(value: Any) -> dict[str, Any] | None:
        if value is None and not always:
            return None
        if value is not None and not isinstance(value, dict):
            raise ValueError
        known = {key: item((value or {}).get(key)) for key, item in fields.items()}
        return {key: item for key, item in known.items() if item is not None}

    return normal


def _time(value: Any) -> str | None:
    text = _text(value)
    return None if text is None else micro_time(text)


_ZERO = datetime(1, 1, 1, tzinfo=UTC)


def _texts(keys: Sequence[str]) -> dict[str, _Normal]:
    return dict.fromkeys(keys, _text)


_USER = _texts(("username", "uid")) | {
    "groups": _list(_always_text),
    "extra": _map(lambda value: _list(_always_text)(value)),
}
_OBJECT = _texts(("resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion", "subresource"))
_CAUSES = _list(_struct(_texts(("reason", "message", "field")), always=True))
_DETAILS = _texts(("name", "group", "kind", "uid")) | {"causes": _CAUSES, "retryAfterSeconds": _number}
_LIST_META = _texts(("selfLink", "resourceVersion", "continue")) | {"remainingItemCount": _number}
_STATUS = (
    {"metadata": _struct(_LIST_META, always=True)}
    | _texts(("status", "message", "reason"))
    | {"details": _struct(_DETAILS), "code": _number}
)
_EVENT: Final[Mapping[str, tuple[_Normal | None, bool]]] = {  # what is done with the value; whether it is always there
    "kind": (_text, True),
    "apiVersion": (_text, True),
    **dict.fromkeys(("level", "auditID", "stage", "requestURI", "verb"), (_always_text, True)),
    "user": (_struct(_USER, always=True), True),
    "impersonatedUser": (_struct(_USER), False),
    "authenticationMetadata": (_struct(_texts(("impersonationConstraint",))), False),
    "sourceIPs": (_list(_always_text), False),
    "userAgent": (_text, False),
    "objectRef": (_struct(_OBJECT), False),
    "responseStatus": (_struct(_STATUS), False),
    "requestObject": (None, False),
    "responseObject": (None, False),
    "requestReceivedTimestamp": (_time, True),
    "stageTimestamp": (_time, True),
    "annotations": (_map(_always_text), False),
}
