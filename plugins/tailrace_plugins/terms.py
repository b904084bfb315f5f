"""The terms of a condition, each judged by itself, so that the library for CEL runs only where it is needed.

* A term that tests one field, or the tag, against literal text is worked out here where its values are strings. All
  others are run by the library, and remembered by the values of those fields alone that they name.
* False settles `&&` and true settles `||`, whatever the other parts are. If nothing does, one part that is UNKNOWN
  makes the whole UNKNOWN, and else one that is MISSING makes it MISSING. So the order of parts does not matter: those
  that cost little are judged first, and the others only for events that are not settled by then.
* A term that cannot be evaluated is UNKNOWN, and what is UNKNOWN in the end the whole expression has to judge. So the
  library alone says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from operator import attrgetter, methodcaller
from typing import Any, Final, Protocol, TypeAlias

from tailrace import Memo
from tailrace_plugins.program import EVALUATION_ERRORS, Program, clean
from tailrace_plugins.rewriting import Rewriting, Token


class Doubt(Enum):
    """Why a part of an expression is neither true nor false for an event."""

    MISSING = "it needs something that is missing"
    UNKNOWN = "only the whole expression can tell"


MISSING: Final = Doubt.MISSING
UNKNOWN: Final = Doubt.UNKNOWN
Answer: TypeAlias = bool | Doubt
Columns: TypeAlias = Sequence["Column"]

_STRINGS: Final = frozenset({str, type(None)})
_METHODS: Final = {"startsWith": "startswith", "endsWith": "endswith", "contains": "__contains__"}
_IN_OPERANDS: Final = frozenset("!.()[]{}")


class Part(Protocol):
    """A part of an expression."""

    @property
    def costly(self) -> bool:
        """Tell whether the library runs for events whose values differ."""

    def judge(self, columns: Columns, rows: Sequence[int]) -> list[Answer]:
        """Give an answer for each of `rows`, which ascend, by the columns of the whole expression."""


def take_apart(rewriting: Rewriting, keys: Sequence[str]) -> Part | None:
    """Give the parts of an expression that compiles; None if it is one term, which the library has to run.

    `keys` are those of the expression's columns.
    """
    part = _Reader(rewriting.text, keys).part(rewriting.tokens)
    return None if isinstance(part, _Term) else part


class Column:
    """The values of a field, or the tags."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    @cached_property
    def strings(self) -> Sequence[Any] | None:
        """The values as the library takes them if all are strings or missing, else None."""
        if not set(map(type, self.values)) <= _STRINGS:
            return None
        return self.values if all(map(str.isascii, filter(None, self.values))) else list(map(clean, self.values))


def _pick(column: Sequence[Any], rows: Sequence[int]) -> Sequence[Any]:
    """Give the values of those rows, which ascend."""
    return column if len(rows) == len(column) else [column[row] for row in rows]


class _Term:
    """A term that the library runs; `places` are those of its columns."""

    costly = True

    def __init__(self, program: Program, places: Sequence[int]) -> None:
        self._program = program
        self._places = places
        self._memo = Memo(self._answer)

    def judge(self, columns: Columns, rows: Sequence[int]) -> list[Answer]:
        return self._memo.map([_pick(columns[place].values, rows) for place in self._places], len(rows))

    def _answer(self, values: Sequence[Any]) -> Answer:
        try:
            result = self._program.run(values)
        except KeyError:
            return MISSING
        except EVALUATION_ERRORS:
            return UNKNOWN
        return result if isinstance(result, bool) else UNKNOWN


@dataclass(frozen=True, slots=True)
class _Has:
    """`has(field)`."""

    place: int
    costly = False

    def judge(self, columns: Columns, rows: Sequence[int]) -> list[Answer]:
        return [value is not None for value in _pick(columns[self.place].values, rows)]


@dataclass(frozen=True, slots=True)
class _Test:
    """A test of strings; of other values `term` tells the same."""

    place: int
    holds: Callable[[str], bool]
    term: _Term
    costly = False

    def judge(self, columns: Columns, rows: Sequence[int]) -> list[Answer]:
        column, holds = columns[self.place], self.holds
        if column.strings is None:
            return self._judge_mixed(columns, rows)
        values = _pick(column.strings, rows)
        return [MISSING if value is None else holds(value) for value in values]

    def _judge_mixed(self, columns: Columns, rows: Sequence[int]) -> list[Answer]:
        answers = [self._answer(value) for value in _pick(columns[self.place].values, rows)]
        others = [place for place, answer in enumerate(answers) if answer is UNKNOWN]
        for place, answer in zip(others, self.term.judge(columns, _pick(rows, others)), strict=True):
            answers[place] = answer
        return answers

    def _answer(self, value: Any) -> Answer:
        if value is None:
            return MISSING
        return self.holds(clean(value)) if type(value) is str else UNKNOWN


