"""Taking `metadata.managedFields` out of the objects in an event, as the API server does for `omitManagedFields`.

They stand in an object itself, in each item of a list, and in the object of each row of a `Table`; nowhere else, also
not in the template inside a Deployment. For whole values (`without_managed_fields`) and for JSON of which no other byte
may change (`strip_managed_fields`).
"""

from __future__ import annotations

from typing import Any

import msgspec

_SPACE = b" \t\r\n"
_open = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode


def without_managed_fields(body: Any) -> Any:
    """Give the body of a request or an answer without managed fields; what is changed is made anew."""
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("items"), list):
        return body | {"items": [_without(item) for item in body["items"]]}
    if _is_table(body.get("kind"), body.get("apiVersion")) and isinstance(body.get("rows"), list):
        return body | {"rows": [_row_without(row) for row in body["rows"]]}
    return _without(body)


def _row_without(row: Any) -> Any:
    if isinstance(row, dict) and "object" in row:
        return row | {"object": _without(row["object"])}
    return row


def _without(thing: Any) -> Any:
    metadata = thing.get("metadata") if isinstance(thing, dict) else None
    if isinstance(metadata, dict) and "managedFields" in metadata:
        return thing | {"metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}
    return thing


def _is_table(kind: Any, version: Any) -> bool:
    return kind == "Table" and isinstance(version, str) and version.startswith("meta.k8s.io/")


def may_hold_managed_fields(text: bytes) -> bool:
    """Tell of JSON, quickly, whether there can be anything to take out."""
    return b"managedFields" in text or b"\\u" in text


def strip_managed_fields(body: bytes) -> bytes:
    """Do the same to a body as JSON; one that has none comes back as it is.

    Raises a DecodeError, a UnicodeDecodeError or a RecursionError where it cannot be taken apart.
    """
    if not may_hold_managed_fields(body) or not _begins(body, b"{"):
        return body
    keys = _open(body)
    if "items" in keys and _begins(bytes(keys["items"]), b"["):
        return _replace(body, keys, "items", _strip_each(bytes(keys["items"]), _strip))
    if "rows" in keys and _begins(bytes(keys["rows"]), b"[") and _is_table(*(_string(keys, k) for k in _TYPE)):
        return _replace(body, keys, "rows", _strip_each(bytes(keys["rows"]), _strip_row))
    return _strip(body)


_TYPE = ("kind", "apiVersion")


def _string(keys: dict[str, msgspec.Raw], key: str) -> str | None:
    value = bytes(keys[key]) if key in keys else b""
    return _text(value) if _begins(value, b'"') else None


def _begins(text: bytes, sign: bytes) -> bool:
    return text.lstrip(_SPACE).startswith(sign)


def _replace(whole: bytes, keys: dict[str, msgspec.Raw], key: str, new: bytes) -> bytes:
    if new == bytes(keys[key]):
        return whole
    keys[key] = msgspec.Raw(new)
    return msgspec.json.encode(keys)


def _strip_each(array: bytes, strip: Any) -> bytes:
    before = [bytes(item) for item in _items(array)]
    after = [strip(item) for item in before]
    return array if after == before else msgspec.json.encode(list(map(msgspec.Raw, after)))


def _strip_row(row: bytes) -> bytes:
    keys = _open(row) if _begins(row, b"{") else {}
    return _replace(row, keys, "object", _strip(bytes(keys["object"]))) if "object" in keys else row


def _strip(thing: bytes) -> bytes:
    if not may_hold_managed_fields(thing) or not _begins(thing, b"{"):
        return thing
    keys = _open(thing)
    if "metadata" not in keys or not _begins(bytes(keys["metadata"]), b"{"):
        return thing
    metadata = _open(keys["metadata"])
    if "managedFields" not in metadata:
        return thing
    del metadata["managedFields"]
    return _replace(thing, keys, "metadata", msgspec.json.encode(metadata))
