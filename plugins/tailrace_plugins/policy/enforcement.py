"""A policy applied to a batch: on columns, and worked out once for each combination of what the policy looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tailrace import UNCHANGED, Batch, Memo
from tailrace_plugins.policy.bodies import may_hold_managed_fields, strip_managed_fields
from tailrace_plugins.policy.policy import BODIES, Change, Policy, Verdict, change_of
from tailrace_plugins.policy.request import REFERENCE_FIELDS
from tailrace_plugins.policy.rules import Condition

READS: Final = ("user.username", "user.groups", "verb", "objectRef", "requestURI", "level", "stage")
WRITES: Final = ("level", *BODIES)

Judgement = tuple[Verdict, Change]

_open = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Enforcement:
    """Judges the events of batches, and changes them to what the policy leaves of them."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._memo = Memo(self._judge)
        asked = {condition for rule in policy.rules for condition in rule.conditions}
        has_names = any(entry.names for rule in policy.rules for entry in rule.resources)
        self._asks_user = Condition.USERS in asked
        self._asks_groups = Condition.USER_GROUPS in asked
        asked_for = {"name": has_names, "namespace": Condition.NAMESPACES in asked}
        resources = Condition.RESOURCES in asked
        self._reference = [key for name, key in REFERENCE_FIELDS.items() if asked_for.get(name, resources)]

    def judge(self, batch: Batch) -> list[Judgement]:
        """Say of each event what the policy makes of it, and what that changes."""
        references = batch["objectRef"]
        columns: list[Sequence[Any]] = [
            batch["level"],
            batch["stage"],
            batch["verb"],
            batch["user.username"] if self._asks_user else (),
            batch["user.groups"] if self._asks_groups else (),
            # a request for a resource is told by its attributes, any other one by its URI; hardly any is neither
            [None if isinstance(each, dict) else "" if each is None else each for each in references],
            [
                None if reference is not None else uri
                for reference, uri in zip(references, batch["requestURI"], strict=True)
            ],
            *(batch[f"objectRef.{key}"] for key in self._reference),
        ]
        none = [None] * len(batch)
        return self._memo.map([column or none for column in columns], len(batch))

    def _judge(self, values: Sequence[Any]) -> Judgement:
        level, stage, verb, user, groups, reference, uri, *attributes = values
        event = {"verb": verb, "user": {"username": user, "groups": groups}, "requestURI": uri}
        if reference is None:
            event["objectRef"] = dict(zip(self._reference, attributes, strict=True))
        elif reference != "":
            event["objectRef"] = reference
        verdict = self._policy.evaluate(event)
        return verdict, change_of(verdict, level, stage, verb)

    def apply(self, batch: Batch) -> list[Judgement]:
        """Change the events of a batch, or drop or reject them; give what was done with each that was there before."""
        judgements = self.judge(batch)
        changes = [change for _, change in judgements]
        for index, reason in _strip(batch, changes).items():
            changes[index] = Change(error=reason)
        if any(change.level is not None for change in changes):
            batch["level"] = [UNCHANGED if change.level is None else change.level for change in changes]
        for body in BODIES:
            removed = [body in change.removed for change in changes]
            if True in removed:
                batch[body] = [None if gone else UNCHANGED for gone in removed]
        for index, change in enumerate(changes):
            if change.error is not None:
                batch.reject(index, f"the policy cannot be applied: {change.error}")
        batch.keep([change.dropped is None for change in changes])
        return [(verdict, change) for (verdict, _), change in zip(judgements, changes, strict=True)]


def _strip(batch: Batch, changes: Sequence[Change]) -> dict[int, str]:
    """Take the managed fields out of bodies that stay, and no other byte; say where that cannot be done, and why."""
    wanted = [index for index, change in enumerate(changes) if change.strip_managed_fields]
    failed: dict[int, str] = {}
    if not wanted:
        return failed
    columns: dict[str, list[Any]] = {}
    lines = batch.encoded()
    for index in wanted:
        if may_hold_managed_fields(lines[index]):
            try:
                for body, left in _stripped(lines[index], changes[index].strip_managed_fields):
                    columns.setdefault(body, [UNCHANGED] * len(batch))[index] = msgspec.Raw(left)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                failed[index] = f"managed fields cannot be taken out: {error}"
    for body, values in columns.items():
        batch[body] = values
    return failed


def _stripped(line: bytes, bodies: Sequence[str]) -> list[tuple[str, bytes]]:
    """Give the bodies that change, with what is left of them."""
    keys = _open(line)
    found = [(body, bytes(keys[body])) for body in bodies if body in keys]
    return [(body, left) for body, value in found if (left := strip_managed_fields(value)) != value]
