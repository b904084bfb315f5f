"""A config file as values that know where they stand: YAML, with the environment put in.

The rules:

* A scalar means what it means to PyYAML's SafeLoader (YAML 1.1). Tags are refused: quotes make a string.
* `${NAME}` and `${NAME:-default}` are replaced after parsing, and in values only, so that the environment
  never changes the structure. The default, which ends at the brace that matches the first one and may hold
  variables itself, stands in for a variable that is unset or empty. `$$` is a `$`; any other `$` stays.
* A value without quotes gets its type after the replacement (`${LEVEL:-1}` is a number), one in quotes is a
  string.
* Whatever is wrong is noted and reading goes on, so that one look shows all of it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import yaml
from yaml.constructor import SafeConstructor
from yaml.reader import ReaderError
from yaml.resolver import Resolver

MAX_VALUES = 100_000  # aliases can make a short file endless
MAX_DEPTH = 100

_TAG = "tag:yaml.org,2002:"
_TYPED = frozenset(_TAG + name for name in ("null", "bool", "int", "float", "timestamp"))
_VARIABLE = re.compile(r"\$(?:\$|\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-|\}))?)")


@dataclass(frozen=True)
class Problem:
    """Something wrong in a config file: where (lines and columns count from 1), and what would be right."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


@dataclass(frozen=True)
class Place:
    """A place in a config file."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def problem(self, message: str) -> Problem:
        """Say that something is wrong here."""
        return Problem(self.file, self.line, self.column, message)


class Broken(Enum):
    """Stands for a scalar of which no value could be made; the problem is already noted."""

    BROKEN = "broken"


class Entry(NamedTuple):
    """One key of a mapping: where the key stands, and its value."""

    place: Place
    value: Value


Scalar = str | int | float | bool | datetime.date | Broken | None
Plain = Scalar | list["Plain"] | dict[str, "Plain"]
"""A value without its places."""


@dataclass(frozen=True)
class Value:
    """One value of a config file and where it begins."""

    place: Place
    data: Scalar | list[Value] | dict[str, Entry]

    def get(self, key: str) -> Value | None:
        """Give the value of a key; None if it is missing or this is no mapping."""
        entry = self.data.get(key) if isinstance(self.data, dict) else None
        return None if entry is None else entry.value

    def plain(self) -> Plain:
        """Give the value alone, made anew at each call."""
        if isinstance(self.data, list):
            return [value.plain() for value in self.data]
        if isinstance(self.data, dict):
            return {key: entry.value.plain() for key, entry in self.data.items()}
        return self.data

    def is_broken(self) -> bool:
        """Tell whether this value, or one inside it, could not be made."""
        if isinstance(self.data, list):
            return any(value.is_broken() for value in self.data)
        if isinstance(self.data, dict):
            return any(entry.value.is_broken() for entry in self.data.values())
        return isinstance(self.data, Broken)


def parse(text: str, file: str, environ: Mapping[str, str] | None) -> tuple[Value | None, list[Problem]]:
    """Read one YAML document; the value is None if there is none, or if it is not YAML.

    `file` is the name that problems carry. With None for `environ` nothing is replaced: a `$` is a `$`.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file) if mark is None else Place(file, mark.line + 1, mark.column + 1)
        return None, [place.problem("not YAML: " + ", ".join(filter(None, (error.context, error.problem))))]
    except ReaderError as error:
        before = text[: error.position]
        place = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        return None, [place.problem(f"not YAML: the character U+{ord(text[error.position]):04X} is not allowed")]
    except RecursionError:
        return None, [Place(file).problem("nested too deeply")]
    reader = _Reader(file, environ)
    if node is None:
        return None, [Place(file).problem("the file is empty")]
    try:
        return reader.value(node), reader.problems
    except _GiveUp as error:
        return None, [*reader.problems, *error.args]


class _GiveUp(Exception):  # noqa: N818 - it carries a Problem to `parse` and is no error of its own
    """Reading cannot go on."""