@dataclass(frozen=True, slots=True)
class _Not:
    """`!part`."""

    part: Part

    @property
    def costly(self) -> bool:
        return self.part.costly

    def judge(self, columns: Columns, rows: Sequence[int]) -> list[Answer]:
        answers = self.part.judge(columns, rows)
        return [answer is False if answer is False or answer is True else answer for answer in answers]


@dataclass(frozen=True, slots=True)
class _Several:
    """Parts of which one can settle the matter: `||` if true does, `&&` if false does."""

    parts: Sequence[Part]
    settled: bool

    @property
    def costly(self) -> bool:
        return any(part.costly for part in self.parts)

    def judge(self, columns: Columns, rows: Sequence[int]) -> list[Answer]:
        settled, open_yet = self.settled, not self.settled
        answers = self.parts[0].judge(columns, rows)
        for part in self.parts[1:]:
            if answers.count(open_yet) == len(rows):
                answers = part.judge(columns, rows)
                continue
            places = [place for place, answer in enumerate(answers) if answer is not settled]
            later = part.judge(columns, _pick(rows, places))
            for place, answer in zip(places, later, strict=True):
                if answer is not open_yet and (answer is not MISSING or answers[place] is open_yet):
                    answers[place] = answer
        return answers


class _Reader:
    """Makes parts of the tokens of an expression."""

    def __init__(self, text: str, keys: Sequence[str]) -> None:
        self._text = text
        self._places = {key: place for place, key in enumerate(keys)}

    def part(self, tokens: Sequence[Token]) -> Part:
        """Take apart what binds the weakest, and so on."""
        first = tokens[0]
        level = [token for token in tokens if token.depth == first.depth]
        outside = [token.text for token in level]
        if "?" not in outside:
            for sign, settled in (("||", True), ("&&", False)):
                if sign in outside:
                    parts = map(self.part, _split(tokens, sign))
                    return _Several(sorted(parts, key=attrgetter("costly")), settled)
        if outside == ["(", ")"]:
            return self.part(tokens[1:-1])
        operand = all(token.kind != "sign" or token.text in _IN_OPERANDS for token in level) and "in" not in outside
        if first.text == "!" and operand and not isinstance(part := self.part(tokens[1:]), _Term):
            return _Not(part)
        return self._simple(tokens) or self._term(tokens)

    def _simple(self, tokens: Sequence[Token]) -> Part | None:
        """Read a term that needs no library, or hardly ever."""
        import cel

        shape = [f"<{token.kind}>" if token.kind in ("field", "string") else token.text for token in tokens]
        place = next((self._places[token.text] for token in tokens if token.kind == "field"), -1)
        if shape == ["has", "(", "<field>", ")"]:
            return _Has(place)
        literals = [cel.evaluate(token.text) for token in tokens if token.kind == "string"]
        if not all(isinstance(literal, str) for literal in literals):  # but bytes
            return None
        holds: Callable[[str], bool]
        match shape:
            case ["<field>", "==", "<string>"] | ["<string>", "==", "<field>"]:
                holds = literals[0].__eq__
            case ["<field>", "!=", "<string>"] | ["<string>", "!=", "<field>"]:
                holds = literals[0].__ne__
            case ["<field>", "in", "[", *items, "]"] if set(items) <= {"<string>", ","}:
                holds = frozenset(literals).__contains__
            case ["<field>", ".", ("startsWith" | "endsWith" | "contains") as name, "(", "<string>", ")"]:
                holds = methodcaller(_METHODS[name], literals[0])
            case _:
                return None
        return _Test(place, holds, self._term(tokens))

    def _term(self, tokens: Sequence[Token]) -> _Term:
        keys = list(dict.fromkeys(token.text for token in tokens if token.kind == "field"))
        program = Program(self._text[tokens[0].start : tokens[-1].end], keys)
        return _Term(program, [self._places[key] for key in keys])


def _split(tokens: Sequence[Token], sign: str) -> list[list[Token]]:
    """Split at a sign, except inside of brackets."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.text == sign and token.depth == tokens[0].depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts
