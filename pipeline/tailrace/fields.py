"""Reading single fields out of JSON lines without decoding the rest of them.

A field is named by its path: `objectRef.namespace`, or, where a key holds a dot or another sign,
`annotations["authorization.k8s.io/decision"]`. A `Projection` decodes a set of fields of many lines in one
pass. The rule that keeps it honest: a line that the fast decoder refuses is tried alone by the tolerant one
(Python's `json`, which reads lone surrogates, numbers out of range and bytes that are not UTF-8), so that a bad
line costs only itself and a poisoned field costs nothing to those who do not read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET

from tailrace.reject import Reason, RejectKind

Path = tuple[str, ...]
Row = Any  # an instance of the projection's generated Struct

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Quotes, backslashes, control characters and surrogates are no part of a key: msgspec cannot look for them.
_PLAIN = re.compile(r"""[^.\[\]"'{}\\\s\x00-\x1f\ud800-\udfff]+""")
_QUOTED = re.compile(r"""\[(?:"([^"\\\x00-\x1f\ud800-\udfff]*)"|'([^"'\\\x00-\x1f\ud800-\udfff]*)')\]""")
_BOM = b"\xef\xbb\xbf"
_MOST_VALUES = 2_000_000  # of a line that Python decodes whole; they may take 150 bytes each


class Unreadable(ValueError):  # noqa: N818
    """A line that cannot be decoded; `reason` says why."""

    def __init__(self, kind: RejectKind, text: str) -> None:
        super().__init__(text)
        self.reason = Reason(kind, text)


@cache
def parse_field(text: str) -> Path:
    """Split a field's name into its keys: `user.username` → `("user", "username")`.

    Raises ValueError, which says at which column the name stops making sense.
    """
    keys: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == "[":
            match = _QUOTED.match(text, at)
        elif keys:
            match = _PLAIN.match(text, at + 1) if text[at] == "." else None
        else:
            match = _PLAIN.match(text)
        if match is None:
            break
        keys.append(match[match.lastindex or 0])
        at = match.end()
    if at < len(text) or not keys:
        raise ValueError(
            f'{text!r} is not a field name (column {at + 1}); write it like objectRef.namespace or annotations["a.b/c"]'
        )
    return tuple(keys)


def format_field(path: Path) -> str:
    """Write a path as a name that `parse_field` reads back."""
    parts = [f".{key}" if _PLAIN.fullmatch(key) else f'["{key}"]' for key in path]
    return "".join(parts).removeprefix(".")


