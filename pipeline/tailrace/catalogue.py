"""The stages that a registry has, described in Markdown."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

from tailrace.options import did_you_mean
from tailrace.reference import stage_reference
from tailrace.registry import KINDS, Kind, Registry, RegistryError


class UnknownKind(LookupError):  # noqa: N818
    """There is no such kind of stage; the message says which there are."""


def describe(registry: Registry, kind: str | None, name: str | None) -> str:
    """Describe one stage with its options, or list those of a kind, or all.

    Raises UnknownKind, and RegistryError if there is no such stage or it cannot be loaded.
    """
    if kind is None:
        return "\n".join(_table(registry, KINDS))
    for known in KINDS:
        if known == kind:
            if name is None:
                return "\n".join(_table(registry, [known]))
            return stage_reference(known, name, registry.get(known, name))
    raise UnknownKind(f'"{kind}" is not a kind of stage{did_you_mean(kind, KINDS)} (there are: {", ".join(KINDS)})')


def _table(registry: Registry, kinds: Iterable[Kind]) -> Iterator[str]:
    yield "| Kind | Name | What it does |"
    yield "|---|---|---|"
    for kind in kinds:
        for name in registry.names(kind):
            yield f"| {kind} | {name} | {_first_line(registry, kind, name)} |"


def _first_line(registry: Registry, kind: Kind, name: str) -> str:
    """Give the first line of the stage's docstring, or why the stage cannot be loaded."""
    try:
        text = inspect.getdoc(registry.get(kind, name)) or ""
    except RegistryError as error:
        text = f"not available: {error}"
    return text.partition("\n")[0].replace("|", r"\|")
