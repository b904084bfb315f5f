"""Conditions of other collectors, written in CEL.

There a missing field is nil: unequal to everything, and to fluentd an empty text. Here an expression
that needs a missing field is false; so what has to be true then asks for the field first.
"""

from __future__ import annotations

import json
from typing import Final

from tailrace_plugins.converting.outcome import Untranslatable
from tailrace_plugins.converting.regexes import from_ruby
from tailrace_plugins.converting.texts import field_name

_NOT_TEXT: Final = frozenset(
    (
        *("user", "user.groups", "user.extra", "impersonatedUser", "sourceIPs", "objectRef", "responseStatus"),
        *("responseStatus.details", "requestObject", "responseObject", "annotations", "metadata"),
    )
)
_NUMBERS: Final = frozenset(("responseStatus.code",))

Path = tuple[str, ...]


def field_of(path: Path) -> str:
    """Write a field; raises Untranslatable if there can be none of that name."""
    text = field_name(path)
    if text.startswith("["):
        raise Untranslatable(f"a condition cannot name the field {text}")
    return text


def literal(value: str | float) -> str:
    """Write a text or a number."""
    return json.dumps(value, ensure_ascii=False)


def matches(path: Path, pattern: str) -> str:
    """Say that a regular expression of Ruby is found in a field's text; of a missing field, that it is not."""
    field = field_of(path)
    if field in _NOT_TEXT:
        raise Untranslatable(f"{field} is a list or a mapping, and a regular expression is not searched in one here")
    ours = from_ruby(pattern, "cel")
    _check_regex(ours)
    text = f"string({field})" if field in _NUMBERS else field
    return f"{text}.matches({literal(ours)})"


def matches_or_is_missing(path: Path, pattern: str, *, negated: bool) -> str:
    """Say that a field is missing, or that a regular expression is found in it; `negated`: or that it is not."""
    return f"(!has({field_of(path)}) || {'!' * negated}{matches(path, pattern)})"


def _check_regex(pattern: str) -> None:
    """Raise Untranslatable if CEL cannot search a pattern, which it says only when it does."""
    from tailrace_plugins.expression import Expression

    trouble = Expression(f"verb.matches({literal(pattern)})").evaluate(["get"])
    if isinstance(trouble, str):
        raise Untranslatable("the regular expression is none that CEL knows, which has no look-around")


def compare(path: Path, sign: str, value: str | float) -> str:
    """Compare a field with a value: `==`, `!=`, `<`, `<=`, `>`, `>=`."""
    field = field_of(path)
    term = f"{field} {sign} {literal(value)}"
    return f"(!has({field}) || {term})" if sign == "!=" else term


def one_of(path: Path, values: list[str | float], *, negated: bool) -> str:
    """Say that a field is one of several values; `negated`: that it is none of them."""
    field = field_of(path)
    term = f"{field} in [{', '.join(map(literal, values))}]"
    return f"(!has({field}) || !({term}))" if negated else term


def present(path: Path, *, negated: bool) -> str:
    """Say that a field is there and not false; `negated`: that it is not."""
    field = field_of(path)
    return f"(!has({field}) || {field} == false)" if negated else f"(has({field}) && {field} != false)"


def checked(text: str) -> str:
    """Give the condition, if it is one. Raises Untranslatable."""
    from tailrace_plugins.expression import Expression
    from tailrace_plugins.rewriting import ExpressionError

    try:
        Expression(text)
    except ExpressionError as error:
        raise Untranslatable(f"there is no such condition in CEL: {error}") from None
    return text
