"""The syntax of logstash's configs: sections, in them plugins and conditionals, in those attributes and values.

After logstash's own grammar (logstash-core, grammar.treetop), with `and` and `nand` binding closer than `xor`, and that
closer than `or`, as its compiler has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from lark import Token, Tree

from tailrace.document import Place
from tailrace_plugins.converting.syntax import DEEPEST, place_of, too_deep, tree_of

_GRAMMAR: Final = r"""
start: section*
section: SECTION "{" statement* "}"
?statement: plugin | conditional
plugin: NAME "{" attribute* "}"
attribute: (NAME | STRING) "=>" value
?value: plugin | array | hash | STRING | NUMBER | NAME
array: "[" (value ("," value)*)? "]"
hash: "{" entry* "}"
entry: (STRING | NUMBER | NAME) "=>" value ","?

conditional: branch ("else" branch)* otherwise?
branch: "if" condition "{" statement* "}"
otherwise: "else" "{" statement* "}"

?condition: exclusive ("or" exclusive)* -> any
?exclusive: joint ("xor" joint)* -> xor
?joint: term (BOTH term)* -> joint
?term: "(" condition ")" | "!" "(" condition ")" -> negation | "!" SELECTOR -> absent
     | operand SIGN operand -> comparison
     | operand "in" operand -> member
     | operand "not" "in" operand -> no_member
     | operand SEARCH (REGEXP | STRING) -> search
     | SELECTOR -> presence
?operand: SELECTOR | STRING | NUMBER | array

