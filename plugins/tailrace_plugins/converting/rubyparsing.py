"""The little Ruby that record_transformer is commonly given: a field, perhaps with a text where it is missing.

record["objectRef"].nil? ? "none" : record["objectRef"]["namespace"]
record.dig("user", "username") || "none"
"""

from __future__ import annotations

from typing import Final, NamedTuple

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from tailrace_plugins.converting.outcome import Untranslatable

_GRAMMAR: Final = r"""
?start: ternary
?ternary: alternative | alternative "?" ternary ":" ternary -> choice
?alternative: (basic "||")* basic
?basic: "(" ternary ")" | basic ".nil?" -> is_nil | basic ".to_s" -> text | field | STRING
field: "record" subscript+ | "record" ".dig" "(" STRING ("," STRING)* ")" | "record" ".fetch" "(" STRING ")"
?subscript: "[" STRING "]"
STRING: /"[^"\\#]*"|'[^'\\]*'/
%ignore /\s+/
"""


class Found(NamedTuple):
    """A field, and the text that stands for it where it is missing, if there is one."""

    path: tuple[str, ...]  # none: it is the text
    default: str | None


class _IsNil(NamedTuple):
    path: tuple[str, ...]


def parse(text: str) -> Found:
    """Read an expression. Raises Untranslatable for all that is more than a field with a default."""
    try:
        tree = Lark(_GRAMMAR, parser="lalr").parse(text)
    except UnexpectedInput as error:
        raise Untranslatable(f"the Ruby expression is more than a field (column {error.column} of it)") from None
    found = _value(tree)
    if isinstance(found, _IsNil):
        raise Untranslatable("a Ruby expression that is true or false has no counterpart")
    return found


def _value(node: Token | Tree[Token]) -> Found | _IsNil:
    if isinstance(node, Token):
        return Found((), node[1:-1])
    if node.data == "field":
        return Found(tuple(str(child)[1:-1] for child in node.children), None)
    values = [_value(child) for child in node.children]
    if node.data == "text" and isinstance(values[0], Found):
        return values[0]
    if node.data == "is_nil" and isinstance(values[0], Found) and values[0].default is None:
        return _IsNil(values[0].path)
    if node.data == "alternative" and len(values) == 2:
        one, other = values
        if isinstance(one, Found) and isinstance(other, Found) and one.default is None and not other.path:
            return Found(one.path, other.default)
    if node.data == "choice":
        test, one, other = values
        if isinstance(test, _IsNil) and isinstance(one, Found) and isinstance(other, Found):
            above = other.path[: len(test.path)] == test.path
            same = other.default in (None, one.default) and (other.path == test.path or other.default is not None)
            if above and same and not one.path:
                return Found(other.path, one.default)
    raise Untranslatable("the Ruby expression is more than a field with a text where it is missing")
