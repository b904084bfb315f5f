"""A logstash config as pipelines: one for each input, through all filters, to all outputs.

What follows an `if` is for some events only. Those that are to be dropped go by a condition in CEL. For the others the
tag, which logstash does not have, gets a part that says which branch an event took, by rules on one field each; stages
of a branch take the events that have that part.
"""

from __future__ import annotations

from tailrace.document import Plain
from tailrace_plugins.converting import (
    logstashconditions,
    logstashfilters,
    logstashinputs,
    logstashoutputs,
    logstashparsing,
)
from tailrace_plugins.converting.conditions import checked
from tailrace_plugins.converting.logstashfilters import Events
from tailrace_plugins.converting.logstashparsing import Attribute, Branch, Conditional, Plugin, Term
from tailrace_plugins.converting.outcome import NewPipeline, NewStage, Outcome, Untranslatable
from tailrace_plugins.converting.texts import field_value, plain

Statements = list[Plugin | Conditional]


def convert(text: str, file: str) -> Outcome:
    """Convert a config. Raises ParseError."""
    parsed = logstashparsing.parse(text, file)
    outcome = Outcome("logstash")
    for statement in parsed.input:
        if not isinstance(statement, Plugin):
            outcome.fail(statement, "inputs are not chosen by conditions")
            continue
        try:
            source = logstashinputs.translate(statement, outcome)
            fields = logstashinputs.common(statement)
        except Untranslatable as error:
            _fail(statement, str(error), outcome)
            continue
        name = next((each.text() for each in statement.attributes if each.name == "id"), "audit")
        pipeline = NewPipeline(outcome.name(name), source)
        if fields:
            pipeline.filters.append(NewStage({"type": "set", "fields": fields}))
        events = Events(statement.name == "http", fields)
        pipeline.filters += logstashfilters.add_fields(statement, events, outcome)
        way = _Way(pipeline, events, outcome)
        way.filters(parsed.filter, None)
        way.outputs(parsed.output, None)
        outcome.add(pipeline, statement)
    for part in _unseen([*parsed.input, *parsed.filter, *parsed.output]):
        if outcome.pipelines or isinstance(part, Attribute):
            outcome.fail(part, "this conversion does not know it")
        else:
            outcome.fail(part, "there is no input whose events could get here")
    return outcome


def _fail(statement: Plugin | Conditional, why: str, outcome: Outcome) -> None:
    """Say that a statement could not be translated, and so nothing in it."""
    outcome.fail(statement, why)
    if isinstance(statement, Plugin):
        _see_all(statement)
        return
    for branch in statement.branches:
        for inner in branch.statements:
            _fail(inner, "it is in a condition that could not be translated", outcome)


def _see_all(statement: Plugin | Conditional) -> None:
    """Count a statement and all in it as seen."""
    statement.seen = True
    if isinstance(statement, Plugin):
        for attribute in statement.attributes:
            attribute.seen = True
        return
    for branch in statement.branches:
        for inner in branch.statements:
            _see_all(inner)


def _unseen(statements: Statements) -> list[Attribute | Plugin]:
    """Give all of which nothing was said."""
    found: list[Attribute | Plugin] = []
    for statement in statements:
        if isinstance(statement, Conditional):
            for branch in statement.branches:
                found += _unseen(branch.statements)
        elif not statement.seen:
            found.append(statement)
        else:
            found += [attribute for attribute in statement.attributes if not attribute.seen]
    return found


_Choice = tuple[list[NewStage], list[dict[str, Plain]], list[tuple[Branch, str]]]
"""Filters that drop, rules for tags, and the branches that go on, each with the part of the tag that tells it."""


