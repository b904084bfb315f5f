"""Texts of a logstash config: `%{[user][username]}`, `%{+YYYY-MM-dd}` and `${VARIABLE}`, as tailrace has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tailrace_plugins.converting.logstashconditions import Resolve
from tailrace_plugins.converting.logstashparsing import selector
from tailrace_plugins.converting.outcome import Untranslatable
from tailrace_plugins.converting.texts import fill, fixed, place, plain

_JODA: Final = {"YYYY": "%Y", "yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}


def constant(text: str) -> str:
    """Write a text in which only variables of the environment are replaced."""
    return fill(text, plain, _variable)


def constant_value(text: str) -> str:
    """Write such a text where `{` begins a template."""
    return fill(text, fixed, _variable)


def template(text: str, resolve: Resolve, *, time: bool) -> str:
    """Write a text with fields, and, if it has a time, parts of that. Raises Untranslatable."""

    def literal(part: str) -> str:
        return _fields(part, resolve, time)

    return fill(text, literal, _variable)


def _variable(name: str) -> str:
    name, colon, default = name.partition(":")
    if not name.replace("_", "a").isalnum() or not name.isascii():
        raise Untranslatable(f"${{{name}}} is no variable of the environment")
    return f"${{{name}:-{plain(default)}}}" if colon else f"${{{name}}}"


def _fields(text: str, resolve: Resolve, time: bool) -> str:
    def literal(part: str) -> str:
        return fixed(part).replace("%", "%%") if time else fixed(part)

    made, at = "", 0
    while True:
        begin = text.find("%{", at)
        if begin < 0:
            return made + literal(text[at:])
        end = text.find("}", begin)
        if end < 0:
            raise Untranslatable("a %{ in it is not closed")
        made += literal(text[at:begin])
        name = text[begin + 2 : end]
        made += _time(name[1:], time, literal) if name.startswith("+") else place(resolve(selector(name)))
        at = end + 1


def _time(form: str, time: bool, literal: Callable[[str], str]) -> str:
    if not time:
        raise Untranslatable("a part of the time can stand in a path, not in a value")
    made, at = "", 0
    while at < len(form):
        letter = form[at]
        run = form[at : at + len(form[at:]) - len(form[at:].lstrip(letter))]
        if letter == "'":
            end = form.find("'", at + 1)
            made += literal(form[at + 1 : end])
            at = end + 1 if end > 0 else len(form)
            continue
        if letter.isalpha() and run not in _JODA:
            raise Untranslatable(f"%{{+{run}}} has no counterpart; there are YYYY, MM, dd, HH, mm and ss")
        made += _JODA.get(run) or literal(run)
        at += len(run)
    return made
