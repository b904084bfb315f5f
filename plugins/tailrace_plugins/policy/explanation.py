"""Why a policy decides on an event as it does, in words; what comes out of the event is quoted, safe for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tailrace_plugins.policy.policy import Change, Policy, Verdict, change_of
from tailrace_plugins.policy.request import NoRequest, Request, read_request
from tailrace_plugins.policy.rules import Condition, Resources, Rule

_MOST_SHOWN: Final = 8


class EventError(ValueError):
    """What was given is not one event; the message says what it is."""


def read_event(text: bytes) -> dict[str, Any]:
    """Read one event, or a list of one as the webhook backend sends it. Raises EventError."""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventError(f"this is not one event in JSON: {error}") from None
    if isinstance(event, dict) and isinstance(event.get("items"), list):
        if len(event["items"]) != 1:
            raise EventError(f"this is a list of {len(event['items'])} events; give one of them")
        [event] = event["items"]
    if not isinstance(event, dict):
        raise EventError("this is no event but another JSON value")
    return event


def unreachable(policy: Policy, file: str) -> Iterator[str]:
    """Say which rules no request can reach, for one before them takes all."""
    for number, rule in enumerate(policy.rules[:-1], 1):
        if not rule.conditions:
            rest = len(policy.rules) - number
            what = "the rule after it is" if rest == 1 else f"the {rest} rules after it are"
            yield f"{file}:{rule.line}: warning: rule {number} matches every request, so {what} never reached"
            return


def explain(policy: Policy, file: str, event: Mapping[str, Any]) -> list[str]:
    """Give the lines that say what a policy makes of an event. Raises EventError if it does not tell its request."""
    try:
        request = read_request(event)
    except NoRequest as error:
        raise EventError(f"the policy cannot be applied: {error}") from None
    verdict = policy.judge(request)
    lines = [f"request: {_describe(request)}"]
    for number, rule in enumerate(policy.rules, 1):
        head = f"{file}:{rule.line}: rule {number}"
        missed = rule.mismatch(request)
        if missed is None:
            lines.append(f"{head} matches: {_conditions(rule)}")
            break
        lines.append(f"{head} does not match: {missed.value}: {_why(missed, rule, request)}")
    else:
        lines.append("no rule matches, which means None")
    lines.append(_answer(verdict))
    change = change_of(verdict, event.get("level"), event.get("stage"), event.get("verb"))
    lines.append(f"this event: {_effect(change, verdict, event)}")
    return lines


def _describe(request: Request) -> str:
    who = f"by {request.user!r} of {_list(request.groups)}"
    if not request.is_resource:
        return f"{request.verb!r} of the path {request.path!r} {who}"
    where = f"in namespace {request.namespace!r}" if request.namespace else "in no namespace"
    what = f"{request.whole_resource!r} of group {request.group!r}"
    named = f" named {request.name!r}" if request.name else " without a name"
    return f"{request.verb!r} of {what}{named} {where} {who}"


def _conditions(rule: Rule) -> str:
    if not rule.conditions:
        return "it asks for nothing"
    return f"it asks for {', '.join(condition.value for condition in rule.conditions)}"


def _answer(verdict: Verdict) -> str:
    stages = f", not in the stages {_list(sorted(verdict.omit_stages))}" if verdict.omit_stages else ""
    managed = ", without managed fields" if verdict.omit_managed_fields else ""
    return f"level: {verdict.level}{stages}{managed}"


def _effect(change: Change, verdict: Verdict, event: Mapping[str, Any]) -> str:
    if change.dropped == "level":
        return "is dropped"
    if change.dropped == "stage":
        return f"is dropped, for its stage is {event.get('stage')!r}"
    said = []
    if change.level is not None:
        said.append(f"its level falls from {event.get('level')!r} to {change.level}")
    elif event.get("level") != verdict.level:
        said.append(f"was recorded at the lower level {event.get('level')!r}, and keeps it")
    gone = [body for body in change.removed if body in event]
    if gone:
        said.append(f"loses {' and '.join(gone)}")
    if change.strip_managed_fields and any(body in event for body in change.strip_managed_fields):
        said.append("loses the managed fields that it has")
    return "; ".join(said) or "stays as it is"


def _why(condition: Condition, rule: Rule, request: Request) -> str:
    """Say why a request does not meet a condition."""
    match condition:
        case Condition.USERS:
            return _none_of(request.user, rule.users)
        case Condition.USER_GROUPS:
            return f"none of {_list(request.groups)} is one of {_list(rule.user_groups)}"
        case Condition.VERBS:
            return _none_of(request.verb, rule.verbs)
        case Condition.NON_RESOURCE_URLS if request.is_resource:
            return "the request is for a resource"
        case Condition.NON_RESOURCE_URLS:
            return _none_of(request.path, rule.non_resource_urls)
    if not request.is_resource:
        return f"the request is not for a resource, but for the path {request.path!r}"
    if condition is Condition.NAMESPACES:
        return _none_of(request.namespace, rule.namespaces)
    return "; ".join(_why_not(entry, request) for entry in rule.resources[:_MOST_SHOWN]) + (
        f"; and {len(rule.resources) - _MOST_SHOWN} more" if len(rule.resources) > _MOST_SHOWN else ""
    )


def _why_not(entry: Resources, request: Request) -> str:
    if entry.group not in (request.group, "*"):
        return f"the group is {request.group!r}, not {entry.group!r}"
    if Resources(entry.group, entry.resources).matches(request):
        return f"the name {_none_of(request.name, entry.names)}"
    return _none_of(request.whole_resource, entry.resources)


def _none_of(value: str, values: Sequence[str]) -> str:
    return f"{value!r} is not {values[0]!r}" if len(values) == 1 else f"{value!r} is none of {_list(values)}"


def _list(values: Sequence[str]) -> str:
    shown = ", ".join(map(repr, values[:_MOST_SHOWN]))
    more = len(values) - _MOST_SHOWN
    return (f"{shown} and {more} more" if more > 0 else shown) or "no group"
