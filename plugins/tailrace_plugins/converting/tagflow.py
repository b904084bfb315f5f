"""Which tags events can have at a place of a fluentd config, and what a pattern makes of them.

Of a tag that was made of data only its shape is known: `audit.$1` is `audit` and one part or more. So a pattern takes
all events of a shape, none, or it cannot be told; that answer is always safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from fnmatch import fnmatchcase

from tailrace_plugins.converting.outcome import Untranslatable

Shape = tuple[str | None, ...]
"""The parts of a tag; None stands for one unknown part or more."""


class Takes(Enum):
    """What a pattern takes of a flow."""

    ALL = "all"
    NONE = "none"
    SOME = "some"


@dataclass(frozen=True)
class Flow:
    """Events that take the same way, told from others by their tags."""

    shapes: tuple[Shape, ...]
    prefix: str = ""  # a first part that the conversion has put before their tags, to tell them from others
    present: frozenset[str] = frozenset()  # fields that all of them have, for a filter has set them
    time_key: str = ""  # the field that the source took for the time, and out of the events
    alone: bool = True  # there are no other events in the pipeline

    def takes(self, pattern: str) -> Takes:
        """Tell how much of it a pattern takes."""
        alternatives = [each.split(".") for each in expand(pattern)]
        if all(any(_must(parts, shape) for parts in alternatives) for shape in self.shapes):
            return Takes.ALL
        if any(_can(parts, shape) for parts in alternatives for shape in self.shapes):
            return Takes.SOME
        return Takes.NONE

    def clean_split(self, pattern: str) -> tuple[Flow, Flow] | None:
        """Give those that a pattern takes, and the others, if their tags are known."""
        if self.prefix or any(None in shape for shape in self.shapes):
            return None
        taken = tuple(shape for shape in self.shapes if replace(self, shapes=(shape,)).takes(pattern) is Takes.ALL)
        rest = tuple(shape for shape in self.shapes if shape not in taken)
        return replace(self, shapes=taken, alone=False), replace(self, shapes=rest, alone=False)

    def match(self, pattern: str | None = None) -> str | None:
        """Give the pattern by which a stage takes these events, those that `pattern` takes; None: all there are."""
        if pattern is not None and self.takes(pattern) is Takes.ALL:
            pattern = None
        if self.prefix:
            return " ".join(f"{self.prefix}.{each}" for each in expand(pattern or "**"))
        if self.alone:
            return pattern
        kept = self if pattern is None else (self.clean_split(pattern) or (self,))[0]
        return " ".join(".".join("*.**" if part is None else part for part in shape) for shape in kept.shapes)

    def tag(self, first: int = 0, end: int | None = None) -> str:
        """Give some parts of the tag as a template has them, counted without the prefix."""
        own = bool(self.prefix)
        start = first + own if first >= 0 else first
        stop = end + own if end is not None and end >= 0 else end
        if stop is not None and stop in (start + 1, 0):
            return f"{{tag[{start}]}}"
        if not start and stop is None:
            return "{tag}"
        return f"{{tag[{start or ''}:{'' if stop is None else stop}]}}"

    def part(self, at: int) -> str:
        """Give one part of the tag; if it is the last, and made of data, with all the dots that it may have."""
        if at >= 0 and all(len(shape) == at + 1 and shape[at] is None for shape in self.shapes):
            return self.tag(at)
        return self.tag(at, at + 1)

    def without(self, prefix: str) -> int:
        """Give the number of parts of a prefix that all these tags have."""
        parts = tuple(prefix.removesuffix(".").split("."))
        if any(shape[: len(parts)] != parts for shape in self.shapes):
            raise Untranslatable(f"not every tag here begins with the parts {prefix}")
        return len(parts)


def expand(pattern: str) -> Iterator[str]:
    """Give the alternatives of a pattern: `a.{b,c} d` is `a.b`, `a.c` and `d`. Raises Untranslatable."""
    if "#{" in pattern:
        raise Untranslatable("the pattern has Ruby in it")
    for each in pattern.split():
        if each.startswith("/"):
            raise Untranslatable("the pattern is a regular expression")
        yield from _braces(each)


def _braces(pattern: str) -> Iterator[str]:
    before, sign, rest = pattern.partition("{")
    if not sign:
        yield pattern
        return
    depth, begin, choices = 1, 0, []
    for at, letter in enumerate(rest):
        depth += (letter == "{") - (letter == "}")
        if (letter == "," and depth == 1) or depth == 0:
            choices.append(rest[begin:at])
            begin = at + 1
        if depth == 0:
            for choice in choices:
                yield from _braces(before + choice + rest[begin:])
            return
    raise Untranslatable("the pattern has a brace that is not closed")


def _must(pattern: list[str], shape: Shape) -> bool:
    """Tell whether a pattern takes every tag of a shape."""
    if pattern == ["**"]:
        return True
    if not pattern or not shape:
        return not pattern and not shape
    if shape[0] is None:
        return pattern == ["*", "**"]
    return fnmatchcase(shape[0], _glob(pattern[0])) and pattern[0] != "**" and _must(pattern[1:], shape[1:])


def _can(pattern: list[str], shape: Shape) -> bool:
    """Tell whether a pattern takes any tag of a shape."""
    if not pattern or not shape:
        return (not shape and all(part == "**" for part in pattern)) if not shape else False
    if pattern[0] == "**":
        return _can(pattern[1:], shape) or _can(pattern, shape[1:])
    if shape[0] is None:
        return _can(pattern[1:], shape[1:]) or _can(pattern[1:], shape) or _can([*pattern[1:]], (None, *shape[1:]))
    return fnmatchcase(shape[0], _glob(pattern[0])) and _can(pattern[1:], shape[1:])


def _glob(part: str) -> str:
    """Write a part of a pattern for `fnmatch`, in which `[` and `?` mean something too."""
    return part.replace("[", "[[]").replace("?", "[?]")


def joined(pieces: Iterable[str | None]) -> Shape:
    """Give the shape of a tag that is made of texts and of what is unknown (None)."""
    parts: list[str | None] = [""]
    for piece in pieces:
        if piece is None:
            parts[-1] = None
            continue
        first, *others = piece.split(".")
        if parts[-1] is not None:
            parts[-1] += first
        parts += others
    return tuple(part for part in parts if part != "")
