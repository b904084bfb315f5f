"""From config files to pipelines that can run, or to all that is wrong with them.

Each part is checked on its own, so that one look shows every problem. What cannot be known because another
part is broken (the fields that a filter would have written) is not guessed at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from tailrace import auditevent
from tailrace.address import Address, parse_address
from tailrace.document import Broken, Entry, Place, Problem, Value, parse
from tailrace.fields import Path as FieldPath
from tailrace.fields import format_field, parse_field
from tailrace.match import TagPattern
from tailrace.options import build, check, did_you_mean, mention
from tailrace.registry import Kind, Registry, RegistryError, stage_name
from tailrace.settings import FileOptions, PipelineOptions
from tailrace.stage import Filter, Sink, Source, Stage, needs_one_worker

__all__ = ["Config", "ConfigError", "Plan", "Problem", "load"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class ConfigError(Exception):
    """Config files cannot be used; `problems` is all that is wrong with them, in the order of the files."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Plan:
    """A pipeline as a config describes it, its stages made and not yet opened."""

    name: str
    file: str
    state_dir: Path  # of all pipelines; this one's is the directory of its name in it
    source: Source
    filters: tuple[Filter, ...]
    sinks: Mapping[str, Sink]  # by their names in the checkpoint
    commit_interval: float  # seconds
    workers: int = 1  # processes
    types: tuple[str, ...] = ()  # of all stages, in order, as the config names them
    options: str = ""  # all that the config says of it, as text, after the environment was put in

    @property
    def needs_one_worker(self) -> bool:
        """Whether its events cannot be shared out among several processes."""
        return any(map(needs_one_worker, (self.source, *self.filters)))

    def is_same(self, other: Plan) -> bool:
        """Tell whether the other one runs as this one does, whatever file it stands in."""
        return self._identity() == other._identity()

    def _identity(self) -> tuple[object, ...]:
        stages = (self.source, *self.filters, *self.sinks.values())
        files = tuple(tuple(stage.loaded()) for stage in stages)
        return self.name, self.state_dir, self.options, tuple(map(type, stages)), files


@dataclass(frozen=True)
class Config:
    """What config files declare together."""

    plans: tuple[Plan, ...]
    admin: Address | None = None

    def with_workers(self, number: int | None) -> Config:
        """Give the same with so many workers for each pipeline that can have more than one; None: as it is."""
        if number is None:
            return self
        return replace(
            self, plans=tuple(plan if plan.needs_one_worker else replace(plan, workers=number) for plan in self.plans)
        )


def load(
    paths: Sequence[str | Path], registry: Registry, environ: Mapping[str, str], *, follows: bool = False
) -> Config:
    """Read config files and make their pipelines; with `follows` such as can run without an end.

    The plug-in folders of all files are added to a copy of `registry`. Raises ConfigError.
    """
    loader = _Loader(registry.copy(), follows)
    roots = [root for path in paths if (root := loader.read(str(path), environ)) is not None]
    for root in roots:
        loader.add_plugins(root)
    plans = tuple(plan for root in roots for plan in loader.plans(root))
    if loader.problems:
        order = {str(path): number for number, path in enumerate(paths)}
        unique = dict.fromkeys(loader.problems)  # what an alias repeats is wrong once
        raise ConfigError(sorted(unique, key=lambda found: (order[found.file], found.line, found.column)))
    return Config(plans, loader.admin)


_Made = tuple[Stage | None, Value]  # a stage, or None if it could not be made, and its options


