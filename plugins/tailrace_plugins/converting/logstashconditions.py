"""Conditions of logstash: as CEL, where events are dropped by them, and as rules for tags, where they choose a way."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from tailrace_plugins.converting import conditions
from tailrace_plugins.converting.logstashparsing import Term
from tailrace_plugins.converting.outcome import Untranslatable
from tailrace_plugins.converting.regexes import from_ruby, matches_nothing, of_some_text

Path = tuple[str, ...]
Resolve = Callable[[Path], Path]
"""Gives the field of the event that a name in the old config means; raises Untranslatable if it is none."""


class Test(NamedTuple):
    """What a rule for tags can ask: whether a pattern is found in a field, or not."""

    field: Path
    pattern: str
    invert: bool


def cel(term: Term, resolve: Resolve, *, negated: bool = False) -> str:
    """Write a condition, or that it does not hold, in CEL. Raises Untranslatable."""
    if term.kind == "not":
        return cel(term.terms[0], resolve, negated=not negated)
    if term.kind == "xor":
        return _exclusive(term, resolve, negated)
    if term.kind in ("any", "and", "nand"):
        negated = negated != (term.kind == "nand")
        sign = " || " if (term.kind == "any") != negated else " && "
        parts = [cel(each, resolve, negated=negated) for each in term.terms]
        return f"({sign.join(parts)})" if len(parts) > 1 else parts[0]
    path = _path(term, resolve)
    if term.kind == "present":
        return conditions.present(path, negated=negated)
    if term.kind == "in":
        return conditions.one_of(path, _values(term), negated=negated)
    if term.kind == "search":
        if negated != (term.sign == "!~"):
            return conditions.matches_or_is_missing(path, str(term.value), negated=True)
        return conditions.matches(path, str(term.value))
    (value,) = _values(term)
    if term.sign in ("==", "!="):
        return conditions.compare(path, "==" if (term.sign == "==") != negated else "!=", value)
    text = conditions.compare(path, term.sign, value)
    # nothing is less or greater than a value that is missing
    return f"(!has({conditions.field_of(path)}) || !({text}))" if negated else text


def _exclusive(term: Term, resolve: Resolve, negated: bool) -> str:
    made = term.terms[0]
    for number, other in enumerate(term.terms[1:], 1):
        last = number == len(term.terms) - 1
        flip = negated and last
        one = Term("and", [made, other if flip else Term("not", [other])])
        both = Term("and", [Term("not", [made]), Term("not", [other]) if flip else other])
        made = Term("any", [one, both])
    return cel(made, resolve)


def asked(term: Term, resolve: Resolve, *, negated: bool) -> list[Test]:
    """Give tests of which one has to succeed for a condition to hold. Raises Untranslatable if there are none such."""
    if term.kind == "not":
        return asked(term.terms[0], resolve, negated=not negated)
    if term.kind in ("any", "and", "nand", "xor"):
        inside = negated != (term.kind == "nand")
        is_or = (term.kind == "any") != inside and term.kind != "xor"
        if not is_or and len(term.terms) > 1:
            raise Untranslatable(
                "`and` and `xor` can decide which events are dropped, and `and` can stand in an `if` without `else`; "
                "otherwise a way is chosen by one field"
            )
        return [test for each in term.terms for test in asked(each, resolve, negated=inside)]
    path = _path(term, resolve)
    if term.kind == "present":
        return [Test(path, r"\A(?!\Z|false\Z)" if negated else r"\A(?!false\Z)", negated)]
    if term.kind == "search":
        invert = negated != (term.sign == "!~")
        pattern = from_ruby(str(term.value), "python")
        return [Test(path, of_some_text(pattern) if invert and matches_nothing(pattern) else pattern, invert)]
    if term.kind == "compare" and term.sign not in ("==", "!="):
        raise Untranslatable(f"`{term.sign}` can decide which events are dropped, not which way they go")
    values = "|".join(re.escape(str(value)) for value in _values(term))
    return [Test(path, rf"\A(?:{values})\Z", negated != (term.sign == "!="))]


def _path(term: Term, resolve: Resolve) -> Path:
    if term.kind == "odd":
        raise Untranslatable(term.sign)
    if not term.field:
        raise Untranslatable("a condition without a field has no counterpart")
    return resolve(term.field)


def _values(term: Term) -> list[str | float]:
    values = term.value if isinstance(term.value, list) else [term.value]
    made = [value for value in values if isinstance(value, (str, int, float))]
    if len(made) != len(values):
        raise Untranslatable("a field is compared with texts and numbers only, not with another field")
    return made