class _Reader:
    """Makes values of nodes and notes what is wrong with them."""

    def __init__(self, file: str, environ: Mapping[str, str] | None) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._environ = environ
        self._resolver = Resolver()
        self._open: set[int] = set()  # ids of the nodes that are being made
        self._made = 0

    def value(self, node: yaml.Node) -> Value:
        place = self._place(node)
        self._made += 1
        if self._made > MAX_VALUES:
            raise _GiveUp(place.problem(f"the aliases of this file unfold to more than {MAX_VALUES:,} values"))
        if id(node) in self._open:
            raise _GiveUp(place.problem("this value holds an alias of itself"))
        if len(self._open) == MAX_DEPTH:
            raise _GiveUp(place.problem(f"nested more than {MAX_DEPTH} levels deep"))
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.ScalarNode):
                return Value(place, self._scalar(node, place))
            if node.tag not in (_TAG + "seq", _TAG + "map"):
                self._refuse_tag(node, place)
                return Value(place, Broken.BROKEN)
            if isinstance(node, yaml.MappingNode):
                return Value(place, self._mapping(node))
            return Value(place, [self.value(item) for item in node.value])
        finally:
            self._open.discard(id(node))

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _refuse_tag(self, node: yaml.Node, place: Place) -> None:
        tag = node.tag.replace(_TAG, "!!")
        self.problems.append(place.problem(f"the tag {tag} is not supported; remove it"))

    # Mappings

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Entry]:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            merge = key_node.tag == _TAG + "merge"
            if not merge and key_node.tag != _TAG + "str":
                self.problems.append(place.problem(self._wrong_key(key_node)))
            elif key_node.value in own or (merge and merged):
                message = f'the key "{key_node.value}" occurs twice in this mapping'
                self.problems.append(place.problem(message))
            elif merge:
                merged = self._merged(value_node)
            else:
                own[key_node.value] = Entry(place, self.value(value_node))
        return merged | own

    def _wrong_key(self, node: yaml.Node) -> str:
        if isinstance(node, yaml.ScalarNode) and node.tag in _TYPED:
            what = node.tag.removeprefix(_TAG)
            return f'a key must be a string, and YAML reads this as {what}; write "{node.value}" in quotes'
        return "a key must be a string"

    def _merged(self, node: yaml.Node) -> dict[str, Entry]:
        """Read what `<<` takes in: a mapping, or a list of them; the first that has a key gives it."""
        value = self.value(node)
        merged: dict[str, Entry] = {}
        for source in value.data if isinstance(value.data, list) else [value]:
            if isinstance(source.data, dict):
                merged = source.data | merged
            else:
                self.problems.append(source.place.problem("<< takes a mapping or a list of mappings"))
        return merged

    # Scalars

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Scalar:
        known = len(self.problems)
        resolved = self._resolve(node.value) if node.style is None else _TAG + "str"
        if node.tag != resolved:
            self._refuse_tag(node, place)
        text = self._expand(node.value, place)
        if len(self.problems) > known:
            return Broken.BROKEN
        return self._typed(text, place) if node.style is None else text

    def _resolve(self, text: str) -> str:
        # the types of PyYAML know this method and say nothing of it
        tag = self._resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        return str(tag)

    def _typed(self, text: str, place: Place) -> Scalar:
        tag = self._resolve(text)
        if tag not in _TYPED:  # also `=` and `<<`, which mean something only as keys
            return text
        try:
            value: Scalar = SafeConstructor().construct_object(yaml.ScalarNode(tag, text))
        except ValueError as error:
            what = tag.removeprefix(_TAG)
            self.problems.append(place.problem(f"YAML reads this as {what}, and it is none: {error}; use quotes"))
            return Broken.BROKEN
        return value

    # The environment

    def _expand(self, text: str, place: Place) -> str:
        """Replace the variables in `text`; what comes out of the environment is not looked at again."""
        if self._environ is None:
            return text
        parts: list[str] = []
        at = 0
        while match := _VARIABLE.search(text, at):
            parts.append(text[at : match.start()])
            at = match.end()
            if match[0] == "$$":
                parts.append("$")
                continue
            name, sign = match.groups()
            end = at if sign == "}" else _closing_brace(text, at)
            if name is None or end is None:
                message = "write a variable as ${NAME} or ${NAME:-default}, and ${ that is meant as such as $${"
                self.problems.append(place.problem(message))
                return text
            value = self._environ.get(name)
            if sign == ":-":
                value = value or self._expand(text[at:end], place)
                at = end + 1
            if value is None:
                message = f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
                self.problems.append(place.problem(message))
            else:
                parts.append(value)
        return "".join(parts) + text[at:]


def _closing_brace(text: str, at: int) -> int | None:
    """Find the brace that closes what was opened before `at`."""
    depth = 1
    for index in range(at, len(text)):
        if text[index] in "{}":
            depth += 1 if text[index] == "{" else -1
            if depth == 0:
                return index
    return None
