"""Reading a policy file: what the API server checks when it loads one, and what it only warns of.

`pkg/audit/policy/reader.go` and `pkg/apis/audit/validation` say what is valid. Here unknown keys, and keys that occur
twice, are errors too: the API server leaves them out, so that a rule with a misspelt condition matches everything.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tailrace.document import Broken, Place, Problem, Value, parse
from tailrace_plugins.policy.levels import LEVELS, STAGES
from tailrace_plugins.policy.rules import Resources, Rule

_TOP = ("apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields")
_METADATA = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
    "managedFields",
)  # fmt: skip
_RULE = (
    "level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages",
    "omitManagedFields",
)  # fmt: skip
_RESOURCES = ("group", "resources", "resourceNames")
_DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_API_GROUP = re.compile(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*")
_LONGEST_GROUP = 253


class PolicyError(ValueError):
    """A policy file cannot be used; `problems` is all that is wrong with it, each with file, line and column."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(dict.fromkeys(problems), key=lambda found: (found.line, found.column)))
        super().__init__("\n".join(map(str, self.problems)))


class Read(NamedTuple):
    """What stands in a policy file."""

    rules: tuple[Rule, ...]
    omit_stages: frozenset[str]
    omit_managed_fields: bool


def read_policy(text: str, file: str) -> Read:
    """Read a policy file's text. Raises PolicyError."""
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        text = text.replace("\t", " ")  # JSON may be indented with tabs, and YAML may not
    root, problems = parse(text, file, None)
    if root is None:
        raise PolicyError(problems)
    reader = _Reader(problems)
    read = reader.policy(root)
    if reader.problems:
        raise PolicyError(reader.problems)
    return read


