"""Which parts of a Kubernetes object, or of a patch of one, are secret.

The rules:

* Of a Secret, only what is known to be harmless stays (`HARMLESS`); whatever else there is, is hidden. So a mistyped
  `Data` in a patch, and what a later version adds, is hidden too.
* What the request was for decides, then the `kind` that an object calls itself. The body of a patch is what a client
  wrote: its `kind` decides nothing.
* Everywhere, an object that calls itself a Secret is one: in a List, a Table, a watch event, inside another object, and
  in the copy of an object that an annotation holds.
* Each function gives the very same value back where nothing is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tailrace_plugins.redaction.hiding import Hiding
from tailrace_plugins.redaction.spelling import has_repeated_keys

_decode = msgspec.json.Decoder().decode

_METADATA: Final = "metadata"
_LIST: Final = frozenset({"kind", "apiVersion", "continue", "resourceVersion"})
_STATUS: Final = frozenset({"kind", "apiVersion", "status", "reason", "code", "details", _METADATA})
_OPTIONS: Final = frozenset(
    {
        *("kind", "apiVersion", "gracePeriodSeconds", "preconditions", "orphanDependents", "propagationPolicy"),
        *("dryRun", "ignoreStoreReadErrorWithClusterBreakingPotential"),
    }
)
_TABLE: Final = frozenset({"kind", "apiVersion", "columnDefinitions"})
_ROW: Final = frozenset({"cells", "conditions"})
_PARTS: Final = frozenset({_METADATA, "data", "stringData", "binaryData", "items", "spec", "status", "command"})
_EVENTS: Final = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"})
_TOKEN_HOLDERS: Final = frozenset({"bootstrapToken", "bootstrapTokens"})  # of kubeadm, and Cluster API
_TOKENS: Final = frozenset({"tlsBootstrapToken"})

QUOTATION: Final = "error found in #"
"""With this, API servers up to 1.22 begin to quote a body that they cannot decode, in the message of a Status."""
_QUOTATION = re.compile(rf"{QUOTATION}.*", re.DOTALL)


@dataclass(frozen=True)
class Rule:
    """What is secret in the objects of one kind."""

    harmless: frozenset[str] | None = None  # keys that stay, if only these do; `metadata` is looked through
    keys: frozenset[str] = frozenset()  # else: the keys whose values are hidden, at any depth
    base64: frozenset[str] = frozenset()  # keys whose values are base64


SECRET: Final = Rule(
    harmless=frozenset({"kind", "apiVersion", "type", "immutable", _METADATA}), base64=frozenset({"data"})
)
CONFIG_MAP: Final = Rule(
    harmless=frozenset({"kind", "apiVersion", "immutable", _METADATA}), base64=frozenset({"binaryData"})
)
TOKEN: Final = Rule(keys=frozenset({"token"}))
COMMAND: Final = Rule(keys=frozenset({"command"}))
_NOTHING: Final = Rule()


@dataclass(frozen=True)
class Objects:
    """Hides what is secret in objects. `kinds` says what is, by kind; `copies` are annotations that hold an object."""

    hiding: Hiding
    kinds: Mapping[str, Rule]
    copies: Collection[str]
    hides_bootstrap_tokens: bool = True

    def body(self, value: Any, rule: Rule | None, is_patch: bool = False) -> Any:
        """Hide what is secret in a request's or response's body; `rule` is that of what the request was for."""
        if isinstance(value, list):
            return self._each(value, lambda each: self._operation(each, rule))
        if rule is None or rule.harmless is None:
            return self._anywhere(value, rule or _NOTHING)
        if is_patch or not isinstance(value, dict):
            return self._strictly(value, rule)
        return self._answer(value, rule)

    def message(self, text: str) -> str:
        """Hide the part of a body that an API server quotes in an error message."""
        return _QUOTATION.sub(lambda match: QUOTATION + self.hiding.text(match[0].encode()), text)

    def admission_patch(self, text: str, rule: Rule | None) -> str:
        """Hide what is secret in the annotation that says what an admission webhook changed."""

        def hide(value: Any) -> Any:
            if not isinstance(value, dict):
                return self.hiding.leaves(value)
            patch = value.get("patch")
            return self._with(value, {"patch": self.body(patch, rule, is_patch=True)}) if patch else value

        return self._text(text, hide, always=rule is not None)

    def _answer(self, value: dict[str, Any], rule: Rule) -> Any:
        """Hide what is secret in what is sent for a request by name or for a collection."""
        kind = value.get("kind")
        if kind == "Status":
            return self._keeping(value, _STATUS, rule, message=self._message)
        if kind == "DeleteOptions":
            return self._keeping(value, _OPTIONS, rule)
        if kind == "Table":
            return self._keeping(value, _TABLE, rule, rows=lambda rows: self._rows(rows, rule))
        if kind is None and "object" in value and _is_event(value.get("type")):
            return self._keeping(value, frozenset({"type"}), rule, object=lambda each: self.body(each, rule))
        if kind == "WatchEvent":
            return self._keeping(
                value, frozenset({"type", "kind", "apiVersion"}), rule, object=lambda each: self.body(each, rule)
            )
        if isinstance(kind, str) and kind.endswith("List"):
            return self._keeping(value, _LIST, rule, items=lambda items: self._items(items, rule))
        return self._strictly(value, rule)

    def _items(self, items: Any, rule: Rule) -> Any:
        if not isinstance(items, list):
            return self.hiding.leaves(items)
        return self._each(items, lambda item: self._strictly(item, rule))

    def _rows(self, rows: Any, rule: Rule) -> Any:
        def row(value: Any) -> Any:
            if not isinstance(value, dict):
                return self.hiding.leaves(value)
            return self._keeping(value, _ROW, rule, object=lambda each: self._strictly(each, rule))

        return self._each(rows, row) if isinstance(rows, list) else self.hiding.leaves(rows)

    def _message(self, value: Any) -> Any:
        if not isinstance(value, str):
            return self.hiding.leaves(value)
        return self.message(value) if QUOTATION in value else value

    def _keeping(self, value: dict[str, Any], harmless: Collection[str], rule: Rule, **others: Any) -> Any:
        """Keep the harmless keys, look through the metadata, treat others as told, and hide the rest."""
        hidden: dict[str, Any] = {}
        for key, each in value.items():
            if key in others:
                hidden[key] = others[key](each)
            elif key == _METADATA and isinstance(each, dict):
                hidden[key] = self._anywhere(each, _NOTHING, rule)
            elif key not in harmless or (key == _METADATA and each is not None):
                hidden[key] = self.hiding.leaves(each, key in rule.base64)
        return self._with(value, hidden)

    def _strictly(self, value: Any, rule: Rule) -> Any:
        """Hide all of an object, or of a patch of one, but what is known to be harmless."""
        if not isinstance(value, dict) or rule.harmless is None:
            return self.hiding.leaves(value)
        harmless = {key for key in rule.harmless if not isinstance(value.get(key), dict | list)}
        return self._keeping(value, harmless, rule)

    def _operation(self, value: Any, rule: Rule | None) -> Any:
        """Hide what is secret in one operation of a JSON patch (RFC 6902): as if its value lay where it will."""
        if not isinstance(value, dict) or "path" not in value:
            return self._other(value, rule)
        keys = _pointer(value["path"])
        hidden: dict[str, Any] = {}
        for key, each in value.items():
            if key == "value" and keys is not None:
                inside = each
                for step in reversed(keys):
                    inside = {step: inside}
                inside = self.body(inside, rule, is_patch=True)
                for step in keys:
                    inside = inside[step]
                hidden[key] = inside
            elif key not in ("op", "path", "from"):
                hidden[key] = self._other(each, rule)
        return self._with(value, hidden)

    def _other(self, value: Any, rule: Rule | None) -> Any:
        return self._anywhere(value, _NOTHING) if rule is None else self.hiding.leaves(value)

    def _anywhere(self, value: Any, rule: Rule, copied: Rule | None = None) -> Any:
        """Look through any value for objects that say what they are, and for the keys of `rule`.

        `copied` is the rule for the copies of an object in annotations, where it is known what they copy.
        """
        if isinstance(value, list):
            return self._each(value, lambda each: self._anywhere(each, rule, copied))
        if not isinstance(value, dict):
            return value
        known = self._rule(value)
        if known is not None:
            if known.harmless is not None:
                return self._answer(value, known)
            rule = Rule(keys=rule.keys | known.keys)
        hidden: dict[str, Any] = {}
        for key, each in value.items():
            if key in rule.keys or (self.hides_bootstrap_tokens and key in _TOKENS):
                hidden[key] = self.hiding.leaves(each)
            elif key in self.copies and isinstance(each, str):
                hidden[key] = self._copy(each, copied)
            elif key in _TOKEN_HOLDERS and self.hides_bootstrap_tokens:
                hidden[key] = self._anywhere(each, Rule(keys=rule.keys | TOKEN.keys), copied)
            elif isinstance(each, dict | list):
                hidden[key] = self._anywhere(each, rule, copied)
        return self._with(value, hidden)

    def _rule(self, value: dict[str, Any]) -> Rule | None:
        """Find the rule for what an object calls itself; a mere reference, `kind` and `name`, is no object."""
        kind = value.get("kind")
        if not isinstance(kind, str) or _PARTS.isdisjoint(value):
            return None
        return self.kinds.get(kind.removesuffix("List"))

    def _copy(self, text: str, rule: Rule | None) -> str:
        return self._text(text, lambda value: self.body(value, rule, is_patch=True), always=rule is not None)

    def _text(self, text: str, hide: Any, always: bool) -> str:
        """Hide in JSON inside a string; one that is no JSON is hidden whole if it must not stay."""
        try:
            value = _decode(text)
            repeated = has_repeated_keys(text.encode())
        except (ValueError, RecursionError):
            return self.hiding.text(text.encode()) if always else text
        hidden = hide(value)
        return text if hidden is value and not repeated else msgspec.json.encode(hidden).decode()

    @staticmethod
    def _each(items: list[Any], hide: Any) -> list[Any]:
        hidden = [hide(item) for item in items]
        return items if all(one is other for one, other in zip(items, hidden, strict=True)) else hidden

    @staticmethod
    def _with(value: dict[str, Any], hidden: Mapping[str, Any]) -> dict[str, Any]:
        if all(each is value[key] for key, each in hidden.items()):
            return value
        return {**value, **hidden}


def _is_event(kind: Any) -> bool:
    return isinstance(kind, str) and kind in _EVENTS


def _pointer(path: Any) -> list[str] | None:
    """Split a JSON pointer (RFC 6901); None if it is none."""
    if not isinstance(path, str) or (path and not path.startswith("/")):
        return None
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
