"""The fields of a Kubernetes audit event, audit.k8s.io: v1 and, for old archives, v1beta1.

From k8s.io/apiserver/pkg/apis/audit/v1/types.go. Nothing is said about keys below a plain one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tailrace.fields import Path

_PLAIN: Final = (  # the last two are of v1beta1
    *("kind", "apiVersion", "level", "auditID", "stage", "requestURI", "verb", "authenticationMetadata"),
    *("sourceIPs", "userAgent", "requestObject", "responseObject", "requestReceivedTimestamp"),
    *("stageTimestamp", "annotations", "metadata", "timestamp"),
)
_USER: Final = ("username", "uid", "groups", "extra")
_OBJECT: Final = ("resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion")
_STATUS: Final = ("metadata", "status", "message", "reason", "details", "code")
_BELOW: Final[Mapping[str, Sequence[str]]] = {
    "user": _USER,
    "impersonatedUser": _USER,
    "objectRef": (*_OBJECT, "subresource"),
    "responseStatus": _STATUS,
}

FIELDS: Final = (*_PLAIN, *_BELOW, *(f"{key}.{below}" for key in _BELOW for below in _BELOW[key]))


def has_field(path: Path) -> bool:
    """Tell whether an event can have this field."""
    return path[0] in _PLAIN or (path[0] in _BELOW and (len(path) == 1 or path[1] in _BELOW[path[0]]))
