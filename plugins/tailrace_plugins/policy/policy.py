"""A policy of `audit.k8s.io/v1`, applied to events that are recorded already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tailrace_plugins.policy.bodies import without_managed_fields
from tailrace_plugins.policy.levels import METADATA, NONE, RANK, REQUEST
from tailrace_plugins.policy.reading import read_policy
from tailrace_plugins.policy.request import NoRequest, Request, read_request
from tailrace_plugins.policy.rules import Rule

BODIES: Final = ("requestObject", "responseObject")


@dataclass(frozen=True)
class Verdict:
    """What a policy says of one event."""

    level: str  # None, Metadata, Request or RequestResponse
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False
    rule: int | None = None  # the index of the rule that decided; None if none matches
    error: str | None = None  # why the event cannot be judged: then the rest means nothing


@dataclass(frozen=True)
class Change:
    """What enforcing a verdict changes in an event."""

    level: str | None = None  # the new one; None: it stays
    removed: tuple[str, ...] = ()  # the bodies that its level does not carry
    strip_managed_fields: tuple[str, ...] = ()  # the bodies that lose them
    dropped: str | None = None  # by "level" or "stage"
    error: str | None = None


UNTOUCHED: Final = Change()


@dataclass(frozen=True)
class Policy:
    """An audit policy: rules, of which the first that matches decides.

        policy = Policy.parse(Path("audit-policy.yaml").read_text())
        policy.evaluate(event).level
        policy.enforce(event)

    `evaluate` answers as the API server of Kubernetes 1.36 does. `enforce` only ever lowers: an event that was recorded
    at a lower level than the policy's keeps it.
    """

    rules: tuple[Rule, ...]
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False

    @classmethod
    def parse(cls, text: str, file: str = "policy") -> Policy:
        """Read a policy file. Raises PolicyError with all that is wrong; `file` is its name in there.

        Stricter than the API server, which only warns of unknown keys and of keys that occur twice.
        """
        read = read_policy(text, file)
        return cls(read.rules, read.omit_stages, read.omit_managed_fields)

    def evaluate(self, event: Mapping[str, Any]) -> Verdict:
        """Say what the policy makes of an event; one that does not tell its request has an `error`."""
        try:
            return self.judge(read_request(event))
        except NoRequest as error:
            return Verdict(NONE, error=str(error))

    def judge(self, request: Request) -> Verdict:
        """Say what the policy makes of a request."""
        for index, rule in enumerate(self.rules):
            if rule.mismatch(request) is None:
                own = rule.omit_managed_fields
                managed = self.omit_managed_fields if own is None else own
                return Verdict(rule.level, self.omit_stages | rule.omit_stages, managed, index)
        return Verdict(NONE, self.omit_stages, self.omit_managed_fields)

    def enforce(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """Give what the policy leaves of an event, as a new dict; None if nothing, or if it cannot be judged."""
        change = change_of(self.evaluate(event), event.get("level"), event.get("stage"), event.get("verb"))
        if change.error is not None or change.dropped is not None:
            return None
        left = {key: value for key, value in event.items() if key not in change.removed}
        if change.level is not None:
            left["level"] = change.level
        for body in change.strip_managed_fields:
            if body in left:
                left[body] = without_managed_fields(left[body])
        return left


def change_of(verdict: Verdict, level: Any, stage: Any, verb: Any) -> Change:
    """Say what enforcing a verdict changes in an event of this level, stage and verb."""
    if verdict.error is not None:
        return Change(error=verdict.error)
    if verdict.level == NONE:
        return Change(dropped="level")
    if stage in verdict.omit_stages:
        return Change(dropped="stage")
    recorded = RANK.get(level) if isinstance(level, str) else None
    removed: tuple[str, ...] = ()
    if recorded is None or recorded >= RANK[verdict.level]:
        removed = {METADATA: BODIES, REQUEST: BODIES[1:]}.get(verdict.level, ())
    is_lower = recorded is None or recorded > RANK[verdict.level]
    stripped: tuple[str, ...] = ()
    if verdict.omit_managed_fields:
        patch = ("requestObject",) if verb == "patch" else ()  # what the client sent, not an object
        stripped = tuple(body for body in BODIES if body not in (*removed, *patch))
    return Change(verdict.level if is_lower else None, removed, stripped)
