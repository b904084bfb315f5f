"""The options that a class declares, in plain words, and the check of a config against them.

A class is a `msgspec.Struct`: each field is an option with its type, default and description
(`Annotated[int, Meta(description="...")] = 1`). The parser, the error messages and the reference follow.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, reduce
from operator import getitem
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from tailrace.document import Broken, Place, Plain, Problem, Value
from tailrace.stage import OptionError

T = TypeVar("T", bound=msgspec.Struct)
Steps = list[str | int]  # keys and indexes on the way from a value to one inside it

_AT = re.compile(r" - at `(?:key` in `)?\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|(\[\.\.\.\])")
_ANY_KEY = "[...]"  # msgspec does not say which
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")
_MISSING = re.compile(r"Object missing required field `(.*?)`")
_NEEDS_QUOTES = re.compile(r"Expected `str.*, got `(?:bool|date|datetime|float|int)`")
_WORDS = {
    "any": "anything",
    "array": "list",
    "bool": "true or false",
    "int": "whole number",
    "float": "number",
    "none": "nothing",
    "null": "nothing",
    "object": "mapping",
    "str": "string",
    "struct": "mapping",
}


class Option(NamedTuple):
    """One option as its class declares it."""

    name: str  # in the config
    attribute: str  # in Python
    type: Any
    info: inspect.Type
    required: bool
    default: Any
    description: str


@cache  # each is asked for twice at a start, when it is loaded and when its options are read
def declared(cls: type[msgspec.Struct]) -> Sequence[Option]:
    """List the options of a class, inherited ones included, in the order of their declaration.

    Raises TypeError or NameError if a type cannot be understood.
    """
    fields = msgspec.structs.fields(cls)
    options = []
    for field, info in zip(fields, inspect.multi_type_info([field.type for field in fields]), strict=True):
        default = None if field.default is msgspec.NODEFAULT else field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        about = _description(info)
        options.append(Option(field.encode_name, field.name, field.type, info, field.required, default, about))
    return tuple(options)


def describe(info: inspect.Type) -> str:
    """Say in plain words what an option's type takes: "whole number >= 1", "list of string"."""
    match info:
        case inspect.Metadata(type=inner):
            return describe(inner)
        case inspect.UnionType(types=types):
            return " or ".join(describe(one) for one in types if not isinstance(one, inspect.NoneType))
        case inspect.LiteralType(values=values):
            return " or ".join(json.dumps(value) for value in values)
        case inspect.EnumType(cls=cls):
            return " or ".join(json.dumps(member.value) for member in cls)
        case inspect.ListType(item_type=inner):
            return f"list of {describe(inner)}"
        case inspect.DictType(value_type=inner):
            return f"mapping to {describe(inner)}"
        case inspect.IntType() | inspect.FloatType():
            bounds = {">": info.gt, ">=": info.ge, "<": info.lt, "<=": info.le}
            limits = (f"{sign} {bound}" for sign, bound in bounds.items() if bound is not None)
            return " ".join([_word(info), *limits])
    return _word(info)


def check(cls: type[msgspec.Struct], table: Value, what: str, problems: list[Problem]) -> dict[str, Any] | None:
    """Check each key of `table` on its own against the options of `cls`; give their values by attribute.

    `what` names the thing in messages (`filter "extract"`). None if anything is wrong; `problems` then says
    what, unless that was said already when the file was read.
    """
    if not isinstance(table.data, dict):
        problems.append(table.place.problem(f"{what}: expected a mapping of options"))
        return None
    known = len(problems)
    options = {option.name: option for option in declared(cls)}
    values = {}
    for name, entry in table.data.items():
        if name in options:
            values[options[name].attribute] = _convert(options[name], entry.value, what, problems)
        else:
            message = f'{what} has no option "{name}"{did_you_mean(name, options)}'
            problems.append(entry.place.problem(message))
    for option in options.values():
        if option.required and option.name not in table.data:
            about = f" ({option.description.rstrip('.')})" if option.description else ""
            problems.append(table.place.problem(f'{what} needs the option "{option.name}"{about}'))
    return None if len(problems) > known or table.is_broken() else values


def build(cls: type[T], table: Value, what: str, problems: list[Problem]) -> T | None:
    """Make the instance of `cls` that `table` describes, or note in `problems` why that cannot be."""
    values = check(cls, table, what, problems)
    if values is None:
        return None
    make: Callable[..., T] = cls
    try:
        return make(**values)
    except OptionError as error:
        place = _at(table, _steps("." + error.option)).place
        problems.append(place.problem(f'{what}, option "{error.option}": {error}'))
    except ValueError as error:
        problems.append(table.place.problem(f"{what}: {error}"))
    return None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Finish a sentence about a name that does not exist with the nearest one that does, if one is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def mention(table: Value, text: str) -> Place:
    """Find the option that mentions `text`, rather as a whole than inside another text; or else the table."""
    inside = re.compile(rf"(?<![\w.]){re.escape(text)}(?!\w)")
    entries = table.data.items() if isinstance(table.data, dict) else ()
    texts = (pair for key, entry in entries if key != "type" for pair in _texts(entry.value))
    found = [(said, place) for said, place in texts if inside.search(said)]
    return min(found, key=lambda pair: pair[0] != text, default=("", table.place))[1]


