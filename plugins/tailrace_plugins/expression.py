"""Conditions on events, written in CEL, the Common Expression Language (github.com/google/cel-spec).

An expression is evaluated on the fields that it names and on nothing else. Before it is compiled, each of
them is replaced by a key of one flat map: `has(user.extra) && verb == "get"` becomes `has(__event.f0) &&
__event.f1 == "get"`. So a missing field is a missing key, whatever else is missing above it, `has` works on
every field, and no more is handed over than is needed, which is what evaluation costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Final

from msgspec import Meta

from tailrace import Batch, Filter, Memo, OptionError, Path, format_field, parse_field

_TOKEN = re.compile(
    r"""
    (?P<space> \s+ | //[^\n]* )
  | (?P<string> (?: [bB]?[rR] | [rR][bB] )
                (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )
              | [bB]?
                (?: \"{3}(?:[^\\]|\\.)*?\"{3} | '{3}(?:[^\\]|\\.)*?'{3}
                  | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' ) )
  | (?P<number> 0[xX][0-9a-fA-F]+[uU]? | (?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]? )
  | (?P<word> [A-Za-z_]\w* )
  | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_EVENT: Final = "__event"
_TAG: Final = "tag"
_MACROS: Final = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map"})
_LITERALS: Final = frozenset({"true", "false", "null", "in"})
# fmt: off
_TYPES: Final = frozenset({
    "bool", "bytes", "double", "duration", "int", "list", "map", "null_type", "string", "timestamp", "type",
    "uint",
})
# those of the library itself; its `stdlib` has more
_FUNCTIONS: Final = _TYPES - {"bool", "list", "map", "null_type"} | {
    "contains", "dyn", "endsWith", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear",
    "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds", "hasValue", "matches", "orValue",
    "size", "startsWith", "value",
}
# fmt: on
_DEEPEST: Final = 100
"""Levels of nesting in a value; the library overflows the stack, and ends the process, at some thousands."""

_WHERE = re.compile(r"ERROR: <input>:(\d+):(\d+): (Syntax error: )?(.*)")
_NOT_FOR_THESE = "Undefined variable or function: "
_EVALUATION_ERRORS = (TypeError, RuntimeError, ValueError, ArithmeticError, IndexError)


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


class ExpressionError(ValueError):
    """An expression that cannot work; the message says where, if that is known, and why."""


class Expression:
    """A condition on events, in CEL, that is true or false for each of them.

    Names are fields (`objectRef.namespace`, `annotations["a.b/c"]`), except `tag`, which is the event's
    tag. A field that is null counts as missing. Where the expression needs a field that is missing it is
    false; `||` and `&&` need only the side that settles the matter, as CEL says. Besides CEL's own
    functions there are those of `cel.stdlib`: `lowerAscii`, `split`, `math.greatest` and others.

    Raises ExpressionError.
    """

    def __init__(self, text: str) -> None:
        import cel  # it costs 0.2 s, which only those who use it shall pay
        from cel.stdlib import STDLIB_FUNCTIONS

        self.text = text
        rewriting = _Rewriting(text, STDLIB_FUNCTIONS)
        try:
            self._program = cel.compile(rewriting.text)
        except ValueError as error:
            raise ExpressionError(_syntax_error(text, str(error))) from None
        called = self._program.functions()
        self._functions: dict[str, Callable[..., Any]] = {
            name: function for name, function in STDLIB_FUNCTIONS.items() if name.rpartition(".")[2] in called
        }
        self._check_names(rewriting.known, called)
        self.uses_tag = (_TAG,) in rewriting.paths
        fields = {path: key for path, key in rewriting.paths.items() if path != (_TAG,)}
        self.fields = tuple(map(format_field, fields))
        self._keys = [_TAG] * self.uses_tag + list(fields.values())
        self._memo = Memo(self.evaluate)
        on_nothing = self.evaluate([None] * len(self._keys))
        if isinstance(on_nothing, str):
            raise ExpressionError(on_nothing)

    def _check_names(self, known: frozenset[str], called: Sequence[str]) -> None:
        ours = {name.rpartition(".")[2] for name in self._functions}
        for name in called:
            if name.isidentifier() and name not in _FUNCTIONS | ours:
                raise ExpressionError(f"there is no function {name}(), or not with so many arguments")
        for name in self._program.variables():
            if name != _EVENT and name not in known:
                raise ExpressionError(f"{name!r} is not a field; write it like objectRef.namespace")

    def inputs(self, batch: Batch) -> list[Sequence[Any]]:
        """Give the columns that `evaluate` takes a value each of: the tags, if used, then `fields`."""
        tags: list[Sequence[Any]] = [batch.tags] if self.uses_tag else []
        return tags + [batch[name] for name in self.fields]

    def evaluate(self, values: Sequence[Any]) -> bool | str:
        """Tell whether the expression holds for one event's values; a string says why that cannot be told."""
        present = {key: value for key, value in zip(self._keys, values, strict=True) if value is not None}
        try:
            event = {key: _clean(value) for key, value in present.items()}
            result = self._program.execute({**self._functions, _EVENT: event})
        except KeyError:
            return False  # something that is missing
        except _EVALUATION_ERRORS as error:
            return f"cannot evaluate {self.text}: {_plain(str(error))}"
        if not isinstance(result, bool):
            return f"cannot evaluate {self.text}: it is not true or false but of type {type(result).__name__}"
        return result

    def mask(self, batch: Batch) -> list[bool]:
        """Tell for each event whether the expression holds; reject those of which that cannot be told."""
        results = self._memo.map(self.inputs(batch), len(batch))
        for index, result in enumerate(results):
            if isinstance(result, str):
                batch.reject(index, result)
        return [result is True for result in results]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


_END: Final = _Token("end", "", 0, 0)


class _Rewriting:
    """An expression with its fields replaced, and what was found on the way.

    `paths` gives each field's key in the event's map, `known` the other names: variables, types, name spaces.
    """

    def __init__(self, source: str, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.text = ""
        self.paths: dict[Path, str] = {}
        self._functions = functions
        tokens = [
            _Token(match.lastgroup or "", match[0], match.start(), match.end())
            for match in _TOKEN.finditer(source)
            if match.lastgroup != "space"
        ]
        self._tokens = [_END, *tokens, _END, _END, _END]  # so that looking around never leaves the list
        types = _TYPES if ("type", "(") in pairwise(token.text for token in tokens) else frozenset()
        self._bound: list[tuple[int, str]] = []  # macro variables, each with the depth of brackets it lives in
        known = set(types)
        copied = depth = 0
        at = 1
        while self._tokens[at] is not _END:
            token = self._tokens[at]
            after = at + 1
            if token.kind == "sign":
                depth += (token.text in "([{") - (token.text in ")]}")
                self._bound = [(level, name) for level, name in self._bound if level <= depth]
            elif variable := self._macro_variable(at):
                self._bound.append((depth + 1, variable))
                known.add(variable)
            elif token.text not in types and self._is_field(at):
                path, after = self._path(at)
                if path:
                    name = self.paths.setdefault(path, _TAG if path == (_TAG,) else f"f{len(self.paths)}")
                    self.text += f"{source[copied : token.start]}{_EVENT}.{name}"
                    copied = self._tokens[after - 1].end
                else:
                    known.add(token.text)
            at = after
        self.text += source[copied:]
        self.known = frozenset(known)

    def _macro_variable(self, at: int) -> str:
        """Give the variable if this is the name of a macro: the `x` of `.exists(x, ...)`."""
        before, macro, bracket, variable, comma = self._tokens[at - 1 : at + 4]
        is_macro = macro.text in _MACROS and (before.text, bracket.text, comma.text) == (".", "(", ",")
        return variable.text if is_macro and variable.kind == "word" else ""

    def _is_field(self, at: int) -> bool:
        before, token, behind = self._tokens[at - 1 : at + 2]
        return (
            token.kind == "word"
            and before.text != "."  # then it is a key of something, or a method
            and behind.text != "("  # then it is a function
            and token.text not in _LITERALS
            and all(token.text != name for _, name in self._bound)
        )

    def _path(self, at: int) -> tuple[Path, int]:
        """Read `a.b["c"]`; give its keys (none if it is a function's name space) and what comes next."""
        path = [self._tokens[at].text]
        at += 1
        while path != [_TAG]:
            first, second, third = self._tokens[at : at + 3]
            if first.text == "." and second.kind == "word":
                if third.text == "(":  # a method
                    return (() if f"{path[0]}.{second.text}" in self._functions else tuple(path)), at
                path.append(second.text)
                at += 2
            elif (first.text, second.kind, third.text) == ("[", "string", "]"):
                key = _literal(second.text)
                if key is None:
                    break
                path.append(key)
                at += 3
            else:
                break
        if self._tokens[at].text == "{":
            raise ExpressionError(f"{'.'.join(path)}{{...}} makes a message, and there are none here")
        return tuple(path), at


def _literal(text: str) -> str | None:
    """Read the literal of a key; None if it is none that a field's name can hold."""
    import cel

    try:
        value = cel.evaluate(text)
        if isinstance(value, str) and parse_field(format_field((value,))):
            return value
    except ValueError:  # not well formed, which compiling will tell, or with a quote in it: CEL looks it up itself
        pass
    return None


def _clean(value: Any, depth: int = 0) -> Any:
    """Make a value that the library can take: no lone surrogates, not too deep."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if depth > _DEEPEST:
        raise ValueError(f"a value is nested more than {_DEEPEST} levels deep")
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item, depth + 1) for key, item in value.items()}
    return value


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