class _Loader:
    """Makes plans of documents and notes what is wrong with them."""

    def __init__(self, registry: Registry, follows: bool) -> None:
        self.problems: list[Problem] = []
        self._follows = follows
        self.admin: Address | None = None
        self._admin_place: Place | None = None
        self._registry = registry
        self._names: dict[str, Place] = {}  # of pipelines
        self._outputs: dict[tuple[type[Stage], str], Place] = {}  # by class of the sink and path

    def read(self, file: str, environ: Mapping[str, str]) -> Value | None:
        try:
            text = Path(file).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"not UTF-8: {error.reason}"
            self.problems.append(Place(file).problem(f"cannot read the config file: {reason}"))
            return None
        root, problems = parse(text, file, environ)
        self.problems += problems
        return root

    def add_plugins(self, root: Value) -> None:
        for value in _tables(root, "plugins"):
            if isinstance(value.data, str):
                try:
                    self._registry.add_folder(Path(value.place.file).parent / value.data)
                except RegistryError as error:
                    self.problems += map(value.place.problem, error.messages)

    def plans(self, root: Value) -> Iterator[Plan]:
        check(FileOptions, root, "the config file", self.problems)
        self._take_admin(root.get("admin"))
        pipelines = root.get("pipelines")
        if pipelines is not None and isinstance(pipelines.data, dict):
            for name, entry in pipelines.data.items():
                plan = self._plan(name, entry, _text(root, "state_dir"))
                if plan is not None:
                    yield plan

    def _take_admin(self, options: Value | None) -> None:
        listen = options.get("listen") if options is not None else None
        if listen is None or not isinstance(listen.data, str):
            return
        try:
            address = parse_address(listen.data)
        except ValueError:
            return  # `check` has said so
        if self._admin_place is None:
            self.admin, self._admin_place = address, listen.place
        elif self.admin != address:
            message = f"there is one admin server for all config files, and {self._admin_place} has it at {self.admin}"
            self.problems.append(listen.place.problem(f"{message}, not at {address}; remove one of them"))

    def _plan(self, name: str, entry: Entry, state_dir: str | None) -> Plan | None:
        table = entry.value
        self._check_name(name, entry.place)
        settings = check(PipelineOptions, table, f'pipeline "{name}"', self.problems)
        sources = self._stages("source", _tables(table, "source"))
        filters = self._stages("filter", _tables(table, "filters"))
        sinks = self._stages("sink", _tables(table, "sinks"))
        if _text(table, "schema") in (None, "audit"):
            sound = [made for made in sources if made[0] is not None]  # one that is not will hardly write fields
            self._check_fields([*sound, *filters], sinks)
        if settings is not None and settings.get("workers", 1) > 1:
            self._check_workers(table, [stage for stage, _ in (*sources, *filters) if stage is not None])
        for stage, value in sources if self._follows else ():
            if isinstance(stage, Source) and (reason := stage.once_only()):
                self.problems.append(value.place.problem(f"{reason}; run it with --once"))
        made = all(stage is not None for stage, _ in (*sources, *filters, *sinks))
        if settings is None or state_dir is None or not made:
            return None
        [source] = [stage for stage, _ in sources if isinstance(stage, Source)]
        names = _sink_names([value for _, value in sinks])
        return Plan(
            name,
            entry.place.file,
            Path(state_dir),
            source,
            tuple(stage for stage, _ in filters if isinstance(stage, Filter)),
            dict(zip(names, (stage for stage, _ in sinks if isinstance(stage, Sink)), strict=True)),
            settings.get("commit_interval", 1.0),
            settings.get("workers", 1),
            tuple(_text(value, "type") or "" for _, value in (*sources, *filters, *sinks)),
            repr(table.plain()),  # in which 1, 1.0, true and "1" differ, as they do not in a comparison
        )

    def _check_workers(self, table: Value, stages: Iterable[Stage]) -> None:
        entry = table.get("workers")
        for stage in stages:
            if entry is not None and needs_one_worker(stage):
                kind = "source" if isinstance(stage, Source) else "filter"
                message = f'the {kind} "{stage_name(type(stage))}" allows for one worker only; take 1, or leave it out'
                self.problems.append(entry.place.problem(message))

    def _check_name(self, name: str, place: Place) -> None:
        if not _NAME.fullmatch(name):
            message = f'"{name}" cannot name a pipeline; take letters and digits, then also _ and -'
            self.problems.append(place.problem(message))
        other = self._names.setdefault(name, place)
        if other is not place:
            message = f'there is another pipeline "{name}" ({other}), and log and metrics tell them by name; rename one'
            self.problems.append(place.problem(message))

    def _stages(self, kind: Kind, tables: Iterable[Value]) -> list[_Made]:
        return [(self._stage(kind, table), table) for table in tables]

    def _stage(self, kind: Kind, table: Value) -> Stage | None:
        if not isinstance(table.data, dict):
            return None  # `check` has said so
        named = table.data.get("type")
        if named is None:
            there_are = ", ".join(self._registry.names(kind))
            message = f'this {kind} needs the option "type" (there are: {there_are})'
            self.problems.append(table.place.problem(message))
            return None
        name, place = named.value.data, named.value.place
        if not isinstance(name, str):
            if not isinstance(name, Broken):
                self.problems.append(place.problem(f"the type of a {kind} is a string; put it in quotes"))
            return None
        try:
            cls = self._registry.get(kind, name)
        except RegistryError as error:
            self.problems += map(place.problem, error.messages)
            return None
        what = f'{kind} "{name}"'
        pattern = table.get("match")
        if kind != "source" and pattern is not None and isinstance(pattern.data, str):
            try:
                TagPattern(pattern.data)
            except ValueError as error:
                self.problems.append(pattern.place.problem(f'{what}, option "match": {error}'))
        if kind == "sink":
            self._check_output(cls, what, table)
        options = {key: entry for key, entry in table.data.items() if key != "type"}
        return build(cls, Value(table.place, options), what, self.problems)

    def _check_output(self, cls: type[Stage], what: str, table: Value) -> None:
        path = table.get("path")
        if path is not None and isinstance(path.data, str):
            other = self._outputs.setdefault((cls, os.path.normpath(path.data)), path.place)
            if other is not path.place:  # an alias has the same lines and columns, and is another place
                message = f"{what} has the same path as the one at {other}; a file can have one writer only"
                self.problems.append(path.place.problem(message))

    def _check_fields(self, before: Iterable[_Made], sinks: Iterable[_Made]) -> None:
        """Check the fields that stages read, as far as it is known what the filters before them write."""
        written: list[FieldPath] = []
        for stage, table in before:
            if stage is None:
                return
            self._check_reads(stage, table, written)
            written += self._paths(stage.writes(), table)
        for stage, table in sinks:
            if stage is not None:
                self._check_reads(stage, table, written)

    def _check_reads(self, stage: Stage, table: Value, written: list[FieldPath]) -> None:
        for path in self._paths(stage.reads(), table):
            if not _is_known(path, written):
                field = format_field(path)
                near = did_you_mean(field, [*auditevent.FIELDS, *map(format_field, written)])
                message = f'an audit event has no field "{field}", and no earlier filter writes it{near}'
                message += " (for other logs: schema: any)"
                self.problems.append(mention(table, field).problem(message))

    def _paths(self, fields: Iterable[str], table: Value) -> list[FieldPath]:
        paths = []
        for field in fields:
            try:
                paths.append(parse_field(field))
            except ValueError as error:
                self.problems.append(mention(table, field).problem(str(error)))
        return paths


def _is_known(path: FieldPath, written: Iterable[FieldPath]) -> bool:
    return auditevent.has_field(path) or any(
        all(mine == theirs for mine, theirs in zip(path, other, strict=False)) for other in written
    )


def _sink_names(tables: Iterable[Value]) -> list[str]:
    """Name sinks by what they write to, for that is what recorded lengths belong to, whatever the order."""
    names: list[str] = []
    for table in tables:
        path = _text(table, "path")
        name = " ".join(filter(None, (_text(table, "type"), path)))
        numbered = (f"{name}-{number}" for number in count(2))
        names.append(name if name not in names else next(other for other in numbered if other not in names))
    return names


def _tables(table: Value, key: str) -> list[Value]:
    """Give the members of a list; a single mapping counts as one, for it can be checked all the same."""
    value = table.get(key)
    if value is not None and isinstance(value.data, list):
        return value.data
    return [value] if value is not None and isinstance(value.data, dict) else []


def _text(table: Value, key: str) -> str | None:
    value = table.get(key)
    return value.data if value is not None and isinstance(value.data, str) else None