class _Reader:
    """Takes values apart and notes what is wrong with them. As in Go, null is the same as nothing."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)

    def policy(self, root: Value) -> Read:
        self._keys(root, _TOP, "a Policy")
        for key, only in (("apiVersion", "audit.k8s.io/v1"), ("kind", "Policy")):
            value = root.get(key)
            if value is None:
                self._note(root.place, f"{key} is missing; this reads {key}: {only}")
            elif value.data != only and not value.is_broken():
                self._note(value.place, f"{key} must be {only}, not {_shown(value)}")
        self._metadata(root.get("metadata"))
        entries = self._list(root, "rules")
        if not entries and self._is_list(root.get("rules")):
            self._note(root.place, "there are no rules; the API server refuses such a policy")
        return Read(
            tuple(map(self._rule, entries)),
            self._stages(root),
            self._truth(root) or False,
        )

    def _metadata(self, metadata: Value | None) -> None:
        if metadata is None or metadata.data is None:
            return
        self._keys(metadata, _METADATA, "metadata")
        for key in ("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion"):
            self._text(metadata, key)
        for key in ("labels", "annotations"):
            table = metadata.get(key)
            if table is not None and isinstance(table.data, dict):
                for name in table.data:
                    self._text(table, name)
            elif table is not None and table.data is not None:
                self._wrong(table, "a mapping of strings")
        self._strings(metadata, "finalizers")

    def _rule(self, table: Value) -> Rule:
        self._keys(table, _RULE, "a rule")
        if table.data is not None and not isinstance(table.data, dict):
            return Rule("")  # that is said
        rule = Rule(
            level=self._level(table),
            users=self._strings(table, "users"),
            user_groups=self._strings(table, "userGroups"),
            verbs=self._strings(table, "verbs"),
            resources=tuple(map(self._resources, self._list(table, "resources"))),
            namespaces=self._strings(table, "namespaces"),
            non_resource_urls=self._paths(table),
            omit_stages=self._stages(table),
            omit_managed_fields=self._truth(table),
            line=table.place.line,
        )
        if rule.non_resource_urls and (rule.resources or rule.namespaces):
            message = "a rule is for resources and namespaces, or for nonResourceURLs; make two rules of it"
            self._note(_place_of(table, "nonResourceURLs"), message)
        return rule

    def _level(self, table: Value) -> str:
        level = self._text(table, "level")
        place = _place_of(table, "level")
        if level == "":
            self._note(place, f"a rule needs a level: {_either(LEVELS)}")
        elif level is not None and level not in LEVELS:
            self._note(place, f"there is no level {level!r}{_near(level, LEVELS)}; there are {_all(LEVELS)}")
        return level or ""

    def _resources(self, table: Value) -> Resources:
        self._keys(table, _RESOURCES, "an entry of resources")
        group = self._text(table, "group") or ""
        if group not in ("", "*") and (len(group) > _LONGEST_GROUP or not _API_GROUP.fullmatch(group)):
            hint = "; a version is not part of it" if re.fullmatch(r"[^/]*/v\d\w*", group) else ""
            message = f"{group!r} is no group of the API, like apps or rbac.authorization.k8s.io{hint}"
            self._note(_place_of(table, "group"), f"{message}; the core group is an empty string, any group is '*'")
        resources, names = self._strings(table, "resources"), self._strings(table, "resourceNames")
        if names and not resources:
            self._note(_place_of(table, "resourceNames"), "resourceNames need resources that have these names")
        return Resources(group, resources, names)

    def _paths(self, table: Value) -> tuple[str, ...]:
        paths = []
        for value in self._list(table, "nonResourceURLs"):
            path = self._string(value)
            if path is None:
                continue
            if path != "*" and not path.startswith("/"):
                self._note(value.place, f"{path!r} must begin with a slash")
            if path != "*" and "*" in path[:-1]:
                self._note(value.place, f"in {path!r} a star stands in front of others; it can only be the last sign")
            paths.append(path)
        return tuple(paths)

    def _stages(self, table: Value) -> frozenset[str]:
        stages = []
        for value in self._list(table, "omitStages"):
            stage = self._string(value)
            if stage is not None and stage not in STAGES:
                self._note(value.place, f"there is no stage {stage!r}{_near(stage, STAGES)}; there are {_all(STAGES)}")
            stages.append(stage or "")
        return frozenset(stages)

    def _truth(self, table: Value) -> bool | None:
        value = table.get("omitManagedFields")
        if value is None or value.data is None or isinstance(value.data, bool):
            return None if value is None or value.data is None else bool(value.data)
        self._wrong(value, "true or false")
        return None

    # Values

    def _keys(self, table: Value, known: Sequence[str], what: str) -> None:
        if isinstance(table.data, dict):
            for key, entry in table.data.items():
                if key not in known:
                    message = f"{what} has no key {key!r}{_near(key, known)} (there are: {', '.join(known)})"
                    self._note(entry.place, message)
        elif table.data is not None:
            self._wrong(table, "a mapping")

    def _list(self, table: Value, key: str) -> list[Value]:
        value = table.get(key)
        if value is None or isinstance(value.data, list):
            return value.data if value is not None and isinstance(value.data, list) else []
        if value.data is not None:
            self._wrong(value, "a list")
        return []

    def _is_list(self, value: Value | None) -> bool:
        return value is None or value.data is None or isinstance(value.data, list)

    def _strings(self, table: Value, key: str) -> tuple[str, ...]:
        return tuple(text for value in self._list(table, key) if (text := self._string(value)) is not None)

    def _text(self, table: Value, key: str) -> str | None:
        """Give the text of a key, which is empty if there is none; None if it is something else."""
        value = table.get(key)
        return "" if value is None else self._string(value)

    def _string(self, value: Value) -> str | None:
        if value.data is None:
            return ""
        if isinstance(value.data, str):
            # JSON writes what lies beyond U+FFFF as two escapes, which YAML leaves apart
            return value.data.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        self._wrong(value, "a string")
        return None

    def _wrong(self, value: Value, expected: str) -> None:
        if isinstance(value.data, Broken):
            return  # it is said already
        scalar = not isinstance(value.data, list | dict)
        hint = "; put it in quotes" if scalar and expected == "a string" else ""
        self._note(value.place, f"expected {expected}, not {_shown(value)}{hint}")

    def _note(self, place: Place, message: str) -> None:
        self.problems.append(place.problem(message))


def _place_of(table: Value, key: str) -> Place:
    value = table.get(key)
    return table.place if value is None else value.place


def _shown(value: Value) -> str:
    if isinstance(value.data, list | dict):
        return "a list" if isinstance(value.data, list) else "a mapping"
    if value.data is None:
        return "null"
    return str(value.data).lower() if isinstance(value.data, bool) else repr(value.data)


def _near(word: str, words: Sequence[str]) -> str:
    folded = {each.lower(): each for each in words}
    near = difflib.get_close_matches(word.lower(), folded, n=1)
    return f"; did you mean {folded[near[0]]}?" if near else ""


def _either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _all(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
