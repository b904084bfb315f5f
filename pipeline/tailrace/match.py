"""Tag patterns: which events a stage is for."""

from __future__ import annotations

import re
from collections.abc import Sequence

_REMEMBERED = 4096
_TOKEN = re.compile(r"(?P<parts>\.?\*\*\.?)|(?P<escaped>\\.)|.", re.DOTALL)


class PatternError(ValueError):
    """A tag pattern that does not parse; `column` is where, counted from 1."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column


class TagPattern:
    r"""A pattern of tags with fluentd's meaning (docs.fluentd.org, "How match patterns work").

    `*` is one part of a tag or a piece of it, `**` is zero or more parts, `{a,b}` is one of several
    patterns, and patterns with white space between them are alternatives: `a.**` matches `a`, `a.b` and
    `a.b.c`. `\` takes the meaning from the sign behind it.

    Raises PatternError.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        patterns = [_translate(match[0], match.start()) for match in re.finditer(r"\S+", text)]
        if not patterns:
            raise PatternError("a tag pattern cannot be empty; ** matches every tag", 1)
        self._regex = re.compile("|".join(patterns), re.DOTALL)
        self._known: dict[str, bool] = {}

    def __repr__(self) -> str:
        return f"TagPattern({self.text!r})"

    def matches(self, tag: str) -> bool:
        """Tell whether the whole tag fits."""
        known = self._known.get(tag)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[tag] = self._regex.fullmatch(tag) is not None
        return known

    def mask(self, tags: Sequence[str]) -> list[bool]:
        """Tell for each tag whether it fits."""
        return list(map(self.matches, tags))


def _translate(pattern: str, start: int) -> str:
    """Write one pattern as a regular expression; `start` is its place in the text, for errors."""
    if len(pattern) > 1 and pattern[0] == pattern[-1] == "/":
        raise PatternError("regular expressions are not taken here; write *, ** and {a,b}", start + 1)
    regex: list[str] = []
    braces: list[int] = []  # the columns of those that are open
    for token in _TOKEN.finditer(pattern):
        sign = token[0]
        column = start + token.start() + 1
        if token.lastgroup == "parts":  # the dots around it fall away with the parts
            regex.append(r"(?![^.])" if sign.startswith(".") else "")
            regex.append(r"(?:.*\.|(?<![^.]))" if sign.endswith(".") else ".*")
        elif token.lastgroup == "escaped":
            regex.append(re.escape(sign[1]))
        elif sign == "*":
            regex.append("[^.]*")
        elif sign == "{":
            braces.append(column)
            regex.append("(?:")
        elif sign == "}" and braces:
            braces.pop()
            regex.append(")")
        elif sign in "}\\":
            raise PatternError(f"this {sign} stands alone; write \\{sign} for the sign itself", column)
        else:
            regex.append("|" if sign == "," and braces else re.escape(sign))
    if braces:
        raise PatternError("this { is not closed; write {a,b}, without white space", braces[-1])
    return "".join(regex)
