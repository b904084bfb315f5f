"""What comes of a conversion: pipelines, and a remark on all that is not in them or is there in another form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from tailrace.document import Place, Plain, Problem

_LIKE: Final = {
    "elasticsearch": "elasticsearch",
    "elasticsearch_data_stream": "elasticsearch",
    "elasticsearch_dynamic": "elasticsearch",
    "http": "webhook",
    "opensearch": "elasticsearch",
    "s3": "file, with the option upload",
}
"""Sinks that do what an output did, but with options that are not translated."""


class ParseError(Exception):
    """A config that cannot be read; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Remark(NamedTuple):
    """What is said of a place in the old config."""

    place: Place
    what: str
    why: str

    def __str__(self) -> str:
        place = self.place
        return visible(f"{place.file}:{place.line}:{place.column}: {self.what}: {self.why}")


class Node(Protocol):
    """A part of the old config."""

    place: Place
    seen: bool  # it is translated, or something is said of it

    def __str__(self) -> str:
        """Name it, without its value."""


@dataclass
class NewStage:
    """A source, filter or sink of the new config."""

    options: dict[str, Plain]
    comments: list[str] = field(default_factory=list)


@dataclass
class NewPipeline:
    """A pipeline of the new config."""

    name: str
    source: NewStage
    filters: list[NewStage] = field(default_factory=list)
    sinks: list[NewStage] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)


def no_sink(name: str, *, translated: str) -> str:
    """Say that an output is not translated, and what does its work here, if anything does."""
    if name in _LIKE:
        return f"its options are not translated; write it by hand, with the sink {_LIKE[name]}"
    return f"there is no sink like {name}; there are {translated}"


class Outcome:
    """The new pipelines and what is to be said of the old config.

    `remainder` is what could not be translated, `needless` what need not be, `notes` what is done in another way. Of
    one place each thing is said once.
    """

    def __init__(self, collector: str) -> None:
        self.collector = collector
        self.pipelines: list[NewPipeline] = []
        self.remainder: list[Remark] = []
        self.needless: list[Remark] = []
        self.notes: list[Remark] = []
        self.variables: dict[str, str] = {}  # of the environment, and what they are
        self.files: dict[str, bytes] = {}  # to be written beside the config, by path

    def fail(self, node: Node, why: str) -> None:
        """Say that something could not be translated."""
        _add(self.remainder, node, why)

    def spare(self, node: Node, why: str) -> None:
        """Say that something need not be translated."""
        _add(self.needless, node, why)

    def note(self, node: Node, why: str) -> None:
        """Say that something is done in another way."""
        _add(self.notes, node, why)

    def name(self, wanted: str) -> str:
        """Give a name that no pipeline has yet: letters, digits, `_` and `-`."""
        kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in wanted).strip("-")
        kept = kept or self.collector
        taken = {pipeline.name for pipeline in self.pipelines}
        number = 1
        name = kept
        while name in taken:
            number += 1
            name = f"{kept}-{number}"
        return name

    def add(self, pipeline: NewPipeline, node: Node) -> None:
        """Take a pipeline, if it writes anywhere. `node` is where it begins."""
        taken = {sink.options.get("path"): each.name for each in self.pipelines for sink in each.sinks}
        for sink in list(pipeline.sinks):
            path = sink.options.get("path")
            if path is not None and path in taken:
                pipeline.sinks.remove(sink)
                self.fail(node, f"its events would go to {path} too, where those of the pipeline {taken[path]} go")
        if pipeline.sinks:
            self.pipelines.append(pipeline)
        else:
            self.fail(node, "its events would go nowhere, so there is no pipeline for them")


def _add(remarks: list[Remark], node: Node, why: str) -> None:
    node.seen = True
    remark = Remark(node.place, str(node), why)
    if remark not in remarks:
        remarks.append(remark)


class Untranslatable(Exception):  # noqa: N818 - it is said in a remark and ends nothing
    """Something has no counterpart; the message says why."""


def in_order(remarks: Iterable[Remark]) -> list[Remark]:
    """Sort remarks by where they stand in the old config."""
    return sorted(remarks, key=lambda remark: (remark.place.line, remark.place.column))


def visible(text: str) -> str:
    """Give a text in one line, without signs that change a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


_SECRET = ("password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "credential", "authorization")


def is_secret(name: str) -> bool:
    """Tell whether a value of this name should not be shown."""
    return any(word in name.lower() for word in _SECRET)
