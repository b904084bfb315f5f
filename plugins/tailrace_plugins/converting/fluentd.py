"""A fluentd config as pipelines: one for each source, with what its events go through in their order.

fluentd looks for the first `<match>` that takes an event's tag, and on its way applies each `<filter>` that does; an
event that gets a new tag begins anew at the top. So the way of a source's events is followed through the config, and
what lies on it is the pipeline. Where a `<match>` takes only some of the events and their tags do not tell them apart
from the others, both get a first part before their tags that does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tailrace_plugins.converting import fluentdfilters, fluentdoutputs, fluentdparsing, fluentdsources
from tailrace_plugins.converting.fluentdparsing import Section
from tailrace_plugins.converting.fluentdsources import NEEDLESS, FoundSource, spare
from tailrace_plugins.converting.outcome import NewPipeline, NewStage, Outcome, Untranslatable
from tailrace_plugins.converting.presence import leave_missing_out
from tailrace_plugins.converting.tagflow import Flow, Takes

_COPY: Final = {
    "copy_mode": "no sink changes what another one writes",
    "deep_copy": "no sink changes what another one writes",
}


def convert(text: str, file: str) -> Outcome:
    """Convert a config. Raises ParseError."""
    root = fluentdparsing.parse(text, file)
    outcome = Outcome("fluentd")
    for section in root.sections:
        if section.name == "system":
            outcome.spare(section, "it is about fluentd's own process")
            section.see_all()
    found: list[tuple[Section, FoundSource]] = []
    failed = False
    for section in root.sections:
        if section.name == "source":
            try:
                found.append((section, fluentdsources.translate(section, outcome)))
            except Untranslatable as error:
                _fail(section, error, outcome)
                failed = True
    _merge(found)
    for section, source in found:
        pipeline = NewPipeline(outcome.name(_name(section, source)), source.stage)
        way = _Way(root, pipeline, source.time_fields, outcome)
        way.follow(source.flow, source.label)
        way.finish()
        leave_missing_out(pipeline)
        outcome.add(pipeline, section)
    _say_of_the_rest(root, outcome, all_sources=bool(found) and not failed)
    return outcome


def _fail(section: Section, error: Untranslatable, outcome: Outcome) -> None:
    """Say that a section could not be translated, and so nothing in it."""
    outcome.fail(section, str(error))
    section.see_all()


def _name(section: Section, source: FoundSource) -> str:
    given = section.take("@id")
    if given is not None:
        return given.text
    tag = source.stage.options["tag"]
    return str(tag) if isinstance(tag, str) and "{" not in tag else "received"


def _merge(found: list[tuple[Section, FoundSource]]) -> None:
    """Make one source of those that differ in their paths alone: their events go the same way, to the same files."""
    kept: list[tuple[Section, FoundSource]] = []
    for section, source in found:
        own = {key: value for key, value in source.stage.options.items() if key != "paths"}
        for _, other in kept:
            theirs = {key: value for key, value in other.stage.options.items() if key != "paths"}
            paths, more = other.stage.options.get("paths"), source.stage.options.get("paths")
            if own == theirs and source[1:] == other[1:] and isinstance(paths, list) and isinstance(more, list):
                paths += [path for path in more if path not in paths]
                break
        else:
            kept.append((section, source))
    found[:] = kept


def _say_of_the_rest(root: Section, outcome: Outcome, *, all_sources: bool) -> None:
    """Say of all that was not looked at why it was not: nothing is left out in silence."""
    for label in root.sections:
        if label.name == "label" and any(inner.seen for inner in label.sections):
            label.seen = True
    for part in root.unseen():
        if isinstance(part, Section) and part.name in ("match", "filter", "label"):
            if part.argument == "@ERROR":
                outcome.fail(part, "events that cannot be processed go to the dead letter (`tailrace dead-letter`)")
            elif part.argument.startswith(("fluent.", "@FLUENT_LOG")):
                outcome.spare(part, "it is about what fluentd says of itself; the log is on standard error")
            elif all_sources:
                outcome.spare(part, "no event gets here")
            else:
                outcome.fail(part, "no event gets here from a source that could be translated")
        elif not isinstance(part, Section) and part.key in ("@include", "include"):
            outcome.fail(part, "the file is not read; convert it too, or put its text here")
        else:
            outcome.fail(part, "this conversion does not know it")


class _Way:
    """The way of a source's events."""

    def __init__(self, root: Section, pipeline: NewPipeline, time_fields: list[str], outcome: Outcome) -> None:
        self._root = root
        self._pipeline = pipeline
        self._time_fields = time_fields
        self._outcome = outcome
        self._splits = 0
        self._arrived: dict[Section, list[Flow]] = {}  # where events end, and which do

    def follow(self, flow: Flow, label: str, way: tuple[Section, ...] = ()) -> None:
        """Follow events from the top of the config, or of a label, to where they end.

        `way` is where they got the tags that they have had.
        """
        for section in self._sections(label):
            takes = Takes.SOME  # for all that is known
            try:
                takes = flow.takes(section.argument or "**")
                if takes is Takes.NONE:
                    continue
                if section in way:
                    if takes is Takes.ALL:
                        raise Untranslatable("events that get a new tag here come back for ever")
                    self._outcome.note(section, "an event that gets a new tag here does not come back, where it could")
                    continue
                if section.name == "filter":
                    flow = self._filter(section, flow)
                    continue
                taken, rest = self._split(section, flow)
            except Untranslatable as error:
                _fail(section, error, self._outcome)
                if section.name == "match" and takes is Takes.ALL:
                    return
                continue
            try:
                self._match(section, taken, label, way)
            except Untranslatable as error:  # it would have taken its events all the same
                _fail(section, error, self._outcome)
            if rest is None:
                return
            flow = rest

    def _sections(self, label: str) -> list[Section]:
        if label in ("", "@ROOT"):
            return [section for section in self._root.sections if section.name in ("filter", "match")]
        inside = [section for section in self._root.sections if section.name == "label" and section.argument == label]
        return [section for each in inside for section in each.sections if section.name in ("filter", "match")]

    def _filter(self, section: Section, flow: Flow) -> Flow:
        kind = section.take("@type", "type")
        section.seen = True
        if kind is not None and kind.text == "record_transformer":
            stages, after = fluentdfilters.transformer(section, flow, self._outcome)
            if flow.takes(section.argument or "**") is not Takes.ALL:
                after = flow  # what only some of them have is not there for sure
        elif kind is not None and kind.text == "grep":
            stages, after = fluentdfilters.grep(section, self._outcome), flow
        else:
            known = "there are record_transformer and grep"
            raise Untranslatable(f"there is no filter like {kind.text if kind else 'one without @type'}; {known}")
        self._add(stages, flow.match(section.argument or "**"))
        return after

    def _add(self, stages: list[NewStage], match: str | None) -> None:
        for stage in stages:
            if match is not None and "match" not in stage.options:
                stage.options = {"type": stage.options["type"], "match": match, **stage.options}
            self._pipeline.filters.append(stage)

    def _split(self, section: Section, flow: Flow) -> tuple[Flow, Flow | None]:
        """Tell events that a `<match>` takes from the others, if there are others."""
        pattern = section.argument or "**"
        if flow.takes(pattern) is Takes.ALL:
            return flow, None
        kind = section.take("@type", "type")
        clean = flow.clean_split(pattern)
        if clean is not None and (kind is None or kind.text != "rewrite_tag_filter"):
            return clean
        self._splits += 1
        by_shape = [(shape, replace(flow, shapes=(shape,)).takes(pattern)) for shape in flow.shapes]
        some = tuple(shape for shape, takes in by_shape if takes is not Takes.NONE)
        others = tuple(shape for shape, takes in by_shape if takes is not Takes.ALL)
        taken = replace(flow, shapes=some, prefix=f"taken{self._splits}", alone=False)
        rest = replace(flow, shapes=others, prefix=f"rest{self._splits}", alone=False)
        first = NewStage({"type": "rewrite_tag", "tag": f"{rest.prefix}.{flow.tag()}"})
        first.comments.append(
            f"The first part of a tag tells the events that {section} takes from the others, for fluentd gives "
            "each event to one <match> alone."
        )
        self._add([first], flow.match())
        second = NewStage({"type": "rewrite_tag", "tag": f"{taken.prefix}.{rest.tag()}"})
        self._add([second], rest.match(pattern))
        return taken, rest

    def _apart(self, flow: Flow) -> Flow:
        """Give events a first part before their tags, if there are others that their new tags could be mistaken for."""
        if flow.alone or flow.prefix:
            return flow
        self._splits += 1
        apart = replace(flow, prefix=f"rest{self._splits}")
        self._add([NewStage({"type": "rewrite_tag", "tag": f"{apart.prefix}.{flow.tag()}"})], flow.match())
        return apart

    def _match(self, section: Section, flow: Flow, label: str, way: tuple[Section, ...]) -> None:
        kind = section.take("@type", "type")
        section.seen = True
        name = kind.text if kind else ""
        if name == "rewrite_tag_filter":
            flow = self._apart(flow)
            stages, after = fluentdfilters.rewriter(section, flow, self._outcome)
            self._add(stages, flow.match())
            to = section.take("@label")
            self.follow(after, to.text if to else label, (*way, section))
        elif name == "relabel":
            to = section.take("@label")
            if to is None:
                raise Untranslatable("it has no @label")
            spare(section, NEEDLESS, self._outcome)
            self.follow(flow, to.text, (*way, section))
        elif name == "copy":
            spare(section, {**NEEDLESS, **_COPY}, self._outcome)
            for store in section.children("store"):
                self._arrived.setdefault(store, []).append(flow)
        else:
            self._arrived.setdefault(section, []).append(flow)

    def finish(self) -> None:
        """Make a sink of each section that events have come to, however many ways lead there."""
        for section, flows in self._arrived.items():
            if len({bool(flow.prefix) for flow in flows}) > 1:
                flows = list(map(self._apart, flows))
            shapes = tuple(dict.fromkeys(shape for flow in flows for shape in flow.shapes))
            patterns = dict.fromkeys(pattern for flow in flows if (pattern := flow.match()) is not None)
            together = replace(flows[0], shapes=shapes)
            try:
                sink = fluentdoutputs.translate(section, together, self._time_fields, self._outcome)
            except Untranslatable as error:
                _fail(section, error, self._outcome)
                continue
            if patterns:
                sink.options = {"type": sink.options["type"], "match": " ".join(patterns), **sink.options}
            self._pipeline.sinks.append(sink)
