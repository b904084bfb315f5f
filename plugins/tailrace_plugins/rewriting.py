"""The text of a condition in CEL: its tokens, and its fields, each of them replaced by a key of one flat map.

`has(user.extra) && verb == "get"` becomes `has(__event.f0) && __event.f1 == "get"`. So a missing field is a
missing key, whatever else is missing above it, and `has` works on every field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from tailrace import Path, format_field, parse_field

EVENT: Final = "__event"
TAG: Final = "tag"
# fmt: off
TYPES: Final = frozenset({
    "bool", "bytes", "double", "duration", "int", "list", "map", "null_type", "string", "timestamp", "type",
    "uint",
})
# fmt: on

_TOKEN = re.compile(
    r"""
    (?P<space> \s+ | //[^\n]* )
  | (?P<string> (?: [bB]?[rR] | [rR][bB] )
                (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )
              | [bB]?
                (?: \"{3}(?:[^\\]|\\.)*?\"{3} | '{3}(?:[^\\]|\\.)*?'{3}
                  | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' ) )
  | (?P<number> 0[xX][0-9a-fA-F]+[uU]? | (?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]? )
  | (?P<word> [A-Za-z_]\w* )
  | (?P<sign> && | \|\| | [=!<>]= | . )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")
_MACROS: Final = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map"})
_LITERALS: Final = frozenset({"true", "false", "null", "in"})


class ExpressionError(ValueError):
    """An expression that cannot work; the message says where, if that is known, and why."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number, string or sign of an expression, or a field; `depth` counts the brackets around it."""

    kind: str
    text: str
    start: int
    end: int
    depth: int


_END: Final = Token("end", "", 0, 0, 0)


class Rewriting:
    """An expression with its fields replaced, and what was found on the way.

    `paths` gives each field's key in the event's map, `known` the other names: variables, types, name spaces.
    `tokens` are those of the new text; in it a field is one token, and the text of that token is the key.

    Raises ExpressionError.
    """

    def __init__(self, source: str, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.text = ""
        self.paths: dict[Path, str] = {}
        self.tokens: list[Token] = []
        self._functions = functions
        tokens = list(_tokens(source))
        self._found = [_END, *tokens, _END, _END, _END]  # so that looking around never leaves the list
        self._types = TYPES if ("type", "(") in pairwise(token.text for token in tokens) else frozenset()
        self._bound: list[tuple[int, str]] = []  # macro variables, each with the depth of brackets it lives in
        self.known = set(self._types)
        copied = 0
        at = 1
        while (token := self._found[at]) is not _END:
            path, after = self._field(at)
            end = self._found[after - 1].end
            self.text += source[copied : token.start]
            start = len(self.text)
            if path:
                key = self.paths.setdefault(path, TAG if path == (TAG,) else f"f{len(self.paths)}")
                self.text += f"{EVENT}.{key}"
                self.tokens.append(Token("field", key, start, len(self.text), token.depth))
            else:
                self.text += source[token.start : end]
                self.tokens.append(Token(token.kind, token.text, start, len(self.text), token.depth))
            copied = end
            at = after
        self.text += source[copied:]

    def _field(self, at: int) -> tuple[Path, int]:
        """Read a field, if there is one; give its path, which is empty otherwise, and what comes next."""
        token = self._found[at]
        if token.text in _CLOSING:
            self._bound = [(level, name) for level, name in self._bound if level <= token.depth]
        elif variable := self._macro_variable(at):
            self._bound.append((token.depth + 1, variable))
            self.known.add(variable)
        elif token.text not in self._types and self._is_field(at):
            path, after = self._path(at)
            if path:
                return path, after
            self.known.add(token.text)
        return (), at + 1

    def _macro_variable(self, at: int) -> str:
        """Give the variable if this is the name of a macro: the `x` of `.exists(x, ...)`."""
        before, macro, bracket, variable, comma = self._found[at - 1 : at + 4]
        is_macro = macro.text in _MACROS and (before.text, bracket.text, comma.text) == (".", "(", ",")
        return variable.text if is_macro and variable.kind == "word" else ""

    def _is_field(self, at: int) -> bool:
        before, token, behind = self._found[at - 1 : at + 2]
        return (
            token.kind == "word"
            and before.text != "."  # then it is a key of something, or a method
            and behind.text != "("  # then it is a function
            and token.text not in _LITERALS
            and all(token.text != name for _, name in self._bound)
        )

    def _path(self, at: int) -> tuple[Path, int]:
        """Read `a.b["c"]`; give its keys (none if it is a function's name space) and what comes next."""
        path = [self._found[at].text]
        at += 1
        while path != [TAG]:
            first, second, third = self._found[at : at + 3]
            if first.text == "." and second.kind == "word":
                if third.text == "(":  # a method
                    return (() if f"{path[0]}.{second.text}" in self._functions else tuple(path)), at
                path.append(second.text)
                at += 2
            elif (first.text, second.kind, third.text) == ("[", "string", "]"):
                key = _literal(second.text)
                if key is None:
                    break
                path.append(key)
                at += 3
            else:
                break
        if self._found[at].text == "{":
            raise ExpressionError(f"{'.'.join(path)}{{...}} makes a message, and there are none here")
        return tuple(path), at


def _tokens(source: str) -> Iterator[Token]:
    depth = 0
    for match in _TOKEN.finditer(source):
        text = match[0]
        depth -= text in _CLOSING
        if match.lastgroup and match.lastgroup != "space":
            yield Token(match.lastgroup, text, match.start(), match.end(), depth)
        depth += text in _OPENING


def _literal(text: str) -> str | None:
    """Read the literal of a key; None if it is none that a field's name can hold."""
    import cel

    try:
        value = cel.evaluate(text)
        if isinstance(value, str) and parse_field(format_field((value,))):
            return value
    except ValueError:  # not well formed, which compiling will tell, or with a quote in it: CEL looks it up itself
        pass
    return None
