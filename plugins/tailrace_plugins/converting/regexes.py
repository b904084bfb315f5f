"""Regular expressions of Ruby, as fluentd and logstash have them, in the dialects that filters here take."""

from __future__ import annotations

import re
from typing import Final, Literal

from tailrace_plugins.converting.outcome import Untranslatable

Dialect = Literal["python", "cel"]

_HEX: Final = "0-9a-fA-F"
_WHOLE: Final = frozenset(("^(.+)", "^(.+)$", "(.+)", "^(.*)$", "(.*)", "^(.*)", r"\A(.+)\z", r"\A(.*)\z"))
_KNOWN: Final = frozenset("dDwWsSbBntrfvAz")


def takes_the_whole(pattern: str) -> bool:
    """Tell whether a pattern matches any text that is not empty, and its group is the text."""
    return pattern.strip("/") in _WHOLE


def from_ruby(text: str, dialect: Dialect) -> str:
    """Write `/.../i`, or a pattern without slashes, for `re` or for CEL's `matches`. Raises Untranslatable."""
    pattern, flags = _without_slashes(text)
    made, at, in_class = "", 0, 0
    while at < len(pattern):
        two = pattern[at : at + 2]
        if two[0] == "\\":
            made += _escape(two, bool(in_class), dialect)
            at += 2
            continue
        if two in ("[:", "&&") and in_class:
            raise Untranslatable(f"the regular expression has a {two} in a class, which has no counterpart")
        if pattern.startswith("(?<", at) and not in_class and pattern[at + 3 : at + 4] not in ("=", "!"):
            made += "(?P<"
            at += 3
            continue
        in_class += (two[0] == "[") - (two[0] == "]" and in_class > 0)
        made += two[0]
        at += 1
    # in Ruby ^ and $ are ends of lines, always
    lines = "m" if any(sign in pattern for sign in "^$") else ""
    made = (f"(?{flags}{lines})" if flags + lines else "") + made
    try:
        re.compile(made.replace(r"\z", r"\Z"))
    except re.error as error:
        raise Untranslatable(f"the regular expression has no counterpart: {error}") from None
    return made


def matches_nothing(pattern: str) -> bool:
    """Tell whether a pattern that `from_ruby` gave is found in an empty text."""
    return re.search(pattern.replace(r"\z", r"\Z"), "") is not None


def of_some_text(pattern: str) -> str:
    """Let a pattern that `from_ruby` gave be found in no empty text: that stands for a missing field."""
    end = pattern.find(")") + 1 if pattern.startswith("(?") and pattern[2:3].isalpha() and pattern[2] != "P" else 0
    return rf"{pattern[:end]}\A(?=[\s\S])[\s\S]*?(?:{pattern[end:]})"


def _without_slashes(text: str) -> tuple[str, str]:
    end = text.rfind("/")
    if not text.startswith("/") or end < 1 or not set(text[end + 1 :]) <= set("imxonu"):
        return text, ""
    signs = text[end + 1 :]
    # Ruby's m lets the dot match newlines
    flags = "".join(ours for theirs, ours in (("i", "i"), ("m", "s"), ("x", "x")) if theirs in signs)
    return text[1:end].replace("\\/", "/"), flags


def _escape(two: str, in_class: bool, dialect: Dialect) -> str:
    sign = two[1:]
    if sign == "h":
        return _HEX if in_class else f"[{_HEX}]"
    if sign == "H" and not in_class:
        return f"[^{_HEX}]"
    if sign == "z":
        return r"\z" if dialect == "cel" else r"\Z"
    if sign == "Z":
        raise Untranslatable(r"the regular expression has \Z, which has no counterpart; \z is the end")
    if sign.isalpha() and sign not in _KNOWN:
        raise Untranslatable(f"the regular expression has {two}, which has no counterpart")
    if sign.isdigit() and dialect == "cel":
        raise Untranslatable(f"the regular expression has {two}, and CEL knows no back references")
    return two
