"""What a policy looks at: the request, as far as an event tells of it.

The fields and their meaning are those of the API server's `pkg/audit/event/attributes.go`: the request is one for a
resource if the event has an `objectRef`, whatever its URI says; the impersonated user plays no role.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tailrace_plugins.policy.uri import request_path


class NoRequest(ValueError):  # noqa: N818 - said of the event
    """The event does not tell which request it is about; the message says why."""


class Request(NamedTuple):
    """The attributes of one request; what is not known of it is the empty string, as in the API server."""

    user: str = ""
    groups: tuple[str, ...] = ()
    verb: str = ""
    is_resource: bool = False
    namespace: str = ""
    group: str = ""  # of the API
    resource: str = ""
    subresource: str = ""
    name: str = ""
    path: str = ""  # decoded, without query; only where it is no request for a resource

    @property
    def whole_resource(self) -> str:
        """The resource with its subresource: `pods/log`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


REFERENCE_FIELDS: Final = {
    "namespace": "namespace",
    "group": "apiGroup",
    "resource": "resource",
    "subresource": "subresource",
    "name": "name",
}
"""Attributes of a request for a resource, in their order, and where `objectRef` has them."""


def read_request(event: Mapping[str, Any]) -> Request:
    """Take the request out of an event. Raises NoRequest."""
    user = _mapping(event, "user") or {}
    reference = _mapping(event, "objectRef")
    who = _text(user, "username", "user."), _groups(user), _text(event, "verb")
    if reference is None:
        uri = _text(event, "requestURI")
        try:
            return Request(*who, path=request_path(uri))
        except ValueError as error:
            raise NoRequest(f"requestURI is no URI of a request: {error}") from None
    return Request(*who, True, *(_text(reference, key, "objectRef.") for key in REFERENCE_FIELDS.values()))


def _mapping(event: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    value = event.get(key)
    if value is None or isinstance(value, Mapping):
        return value
    raise NoRequest(f"{key} is no object")


def _text(holder: Mapping[str, Any], key: str, before: str = "") -> str:
    value = holder.get(key)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise NoRequest(f"{before}{key} is no string")


def _groups(user: Mapping[str, Any]) -> tuple[str, ...]:
    groups = user.get("groups")
    if groups is None:
        return ()
    if isinstance(groups, list) and all(group is None or isinstance(group, str) for group in groups):
        return tuple(group or "" for group in groups)
    raise NoRequest("user.groups is no list of strings")
