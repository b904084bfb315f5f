"""The reference of all options as Markdown, made from the classes that declare them.

`python -m tailrace.reference FILE` writes it, with `--check` it only tells whether the file is current.
"""

from __future__ import annotations

import argparse
import inspect as python_inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from tailrace.options import Option, declared, describe
from tailrace.registry import KINDS, Kind, Registry
from tailrace.settings import FileOptions, PipelineOptions
from tailrace.stage import Stage

_INTRODUCTION = """\
# Reference of the configuration

Made by `python -m tailrace.reference`; do not edit.

A config is YAML. In values, `${NAME}` is the environment variable NAME and `${NAME:-default}` has a default
for when it is unset or empty; `$$` is a `$`.
"""


def reference(registry: Registry) -> str:
    """Describe the whole configuration: the keys of a file, and every stage of the registry.

    Raises RegistryError if a stage cannot be loaded.
    """
    parts = [
        _INTRODUCTION,
        f"## The file\n\n{_table(FileOptions)}",
        f"## `pipelines.NAME`\n\n{_table(PipelineOptions)}",
    ]
    for kind in KINDS:
        parts.append(f"## {kind.title()}s\n")
        parts += [stage_reference(kind, name, registry.get(kind, name)) for name in registry.names(kind)]
    return "\n".join(parts)


def stage_reference(kind: Kind, name: str, cls: type[Stage]) -> str:
    """Describe one stage: its name, what its class says of itself, and its options."""
    about = python_inspect.cleandoc(cls.__doc__ or "")
    parts = [f"### {kind} `{name}`\n", f"{about}\n" if about else "", _table(cls)]
    return "\n".join(filter(None, parts))


def _table(cls: type[msgspec.Struct]) -> str:
    rows = list(_rows(declared(cls), ""))
    if not rows:
        return "It has no options.\n"
    return "\n".join(["| Option | Type | Default | Description |", "|---|---|---|---|", *rows, ""])


def _rows(options: Sequence[Option], prefix: str) -> Iterator[str]:
    for option in options:
        default = "required" if option.required else _default(option.default)
        cells = (f"`{prefix}{option.name}`", describe(option.info), default, option.description)
        yield "| " + " | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in cells) + " |"
        for mark, nested in _nested(option.info):
            yield from _rows(declared(nested), f"{prefix}{option.name}{mark}.")


def _default(value: Any) -> str:
    return "" if value is None else f"`{msgspec.json.encode(value).decode()}`"


def _nested(info: inspect.Type) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Find the structs inside an option, with `[]` where they stand in a list and `.NAME` in a mapping."""
    match info:
        case inspect.StructType(cls=cls):
            yield "", cls
        case inspect.Metadata(type=inner):
            yield from _nested(inner)
        case inspect.UnionType(types=types):
            for one in types:
                yield from _nested(one)
        case inspect.ListType(item_type=inner):
            yield from (("[]" + mark, cls) for mark, cls in _nested(inner))
        case inspect.DictType(value_type=inner):
            yield from ((".NAME" + mark, cls) for mark, cls in _nested(inner))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the reference of the installed stages to a file, or check it; 1 if it is not current."""
    parser = argparse.ArgumentParser(prog="python -m tailrace.reference", description=main.__doc__)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args(arguments)
    text = reference(Registry.standard())
    if not options.check:
        options.file.write_text(text, encoding="utf-8")
        return 0
    if options.file.exists() and options.file.read_text(encoding="utf-8") == text:
        return 0
    print(f"{options.file} is not current; run: python -m tailrace.reference {options.file}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