def _texts(value: Value) -> Iterator[tuple[str, Place]]:
    if isinstance(value.data, str):
        yield value.data, value.place
    elif isinstance(value.data, list):
        for item in value.data:
            yield from _texts(item)
    elif isinstance(value.data, dict):
        for key, entry in value.data.items():
            yield key, entry.place
            yield from _texts(entry.value)


# Types in plain words


def _word(info: inspect.Type) -> str:
    if isinstance(info, inspect.CustomType):
        return info.cls.__name__
    name = type(info).__name__.removesuffix("Type").lower()
    return _WORDS.get(name, name)


def _description(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata(extra_json_schema={"description": str(text)}):
            return text
        case inspect.UnionType(types=types):
            return next(filter(None, map(_description, types)), "")
    return ""


def _types_at(info: inspect.Type, steps: Steps) -> Iterator[inspect.Type]:
    """Give the types that a value inside one of type `info` can have."""
    match info:
        case inspect.Metadata(type=inner):
            yield from _types_at(inner, steps)
        case inspect.UnionType(types=types):
            for one in types:
                yield from _types_at(one, steps)
        case _ if not steps:
            yield info
        case inspect.ListType(item_type=inner) | inspect.DictType(value_type=inner):
            yield from _types_at(inner, steps[1:])
        case inspect.StructType(fields=fields):
            for field in fields:
                if field.encode_name == steps[0]:
                    yield from _types_at(field.type, steps[1:])


# Checking one value


def _error(option: Option, plain: Plain) -> msgspec.ValidationError | None:
    try:
        msgspec.convert(plain, option.type, strict=True, str_keys=True)
    except msgspec.ValidationError as error:
        return error
    return None


def _convert(option: Option, value: Value, what: str, problems: list[Problem]) -> Any:
    error = _error(option, value.plain())
    if error is None:
        return msgspec.convert(value.plain(), option.type, strict=True, str_keys=True)
    steps = _way(option, value, error)
    wrong = _at(value, steps)
    place = wrong.place
    if (unknown := _UNKNOWN.match(str(error))) and isinstance(wrong.data, dict):
        place = wrong.data[unknown[1]].place
    if not isinstance(wrong.data, Broken):
        message = _in_plain_words(option, steps, wrong, error)
        problems.append(place.problem(f'{what}, option "{option.name}": {message}'))
    return None


def _in_plain_words(option: Option, steps: Steps, wrong: Value, error: msgspec.ValidationError) -> str:
    if isinstance(error.__cause__, ValueError):
        return str(error.__cause__)
    text = _AT.sub("", str(error))
    types = list(_types_at(option.info, steps))
    if unknown := _UNKNOWN.match(text):
        keys = [field.encode_name for one in types if isinstance(one, inspect.StructType) for field in one.fields]
        return f'there is no key "{unknown[1]}" here{did_you_mean(unknown[1], keys)}'
    if missing := _MISSING.match(text):
        return f'the key "{missing[1]}" is missing'
    if text.startswith("Invalid enum value"):
        return f"expected {describe(inspect.UnionType(tuple(types)))}, got {json.dumps(wrong.data, default=str)}"
    hint = "; put it in quotes" if _NEEDS_QUOTES.match(text) else ""
    words = re.sub(r"`([^`]*)`", lambda quoted: " or ".join(map(_with_article, quoted[1].split(" | "))), text)
    return words[:1].lower() + words[1:] + hint


def _with_article(name: str) -> str:
    word = _WORDS.get(name, name)
    return word if word in ("nothing", "true or false") else f"a {word}"


# Finding the place inside a value


def _steps(path: str) -> Steps:
    return [int(index) if index else key or any_key for key, index, any_key in _STEP.findall(path)]


def _path(error: msgspec.ValidationError) -> Steps:
    found = _AT.search(str(error))
    steps = _steps(found[1]) if found else []
    if isinstance(error.__cause__, OptionError):
        steps += _steps("." + error.__cause__.option)
    return steps


def _way(option: Option, value: Value, error: msgspec.ValidationError) -> Steps:
    """Find the way to the value that msgspec complains of; where it hides a key, try them one by one."""
    steps = _path(error)
    plain: Any = value.plain()
    while _ANY_KEY in steps:
        at = steps.index(_ANY_KEY)
        holder = reduce(getitem, steps[:at], plain)
        for key, inner in list(holder.items()):
            holder.clear()
            holder[key] = inner
            same = _error(option, plain)
            if same is not None and len(_path(same)) > at:
                steps = [*steps[:at], key, *_path(same)[at + 1 :]]
                break
        else:
            return steps[:at]
    return steps


def _at(value: Value, steps: Steps) -> Value:
    """Follow `steps` as far as they lead."""
    for step in steps:
        if isinstance(value.data, list) and isinstance(step, int):
            value = value.data[step]
        elif isinstance(value.data, dict) and isinstance(step, str) and step in value.data:
            value = value.data[step].value
        else:
            break
    return value
