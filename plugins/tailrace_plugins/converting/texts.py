"""Texts of the old config as those of tailrace: the signs that mean something there, and the places for fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tailrace import format_field, parse_field
from tailrace_plugins.converting.outcome import Outcome, Untranslatable

_TIMES: Final = "YmdHMS"
HOSTNAME: Final = "${HOSTNAME}"


def plain(text: str) -> str:
    """Write a text in which nothing is to be replaced, neither from the environment nor anything else."""
    return text.replace("$", "$$")


def fixed(text: str) -> str:
    """Write a text that stands in a template as it is."""
    return plain(text).replace("{", "{{").replace("}", "}}")


def field_name(path: tuple[str, ...]) -> str:
    """Write a field; raises Untranslatable if there can be none of that name."""
    try:
        text = format_field(path)
        parse_field(text)
    except ValueError:
        raise Untranslatable(f"{'.'.join(path)} cannot be the name of a field here") from None
    return text


def field_value(path: tuple[str, ...]) -> str:
    """Write a field as a value of the config, in which variables are replaced. Raises Untranslatable."""
    return plain(field_name(path))


def place(path: tuple[str, ...]) -> str:
    """Write a field's place in a template."""
    return f"{{{field_value(path)}}}"


def timed(text: str) -> str:
    """Write a text of a path with parts of a time like `%Y%m%d`. Raises Untranslatable."""
    made, at = "", 0
    while at < len(text):
        if text[at] != "%":
            made += fixed(text[at])
            at += 1
            continue
        directive = text[at + 1 : at + 2]
        if directive not in (*_TIMES, "%"):
            raise Untranslatable(f"%{directive} has no counterpart in a path; there are %Y %m %d %H %M %S")
        made += text[at : at + 2]
        at += 2
    return made


def fill(text: str, literal: Callable[[str], str], value: Callable[[str], str]) -> str:
    """Write a text with placeholders `${...}`; `value` gives what stands for one. Raises Untranslatable."""
    made, at = "", 0
    while True:
        begin = text.find("${", at)
        if begin < 0:
            return made + literal(text[at:])
        end = _closing(text, begin + 2)
        made += literal(text[at:begin]) + value(text[begin + 2 : end].strip())
        at = end + 1


def _closing(text: str, at: int) -> int:
    depth, quote = 1, ""
    for end in range(at, len(text)):
        letter = text[end]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return end
    raise Untranslatable("a ${ in it is not closed")


def use_hostname(outcome: Outcome) -> str:
    """Give what stands for the host's name."""
    outcome.variables["HOSTNAME"] = "the name of this host; shells do not export it: HOSTNAME=$(hostname)"
    return HOSTNAME
