"""Parsing by a grammar, with errors that say where and what should be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from tailrace.document import Place
from tailrace_plugins.converting.outcome import ParseError

DEEPEST: Final = 64
"""Levels of nesting in a config."""


def tree_of(grammar: str, text: str, file: str, expected: Mapping[str, str]) -> Tree[Token]:
    """Parse a text; `expected` gives words for the grammar's terminals. Raises ParseError."""
    parser = Lark(grammar, parser="lalr", lexer="contextual")
    try:
        return parser.parse(text)
    except UnexpectedInput as error:
        raise ParseError(_place(file, text, error).problem(_message(error, expected))) from None


def _place(file: str, text: str, error: UnexpectedInput) -> Place:
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    if not at_end and error.line > 0 and error.column > 0:
        return Place(file, error.line, error.column)
    text = text.rstrip("\n")
    return Place(file, text.count("\n") + 1, len(text) - text.rfind("\n"))


def _message(error: UnexpectedInput, expected: Mapping[str, str]) -> str:
    """Say what is wrong; of what stands there only one sign is shown, for it may be part of a secret."""
    wanted: set[str] = set()
    if isinstance(error, UnexpectedToken):
        found = {"$END": "the end of the file", "_NL": "the end of the line"}.get(error.token.type, error.token[:1])
        wanted = error.accepts or error.expected
    elif isinstance(error, UnexpectedCharacters):
        found, wanted = error.char, error.allowed
    else:
        found = "this"
    if found in ('"', "'"):
        return f"a text that begins with {found} here does not end, or does not belong here"
    words = sorted({expected[name] for name in wanted if name in expected})
    return f"unexpected {found}" + (f"; there should be {' or '.join(words)}" if words else "")


def place_of(node: Token | Tree[Token], file: str) -> Place:
    """Give the place where a node begins."""
    while isinstance(node, Tree):
        if not node.children:
            return Place(file)
        node = node.children[0]
    return Place(file, node.line or 1, node.column or 1)


def too_deep(place: Place) -> ParseError:
    """Give the error for what is nested more than DEEPEST levels deep."""
    return ParseError(place.problem(f"nested more than {DEEPEST} levels deep"))
