"""The syntax of fluentd's configs (v1 and before): sections, and in them parameters and sections.

Values are taken as fluentd's own parser takes them: what is in double quotes knows escapes and may go on over lines, an
array or a hash is JSON, anything else ends with its line or before a `#` that follows white space. Embedded Ruby
(`"#{...}"`) is not run; the value says that it has some.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from lark import Token, Tree

from tailrace.document import Place
from tailrace_plugins.converting.outcome import ParseError
from tailrace_plugins.converting.syntax import DEEPEST, place_of, too_deep, tree_of

_GRAMMAR: Final = r"""
start: _NL? statement*
?statement: section | param
section: OPEN ARGUMENT? ">" _NL statement* CLOSE _NL
param: (KEY | DOUBLE | SINGLE) value? _NL
?value: DOUBLE | SINGLE | PLAIN | array | hash
array: "[" _NL? (json _NL? ("," _NL? json _NL?)*)? "]"
hash: "{" _NL? (pair _NL? ("," _NL? pair _NL?)*)? "}"
pair: DOUBLE _NL? ":" _NL? json
?json: DOUBLE | WORD | array | hash

OPEN: /<[A-Za-z0-9_]+/
CLOSE: /<\/[A-Za-z0-9_]+>/
ARGUMENT: /(?:[^>\s"']|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')(?:[^>\n"']|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')*/
KEY: /[^\s<#"'][^\s]*/
DOUBLE: /"(?:[^"\\]|\\[\s\S])*"/
SINGLE: /'(?:[^'\\]|\\[\s\S])*'/
PLAIN: /[^\s"'\[{#](?:[^\n#]|(?<=[^ \t])#)*/
WORD: /[^\s,:"\[\]{}]+/
_NL: /(?:[ \t]*(?:#[^\n]*)?\r?\n)+/
%ignore /[ \t]+/
"""
_EXPECTED: Final = {
    "_NL": "the end of the line",
    "CLOSE": "the end of the section, like </match>",
    "MORETHAN": ">",
    "RSQB": "]",
    "RBRACE": "}",
    "COMMA": "a comma",
    "COLON": "a colon",
}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "b": "\b", "0": "\0"}


@dataclass(eq=False)
class Param:
    """A parameter: `key value`."""

    key: str
    text: str  # arrays and hashes as JSON
    place: Place
    ruby: bool = False  # the value has Ruby in it
    seen: bool = False

    def __str__(self) -> str:
        return f"`{self.key}`"


@dataclass(eq=False)
class Section:
    """A section: `<name argument>` to `</name>`."""

    name: str
    argument: str
    place: Place
    params: list[Param] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    seen: bool = False

    def __str__(self) -> str:
        kind = next((f" (@type {each.text})" for each in self.params if each.key in ("@type", "type")), "")
        return f"<{self.name}{' ' + self.argument if self.argument else ''}>{kind}"

    def take(self, *keys: str) -> Param | None:
        """Give the parameter that has one of these names, the last if there are several, and count it as seen."""
        found = [param for param in self.params if param.key in keys]
        for param in found:
            param.seen = True
        return found[-1] if found else None

    def children(self, *names: str) -> list[Section]:
        """Give the sections in it of these names, and count them as seen."""
        found = [section for section in self.sections if section.name in names]
        for section in found:
            section.seen = True
        return found

    def see_all(self) -> None:
        """Count all in it as seen."""
        self.seen = True
        for param in self.params:
            param.seen = True
        for section in self.sections:
            section.see_all()

    def unseen(self) -> Iterator[Param | Section]:
        """Give all in it of which nothing was said; of a section that was not seen, nothing that it holds."""
        yield from (param for param in self.params if not param.seen)
        for section in self.sections:
            if section.seen:
                yield from section.unseen()
            else:
                yield section


def parse(text: str, file: str) -> Section:
    """Read a config; what stands at its top is in a section without a name. Raises ParseError."""
    tree = tree_of(_GRAMMAR, text + "\n", file, _EXPECTED)
    root = Section("", "", Place(file), seen=True)
    _fill(root, tree.children, file, 0)
    return root


def _fill(section: Section, children: list[Token | Tree[Token]], file: str, depth: int) -> None:
    for child in children:
        if not isinstance(child, Tree):
            continue
        parts = child.children
        if child.data == "param":
            section.params.append(_param(parts, file))
            continue
        opened, second, closed = parts[0], parts[1], parts[-1]
        assert isinstance(opened, Token)
        assert isinstance(closed, Token)
        place = place_of(opened, file)
        name = opened[1:]
        if closed[2:-1] != name:
            raise ParseError(
                place_of(closed, file).problem(f"{closed} closes nothing; <{name}> of line {place.line} is open")
            )
        if depth == DEEPEST:
            raise too_deep(place)
        has_argument = isinstance(second, Token) and second is not closed
        argument = str(second).strip() if has_argument else ""
        if argument.count('"') == 2 and argument.startswith('"') and argument.endswith('"'):
            argument = argument[1:-1]
        inner = Section(name, argument, place)
        _fill(inner, parts[1:-1], file, depth + 1)
        section.sections.append(inner)


def _param(parts: list[Token | Tree[Token]], file: str) -> Param:
    key = parts[0]
    assert isinstance(key, Token)
    place = place_of(key, file)
    name = _string(key)[0]
    if len(parts) == 1:
        return Param(name, "", place)
    value = parts[1]
    if isinstance(value, Tree):
        plain, ruby = _json(value, place, 0)
        return Param(name, json.dumps(plain, ensure_ascii=False), place, ruby)
    text, ruby = _string(value)
    return Param(name, text, place, ruby)


def _string(token: Token) -> tuple[str, bool]:
    """Give the text of a token, and whether there is Ruby in it."""
    if token.type == "SINGLE":
        return token[1:-1].replace("\\'", "'").replace("\\\\", "\\"), False
    if token.type != "DOUBLE":
        return token.rstrip(), False
    text, ruby, escaped = "", False, False
    for at, letter in enumerate(token[1:-1], 1):
        if escaped:
            text += _ESCAPES.get(letter, letter)
        elif letter != "\\":
            text += letter
            ruby = ruby or (letter == "#" and token[at + 1] == "{")
        escaped = letter == "\\" and not escaped
    return text, ruby


def _json(node: Token | Tree[Token], place: Place, depth: int) -> tuple[object, bool]:
    """Give the value of a JSON literal, and whether there is Ruby in it."""
    if depth == DEEPEST:
        raise too_deep(place)
    if isinstance(node, Token):
        if node.type == "DOUBLE":
            return _string(node)
        try:
            value: object = json.loads(node)
        except ValueError:
            return str(node), False  # as fluentd's arrays of plain words
        return value, False
    inner = node.children
    if node.data == "array":
        made = [_json(child, place, depth + 1) for child in inner]
        return [value for value, _ in made], any(ruby for _, ruby in made)
    found: dict[str, object] = {}
    any_ruby = False
    for pair in inner:
        assert isinstance(pair, Tree)
        key, child = pair.children
        assert isinstance(key, Token)
        found[_string(key)[0]], ruby = _json(child, place, depth + 1)
        any_ruby = any_ruby or ruby
    return found, any_ruby
