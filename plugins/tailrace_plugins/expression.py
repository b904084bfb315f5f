"""Conditions on events, written in CEL, the Common Expression Language (github.com/google/cel-spec).

An expression is evaluated on the fields that it names and on nothing else, for that is what evaluation costs: once
for all events of the same values, or, where these differ in most events, term by term.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from typing import Annotated, Any, Final

from msgspec import Meta

from tailrace import Batch, Filter, Memo, OptionError, format_field
from tailrace_plugins.program import EVALUATION_ERRORS, Program
from tailrace_plugins.rewriting import EVENT, TAG, TYPES, ExpressionError, Rewriting
from tailrace_plugins.terms import UNKNOWN, Column, take_apart

# fmt: off
# those of the library itself; its `stdlib` has more
_FUNCTIONS: Final = TYPES - {"bool", "list", "map", "null_type"} | {
    "contains", "dyn", "endsWith", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear",
    "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds", "hasValue", "matches", "orValue",
    "size", "startsWith", "value",
}
# fmt: on
_WHERE = re.compile(r"ERROR: <input>:(\d+):(\d+): (Syntax error: )?(.*)")
_NOT_FOR_THESE = "Undefined variable or function: "
_SAMPLE: Final = 32  # so many events of a batch, or some more, tell whether values differ in it


class Conditional(Filter, kw_only=True):
    """A filter with a condition."""

    when: Annotated[str, Meta(description="The condition, in CEL; names are fields, `tag` is the tag.")]

    def __post_init__(self) -> None:
        try:
            self.condition = Expression(self.when)
        except ExpressionError as error:
            raise OptionError("when", str(error)) from None

    def reads(self) -> Iterable[str]:
        """Name the fields that the condition names."""
        return self.condition.fields


class Expression:
    """A condition on events, in CEL, that is true or false for each of them.

    Names are fields (`objectRef.namespace`, `annotations["a.b/c"]`), except `tag`, which is the event's
    tag. A field that is null counts as missing. Where the expression needs a field that is missing it is
    false; `||` and `&&` need only the side that settles the matter, as CEL says. Besides CEL's own
    functions there are those of `cel.stdlib`: `lowerAscii`, `split`, `math.greatest` and others.

    Raises ExpressionError.
    """

    def __init__(self, text: str) -> None:
        from cel.stdlib import STDLIB_FUNCTIONS  # it costs 0.2 s, which only those who use it shall pay

        self.text = text
        rewriting = Rewriting(text, STDLIB_FUNCTIONS)
        self.uses_tag = (TAG,) in rewriting.paths
        fields = {path: key for path, key in rewriting.paths.items() if path != (TAG,)}
        self.fields = tuple(map(format_field, fields))
        keys = [TAG] * self.uses_tag + list(fields.values())
        try:
            self._program = Program(rewriting.text, keys)
        except ValueError as error:
            raise ExpressionError(_syntax_error(text, str(error))) from None
        self._check_names(rewriting.known)
        on_nothing = self.evaluate([None] * len(keys))
        if isinstance(on_nothing, str):
            raise ExpressionError(on_nothing)
        self._parts = take_apart(rewriting, keys)
        self._memo = Memo(self._judge_one)

    def _check_names(self, known: Set[str]) -> None:
        ours = {name.rpartition(".")[2] for name in self._program.functions}
        for name in self._program.called:
            if name.isidentifier() and name not in _FUNCTIONS | ours:
                raise ExpressionError(f"there is no function {name}(), or not with so many arguments")
        for name in self._program.variables:
            if name != EVENT and name not in known:
                raise ExpressionError(f"{name!r} is not a field; write it like objectRef.namespace")

    def inputs(self, batch: Batch) -> list[Sequence[Any]]:
        """Give the columns that `evaluate` takes a value each of: the tags, if used, then `fields`."""
        tags: list[Sequence[Any]] = [batch.tags] if self.uses_tag else []
        return tags + [batch[name] for name in self.fields]

    def evaluate(self, values: Sequence[Any]) -> bool | str:
        """Tell whether the expression holds for one event's values; a string says why that cannot be told."""
        try:
            result = self._program.run(values)
        except KeyError:
            return False  # something that is missing
        except EVALUATION_ERRORS as error:
            return f"cannot evaluate {self.text}: {_plain(str(error))}"
        if not isinstance(result, bool):
            return f"cannot evaluate {self.text}: it is not true or false but of type {type(result).__name__}"
        return result

    def mask(self, batch: Batch) -> list[bool]:
        """Tell for each event whether the expression holds; reject those of which that cannot be told."""
        columns = self.inputs(batch)
        # to look up what was found for the same values costs less than several terms do, but they may all differ
        by_values = self._parts is None or _are_alike(columns)
        results = (self._memo.map if by_values else self._judge)(columns, len(batch))
        for row, result in enumerate(results):
            if isinstance(result, str):
                batch.reject(row, result)
        return [result is True for result in results]

    def _judge_one(self, values: Sequence[Any]) -> bool | str:
        return self._judge([[value] for value in values], 1)[0]

    def _judge(self, columns: Sequence[Sequence[Any]], count: int) -> list[bool | str]:
        """Judge events by the parts of the expression, and as a whole where that does not tell."""
        answers = self._parts.judge(list(map(Column, columns)), range(count)) if self._parts else [UNKNOWN] * count
        return [
            self.evaluate([column[row] for column in columns]) if answer is UNKNOWN else answer is True
            for row, answer in enumerate(answers)
        ]


def _are_alike(columns: Sequence[Sequence[Any]]) -> bool:
    """Tell, by some of them, whether most events share their values with others."""
    sample = [column[:: len(column) // _SAMPLE + 1] for column in columns]
    try:
        return 2 * len(set(zip(*sample, strict=True))) <= max(map(len, sample), default=0)
    except TypeError:  # there are lists or objects, which mostly differ
        return False


def _syntax_error(text: str, reason: str) -> str:
    """Say what is wrong and where in the expression as it was written."""
    import cel

    try:
        cel.compile(text)
    except ValueError as error:
        reason = str(error)
    found = [match.groups() for match in _WHERE.finditer(reason)]
    # other errors follow from these, or are about `has(verb)`, which is right here
    line, column, _, message = next((each for each in found if each[2]), [*found, ("1", "1", "", reason)][0])
    where = f"column {column}" if "\n" not in text.strip() else f"line {line}, column {column}"
    message = message.partition(" expecting {")[0].replace("mismatched input", "unexpected")
    return f"{where}: {message.replace(repr('<EOF>'), 'end of the expression')}"


def _plain(reason: str) -> str:
    """Shorten a reason; the library calls a function unknown when its arguments do not fit."""
    first = " ".join(reason.partition(". ")[0].split())
    if first.startswith(_NOT_FOR_THESE):
        return f"{first.removeprefix(_NOT_FOR_THESE)} does not take these values"
    return first