def tolerant_decode(line: bytes) -> dict[str, Any]:
    """Decode a line that the fast decoder refuses; raises Unreadable with a reason in plain words.

    Takes what is JSON by RFC 8259's grammar even where its values cannot be held exactly: lone surrogates,
    numbers that overflow, bytes that are not UTF-8 (kept as surrogate escapes), a byte order mark.
    """
    text = line.removeprefix(_BOM).decode("utf-8", "surrogateescape")
    if not text.strip():
        raise Unreadable("not_json", "empty line")
    if sum(map(line.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise Unreadable("unreadable", f"not readable: it may have more than {_MOST_VALUES} values")
    try:
        value = json.loads(text, parse_constant=_refuse)
    except Unreadable:
        raise
    except json.JSONDecodeError as error:
        raise Unreadable("not_json", f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise Unreadable("unreadable", "not readable: nested too deeply") from None
    except ValueError as error:
        raise Unreadable("unreadable", f"not readable: {error}") from None
    if not isinstance(value, dict):
        raise Unreadable("not_an_object", f"not a JSON object but {_kind(value)}")
    return value


def _refuse(constant: str) -> None:
    raise Unreadable("not_json", f"not JSON: {constant} is not a number")


class _Node:
    """One key of the tree of wanted fields: is its value wanted, its presence, or only keys below it?"""

    struct: type[msgspec.Struct]  # made by `build`, where there are children and the value is not wanted

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.value = False
        self.presence = False

    def add(self, path: Path) -> _Node:
        node = self
        for key in path:
            node = node.children.setdefault(key, _Node())
        return node

    def build(self) -> None:
        """Make the Struct that decodes this node's children and skips every other key."""
        fields: list[tuple[str, Any, Any]] = []
        names: dict[str, str] = {}
        for number, (key, child) in enumerate(self.children.items()):
            name = f"f{number}"
            names[name] = key
            if child.value:
                kind: Any = Any
            elif child.children:
                child.build()
                kind = child.struct | None
            else:
                kind = msgspec.Raw
            if child.presence:
                fields.append((name, kind | msgspec.UnsetType if kind is not Any else Any, UNSET))
            else:
                fields.append((name, kind, None))
        # gc=False: rows hold no cycles, and a batch makes thousands of them
        self.struct = msgspec.defstruct("Row", fields, rename=names, gc=False)

    def fill(self, value: Any) -> Row:
        """Make the row that the fast decoder would have made of `value`, had it been able to."""
        row = {}
        for number, (key, child) in enumerate(self.children.items()):
            if key not in value:
                continue
            below = value[key]
            if not child.value:
                if not child.children:
                    below = msgspec.Raw(b"null")
                else:
                    below = child.fill(below) if isinstance(below, dict) else None
            row[f"f{number}"] = below
        return self.struct(**row)


class Projection:
    """The fields that the stages of a pipeline read, decoded together in one pass over each line.

    `values` are the fields whose value is wanted, `presence` those of which it must only be known whether a
    line has them (their values are skipped, not built).
    """

    def __init__(self, values: Iterable[str] = (), presence: Iterable[str] = ()) -> None:
        self._root = _Node()
        for field in values:
            self._root.add(parse_field(field)).value = True
        for field in presence:
            self._root.add(parse_field(field)).presence = True
        self._root.build()
        self._decode = msgspec.json.Decoder(self._root.struct).decode

    def __bool__(self) -> bool:
        return bool(self._root.children)

    def rows(self, lines: Sequence[bytes]) -> tuple[list[Row], dict[int, Reason]]:
        """Decode `lines` into one row each; the second value says of which lines nothing could be read, and why."""
        try:
            return list(map(self._decode, lines)), {}
        except DECODE_ERRORS:
            return self._rows_one_by_one(lines)

    def _rows_one_by_one(self, lines: Sequence[bytes]) -> tuple[list[Row], dict[int, Reason]]:
        rows: list[Row] = []
        bad: dict[int, Reason] = {}
        for index, line in enumerate(lines):
            try:
                rows.append(self._decode(line))
            except DECODE_ERRORS:
                try:
                    rows.append(self._root.fill(tolerant_decode(line)))
                except Unreadable as error:
                    bad[index] = error.reason
                    rows.append(self._root.struct())
        return rows, bad

    def has_value(self, field: str) -> bool:
        """Tell whether `column` can answer for this field."""
        return self._find(parse_field(field), value=True) is not None

    def has_presence(self, field: str) -> bool:
        """Tell whether `present` can answer for this field."""
        found = self._find(parse_field(field), value=False)
        return found is not None and (found[1].presence or bool(found[2]))

    def column(self, rows: list[Row], field: str) -> list[Any]:
        """Give the field's value in each row; None where it is missing (or null)."""
        found = self._find(parse_field(field), value=True)
        if found is None:
            raise KeyError(f"{field} is not projected")
        names, node, rest = found
        values = _follow(rows, names, rest)
        if node.presence:
            values = [None if value is UNSET else value for value in values]
        return values

    def present(self, rows: list[Row], field: str) -> list[bool]:
        """Tell for each row whether its line has the field in its own bytes, be its value null or not."""
        found = self._find(parse_field(field), value=False)
        if found is None or not (found[1].presence or found[2]):
            raise KeyError(f"the presence of {field} is not projected")
        names, _, rest = found
        if rest:
            parents = _follow(rows, names, rest[:-1])
            return [isinstance(parent, dict) and rest[-1] in parent for parent in parents]
        get = attrgetter(names[-1])
        if len(names) == 1:
            return [value is not UNSET for value in map(get, rows)]
        parents = _follow(rows, names[:-1])
        return [parent is not None and parent is not UNSET and get(parent) is not UNSET for parent in parents]

    def _find(self, path: Path, value: bool) -> tuple[list[str], _Node, Path] | None:
        """Walk to the node of `path`; one that is read whole answers for all below it: the rest of the path."""
        node = self._root
        names: list[str] = []
        for depth, key in enumerate(path):
            if node.value:
                return names, node, path[depth:]
            if key not in node.children:
                return None
            names.append(f"f{list(node.children).index(key)}")
            node = node.children[key]
        return (names, node, ()) if node.value or not value else None


def _follow(rows: list[Row], names: list[str], keys: Path = ()) -> list[Any]:
    """Go down from the rows by the names of their attributes, then by the keys of dicts."""
    first, *others = map(attrgetter, names)
    values: list[Any] = list(map(first, rows))  # a row is never missing; 0.05 µs per event less
    for get in others:  # a struct is true, None and UNSET are not: 0.03 µs less than asking for them
        values = [get(value) if value else None for value in values]
    for key in keys:
        values = [value.get(key) if isinstance(value, dict) else None for value in values]
    return values


def _kind(value: Any) -> str:
    kinds = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
