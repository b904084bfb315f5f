"""Events with secrets, and what the filter `redact` makes of them."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from tailrace.testing import apply
from tailrace_plugins.filters.redact import Redact

KEY = "0123456789abcdef"
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
COPY = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"
HIDDEN = "[redacted]"


def digest(secret: bytes, key: bytes = KEY.encode()) -> str:
    return "hmac-sha256:" + hmac.new(key, secret, hashlib.sha256).hexdigest()[:32]


def redacted(event: dict[str, Any], **options: Any) -> dict[str, Any]:
    outcome = apply(Redact(**options), [json.dumps(event).encode()])
    assert outcome.rejects == []
    result: dict[str, Any] = json.loads(outcome.lines[0])
    assert result.keys() == event.keys()
    return result


def request(body: Any, resource: str = "secrets", verb: str = "create", part: str | None = None) -> dict[str, Any]:
    reference = {"resource": resource} | ({"subresource": part} if part else {})
    return {"verb": verb, "objectRef": reference, "requestObject": body}


def body(value: Any, resource: str = "secrets", verb: str = "create", **options: Any) -> Any:
    return redacted(request(value, resource, verb), **options)["requestObject"]


def secret(**more: Any) -> dict[str, Any]:
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x"}, "data": {"a": "czNjcmV0"}} | more


MASKED = secret(data={"a": HIDDEN})
