"""One rule of a policy, and whether a request matches it (the API server's `pkg/audit/policy/checker.go`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from tailrace_plugins.policy.request import Request


class Condition(Enum):
    """What a rule can ask for; the value is the key of the policy file."""

    USERS = "users"
    USER_GROUPS = "userGroups"
    VERBS = "verbs"
    NAMESPACES = "namespaces"
    RESOURCES = "resources"
    NON_RESOURCE_URLS = "nonResourceURLs"


@dataclass(frozen=True)
class Resources:
    """An entry of a rule's `resources`: resources of one group of the API."""

    group: str = ""  # "" is the core group, "*" is any
    resources: tuple[str, ...] = ()  # none: all of the group, with their subresources
    names: tuple[str, ...] = ()  # none: whatever the name

    def matches(self, request: Request) -> bool:
        """Tell whether the request is for one of these."""
        if self.group not in (request.group, "*"):
            return False
        if not self.resources:
            return True
        if self.names and request.name not in self.names:
            return False
        return any(_matches_resource(pattern, request) for pattern in self.resources)


@dataclass(frozen=True)
class Rule:
    """A level, and the requests that it is for; a list that is empty asks for nothing."""

    level: str
    users: tuple[str, ...] = ()
    user_groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[Resources, ...] = ()
    namespaces: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool | None = None  # None: as the policy says
    line: int = 0  # where it begins in the policy file

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """What it asks for, in the order in which the API server looks."""
        asked = {
            Condition.USERS: self.users,
            Condition.USER_GROUPS: self.user_groups,
            Condition.VERBS: self.verbs,
            Condition.NAMESPACES: self.namespaces,
            Condition.RESOURCES: self.resources,
            Condition.NON_RESOURCE_URLS: self.non_resource_urls,
        }
        return tuple(condition for condition, values in asked.items() if values)

    def mismatch(self, request: Request) -> Condition | None:
        """Give the first condition that the request does not meet; None if the rule matches."""
        return next((each for each in self.conditions if not self._meets(each, request)), None)

    def _meets(self, condition: Condition, request: Request) -> bool:
        match condition:
            case Condition.USERS:
                return request.user in self.users
            case Condition.USER_GROUPS:
                return any(group in self.user_groups for group in request.groups)
            case Condition.VERBS:
                return request.verb in self.verbs
            case Condition.NAMESPACES:
                return request.is_resource and request.namespace in self.namespaces
            case Condition.RESOURCES:
                return request.is_resource and any(entry.matches(request) for entry in self.resources)
            case Condition.NON_RESOURCE_URLS:
                return not request.is_resource and any(
                    _matches_path(pattern, request.path) for pattern in self.non_resource_urls
                )


def _matches_resource(pattern: str, request: Request) -> bool:
    if pattern in ("*", request.whole_resource):
        return True
    if request.subresource and pattern == f"*/{request.subresource}":
        return True
    return pattern == f"{request.resource}/*"  # the resource itself too, whatever the documentation says


def _matches_path(pattern: str, path: str) -> bool:
    if pattern in ("*", path):
        return True
    return pattern.endswith("*") and path.startswith(pattern.rstrip("*"))