class _Way:
    """The way of an input's events."""

    def __init__(self, pipeline: NewPipeline, events: Events, outcome: Outcome) -> None:
        self._pipeline = pipeline
        self._events = events
        self._outcome = outcome
        self._branches = 0

    def filters(self, statements: Statements, match: str | None) -> None:
        """Translate filters for the events that `match` tells."""
        for statement in statements:
            try:
                if isinstance(statement, Conditional):
                    self._choose(statement, match, are_filters=True)
                else:
                    self._add(logstashfilters.translate(statement, self._events, self._outcome), match)
            except Untranslatable as error:
                _fail(statement, str(error), self._outcome)

    def outputs(self, statements: Statements, match: str | None) -> None:
        """Translate outputs for the events that `match` tells."""
        for statement in statements:
            try:
                if isinstance(statement, Conditional):
                    self._choose(statement, match, are_filters=False)
                else:
                    sink = logstashoutputs.translate(statement, self._events, self._outcome)
                    self._pipeline.sinks.append(_matching(sink, match))
            except Untranslatable as error:
                _fail(statement, str(error), self._outcome)

    def _add(self, stages: list[NewStage], match: str | None) -> None:
        self._pipeline.filters += [_matching(stage, match) for stage in stages]

    def _choose(self, conditional: Conditional, match: str | None, *, are_filters: bool) -> None:
        """Translate a conditional: first what is dropped, then which way the others go."""
        drops, rules, ways = self._plan(conditional)
        self._add(drops, match)
        if rules:
            self._add([NewStage({"type": "rewrite_tag", "rules": list(rules)})], match)
        for branch, name in ways:
            if are_filters:
                self.filters(branch.statements, f"**.{name}.**")
            else:
                self.outputs(branch.statements, f"**.{name}.**")
        conditional.seen = True

    def _plan(self, conditional: Conditional) -> _Choice:
        branches = _nested(conditional.branches)
        resolve = self._events.resolve
        drops: list[NewStage] = []
        rules: list[dict[str, Plain]] = []
        ways: list[tuple[Branch, str]] = []
        before: list[Term] = []
        for branch in branches:
            if _only_drops(branch):
                terms = [Term("not", [term]) for term in before] + ([branch.condition] if branch.condition else [])
                text = " && ".join(logstashconditions.cel(term, resolve) for term in terms) or "true"
                drops.append(NewStage({"type": "drop", "when": plain(checked(text))}))
                branch.statements[0].seen = True
                for statement in branch.statements[1:]:
                    self._outcome.spare(statement, "events are dropped before it")
                    _see_all(statement)
            if branch.condition is not None:
                before.append(branch.condition)
        if not any(branch.statements and not _only_drops(branch) for branch in branches):
            return drops, [], []
        number = self._branches
        for branch in branches:
            number += 1
            name = f"{'if' if branch.condition else 'else'}{number}"
            tag = f"{{tag}}.{name}"
            if branch.condition is None:
                rules.append({"tag": tag})
            else:
                rules += [
                    _rule(test, tag) for test in logstashconditions.asked(branch.condition, resolve, negated=False)
                ]
            if branch.statements and not _only_drops(branch):
                ways.append((branch, name))
        self._branches = number
        return drops, rules, ways


def _rule(test: logstashconditions.Test, tag: str) -> dict[str, Plain]:
    made: dict[str, Plain] = {"field": field_value(test.field), "pattern": plain(test.pattern)}
    return made | ({"invert": True} if test.invert else {}) | {"tag": tag}


def _nested(branches: list[Branch]) -> list[Branch]:
    """Write `if A and B { … }` as `if A { if B { … } }`, which asks for one field at a time."""
    only = branches[0]
    if len(branches) > 1 or only.condition is None or only.condition.kind != "and" or _only_drops(only):
        return branches
    first, second = only.condition.terms
    inner = Conditional([Branch(second, only.statements, only.place)], only.place)
    return _nested([Branch(first, [inner], only.place)])


def _only_drops(branch: Branch) -> bool:
    first = branch.statements[0] if branch.statements else None
    return isinstance(first, Plugin) and first.name == "drop" and not first.attributes


def _matching(stage: NewStage, match: str | None) -> NewStage:
    if match is not None:
        stage.options = {"type": stage.options["type"], "match": match, **stage.options}
    return stage