SECTION.2: "input" | "filter" | "output"
BOTH.2: /n?and(?![A-Za-z0-9_-])/
SIGN: "==" | "!=" | "<=" | ">=" | "<" | ">"
SEARCH: "=~" | "!~"
SELECTOR.3: /(?:\[[^\[\],"'\s]+\])+/
REGEXP: /\/(?:[^\/\\\n]|\\[^\n])*\//
STRING: /"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'/
NUMBER: /-?[0-9]+(?:\.[0-9]+)?/
NAME: /[A-Za-z_@][A-Za-z0-9_@-]*/
COMMENT: /#[^\n]*/
%ignore COMMENT
%ignore /\s+/
"""
_EXPECTED: Final = {
    "SECTION": "input, filter or output",
    "RBRACE": "}",
    "LBRACE": "{",
    "RSQB": "]",
    "RPAR": ")",
    "NAME": "a name",
    "SELECTOR": "a field like [user][username]",
}


class Hash(NamedTuple):
    """A hash, with keys in their order."""

    pairs: tuple[tuple[str, object], ...]


@dataclass(eq=False)
class Attribute:
    """An option of a plugin."""

    name: str
    value: object  # str, int, float, list, Hash or Plugin
    place: Place
    seen: bool = False

    def __str__(self) -> str:
        return f"`{self.name}`"

    def text(self) -> str:
        """Give a single value as text."""
        value = self.value
        if isinstance(value, list) and len(value) < 2:
            value = value[0] if value else ""
        return value.name if isinstance(value, Plugin) else str(value)

    def texts(self) -> list[str]:
        """Give one value or several."""
        return [str(each) for each in self.value] if isinstance(self.value, list) else [self.text()]

    def pairs(self) -> dict[str, object]:
        """Give a hash; also of an array of names and values in turn, as old configs have it."""
        if isinstance(self.value, Hash):
            return dict(self.value.pairs)
        flat = self.value if isinstance(self.value, list) else []
        return {str(key): value for key, value in zip(flat[::2], flat[1::2], strict=False)}

    def is_true(self) -> bool:
        """Tell whether it says yes."""
        return self.text().lower() == "true"


@dataclass(eq=False)
class Plugin:
    """A plugin: `name { … }`."""

    name: str
    place: Place
    attributes: list[Attribute] = field(default_factory=list)
    seen: bool = False

    def __str__(self) -> str:
        return self.name

    def take(self, *names: str) -> Attribute | None:
        """Give the attribute that has one of these names, the last if there are several, and count it as seen."""
        found = [attribute for attribute in self.attributes if attribute.name in names]
        for attribute in found:
            attribute.seen = True
        return found[-1] if found else None


@dataclass
class Term:
    """A condition: what it is, what it is made of, and the values that it compares."""

    kind: Literal["any", "xor", "and", "nand", "not", "compare", "in", "search", "present", "odd"]
    terms: list[Term]
    field: tuple[str, ...] = ()
    sign: str = ""
    value: object = None


@dataclass(eq=False)
class Branch:
    """What follows `if`, `else if` or `else`; the last has no condition."""

    condition: Term | None
    statements: list[Plugin | Conditional]
    place: Place
    seen: bool = False

    def __str__(self) -> str:
        return "`if`" if self.condition else "`else`"


@dataclass(eq=False)
class Conditional:
    """`if … { … } else … { … }`."""

    branches: list[Branch]
    place: Place
    seen: bool = False

    def __str__(self) -> str:
        return "`if`"


@dataclass
class Pipeline:
    """The statements of all sections of each kind, in their order."""

    input: list[Plugin | Conditional] = field(default_factory=list)
    filter: list[Plugin | Conditional] = field(default_factory=list)
    output: list[Plugin | Conditional] = field(default_factory=list)


def parse(text: str, file: str) -> Pipeline:
    """Read a config. Raises ParseError."""
    tree = tree_of(_GRAMMAR, text, file, _EXPECTED)
    pipeline = Pipeline()
    reader = _Reader(file)
    for section in _trees(tree):
        name = section.children[0]
        {"input": pipeline.input, "filter": pipeline.filter, "output": pipeline.output}[str(name)].extend(
            reader.statement(child, 0) for child in _trees(section)
        )
    return pipeline


def _trees(tree: Tree[Token]) -> Iterator[Tree[Token]]:
    yield from (child for child in tree.children if isinstance(child, Tree))


class _Reader:
    def __init__(self, file: str) -> None:
        self._file = file

    def _place(self, node: Token | Tree[Token], depth: int) -> Place:
        place = place_of(node, self._file)
        if depth == DEEPEST:
            raise too_deep(place)
        return place

    def statement(self, tree: Tree[Token], depth: int) -> Plugin | Conditional:
        place = self._place(tree, depth)
        if tree.data == "plugin":
            return self._plugin(tree, depth)
        branches = []
        for branch in _trees(tree):
            parts = list(branch.children)
            condition = None
            if branch.data == "branch":
                condition = self._term(parts.pop(0), depth + 1)
            at = self._place(branch, depth) if branch.children else place
            statements = [self.statement(part, depth + 1) for part in parts if isinstance(part, Tree)]
            branches.append(Branch(condition, statements, at))
        return Conditional(branches, place)

    def _plugin(self, tree: Tree[Token], depth: int) -> Plugin:
        plugin = Plugin(str(tree.children[0]), self._place(tree, depth))
        for attribute in _trees(tree):
            name, value = attribute.children
            plugin.attributes.append(
                Attribute(str(self._value(name, depth)), self._value(value, depth + 1), self._place(attribute, depth))
            )
        return plugin

    def _value(self, node: Token | Tree[Token], depth: int) -> object:
        if isinstance(node, Token):
            return _scalar(node)
        self._place(node, depth)
        if node.data == "plugin":
            return self._plugin(node, depth)
        if node.data == "array":
            return [self._value(child, depth + 1) for child in node.children]
        return Hash(
            tuple(
                (str(self._value(entry.children[0], depth)), self._value(entry.children[1], depth + 1))
                for entry in _trees(node)
            )
        )

    def _term(self, node: Token | Tree[Token], depth: int) -> Term:
        self._place(node, depth)
        assert isinstance(node, Tree)
        parts = node.children
        if node.data in ("any", "xor"):
            terms = [self._term(part, depth + 1) for part in parts]
            if len(terms) == 1:
                return terms[0]
            return Term("any" if node.data == "any" else "xor", terms)
        if node.data == "joint":
            made = self._term(parts[0], depth + 1)
            for sign, part in zip(parts[1::2], parts[2::2], strict=True):
                made = Term("and" if sign == "and" else "nand", [made, self._term(part, depth + 1)])
            return made
        if node.data == "negation":
            return Term("not", [self._term(parts[0], depth + 1)])
        if node.data in ("presence", "absent"):
            present = Term("present", [], _selector(parts[0]))
            return present if node.data == "presence" else Term("not", [present])
        left, right = parts[0], parts[-1]
        if node.data in ("member", "no_member"):
            values = self._value(right, depth) if not _is_selector(right) else None
            if not _is_selector(left) or not isinstance(values, list):
                return Term("odd", [], sign="`in` is translated for a field and a list of values")
            term = Term("in", [], _selector(left), value=values)
            return term if node.data == "member" else Term("not", [term])
        middle = str(parts[1])
        if node.data == "search":
            return Term("search", [], _selector(left), middle, str(self._value(right, depth)))
        if _is_selector(right) and not _is_selector(left):
            left, right = right, left
            middle = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(middle, middle)
        return Term("compare", [], _selector(left), middle, None if _is_selector(right) else self._value(right, depth))


def _is_selector(node: Token | Tree[Token]) -> bool:
    return isinstance(node, Token) and node.type == "SELECTOR"


def _selector(node: Token | Tree[Token]) -> tuple[str, ...]:
    return selector(str(node)) if _is_selector(node) else ()


def selector(text: str) -> tuple[str, ...]:
    """Read `[a][b]`, or `a`, as a path."""
    return tuple(text[1:-1].split("][")) if text.startswith("[") and text.endswith("]") else (text,)


def _scalar(token: Token) -> str | float:
    if token.type == "NUMBER":
        return float(token) if "." in token else int(token)
    if token.type == "STRING":
        quote = token[0]
        return token[1:-1].replace(f"\\{quote}", quote)
    return token[1:-1].replace("\\/", "/") if token.type == "REGEXP" else str(token)
