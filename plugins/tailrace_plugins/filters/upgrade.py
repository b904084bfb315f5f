"""The filter `upgrade`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from tailrace import Batch, Filter
from tailrace_plugins.canonical import micro_time

_V1: Final = "audit.k8s.io/v1"
_OLD: Final = ("audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1")
_TIMES: Final = (("stageTimestamp", "creationTimestamp"), ("requestReceivedTimestamp", "timestamp"))

_Event = dict[str, msgspec.Raw]
_open = msgspec.json.Decoder(_Event).decode
_text = msgspec.json.Decoder(str | None).decode


class Upgrade(Filter, kw_only=True):
    """Turn events of audit.k8s.io/v1beta1 and v1alpha1 (Kubernetes 1.7 to 1.23) into v1.

        - type: upgrade

    It does what the API server's own conversion did: `metadata` and `timestamp` go; where `stageTimestamp` or
    `requestReceivedTimestamp` is missing or null, it is made of `metadata.creationTimestamp` or `timestamp`, with a
    whole second; and `objectRef.apiVersion` of v1alpha1, such as `apps/v1`, becomes `apiGroup` and `apiVersion`. All
    else keeps its spelling, and an event of v1 its bytes.

    The items of an EventList have no `apiVersion` of their own: one that has none is an old one if it has a
    `timestamp`, which v1 does not have. An old event that cannot be converted is rejected.
    """

    def reads(self) -> Iterable[str]:
        """Name what tells an old event."""
        return ["apiVersion", "timestamp"]

    def apply(self, batch: Batch) -> None:
        """Replace the old events."""
        versions, times = batch["apiVersion"], batch["timestamp"]
        old = [
            index
            for index, version in enumerate(versions)
            if version != _V1 and (version in _OLD or (version is None and times[index] is not None))
        ]
        if not old:
            return
        lines = batch.encoded()
        changed: dict[int, bytes] = {}
        for index in old:
            try:
                changed[index] = _upgraded(lines[index])
            except (ValueError, RecursionError) as error:
                batch.reject(index, f"cannot be upgraded to {_V1}: {error}")
        batch.replace(changed)


def _upgraded(line: bytes) -> bytes:
    event = _open(line)
    if "apiVersion" in event:
        event["apiVersion"] = msgspec.Raw(msgspec.json.encode(_V1))
    before = _object(event.pop("metadata", None))
    if "timestamp" in event:
        before["timestamp"] = event.pop("timestamp")
    for name, former in _TIMES:
        if _time(event, name) is None:
            moment = _time(before, former)
            if moment is not None:
                event[name] = msgspec.Raw(msgspec.json.encode(moment))
    reference = _object(event.get("objectRef"))
    version = _text(reference["apiVersion"]) if "apiVersion" in reference else None
    if version is not None and "/" in version:  # of v1alpha1, for there it holds both
        group, _, version = version.rpartition("/")
        event["objectRef"] = msgspec.Raw(msgspec.json.encode(_split_version(reference, group, version)))
    return msgspec.json.encode(event)


def _split_version(reference: _Event, group: str, version: str) -> dict[str, Any]:
    """Write group and version where the API server writes them; the core group has no name, and is left out."""
    fields: dict[str, Any] = {}
    for key, value in reference.items():
        if key == "apiVersion":
            fields |= {"apiGroup": group} if group else {}
            fields["apiVersion"] = version
        elif key != "apiGroup":
            fields[key] = value
    return fields


def _object(raw: msgspec.Raw | None) -> _Event:
    return {} if raw is None or bytes(raw).strip() == b"null" else _open(raw)


def _time(fields: _Event, name: str) -> str | None:
    """Give a time as v1 writes it; None where it is missing, null or Go's zero time."""
    text = _text(fields[name]) if name in fields else None
    return None if text is None else micro_time(text)
