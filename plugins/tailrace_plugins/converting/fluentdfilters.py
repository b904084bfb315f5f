"""fluentd's filters `record_transformer` and `grep`, and the output `rewrite_tag_filter`, as filters of tailrace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from tailrace import parse_field
from tailrace.document import Plain
from tailrace_plugins.converting import conditions, rubyparsing
from tailrace_plugins.converting.fluentdparsing import Param, Section
from tailrace_plugins.converting.fluentdsources import NEEDLESS, is_true, listed, spare
from tailrace_plugins.converting.outcome import NewStage, Outcome, Untranslatable, is_secret
from tailrace_plugins.converting.regexes import from_ruby, matches_nothing, takes_the_whole
from tailrace_plugins.converting.tagflow import Flow, Shape, joined
from tailrace_plugins.converting.texts import field_name, field_value, fill, fixed, place, plain, use_hostname

UNMATCHED: Final = "unmatched"
"""The tag of events that no rule takes, right before they are dropped."""

_TRANSFORMER: Final = {
    "enable_ruby": "what Ruby there is was read; none is run",
    "auto_typecast": "values that are copied keep their types",
}
_REWRITER: Final = {"emit_mode": "events are not sent one by one"}


def accessor(text: str) -> tuple[str, ...]:
    """Read `key`, `$.a.b` or `$['a']['b']` as a field's path. Raises Untranslatable."""
    if not text.startswith(("$.", "$[")):
        return (text,)
    try:
        return parse_field(text[1:].removeprefix("."))
    except ValueError as error:
        raise Untranslatable(f"{text} is no field here: {error}") from None


def transformer(section: Section, flow: Flow, outcome: Outcome) -> tuple[list[NewStage], Flow]:
    """Translate a record_transformer; give the stages, and the flow with the fields that all events have then."""
    fields: dict[str, Plain] = {}
    stages: list[NewStage] = []
    present = set(flow.present)
    records = section.children("record")
    keys = {param.key for record in records for param in record.params}
    for record in records:
        for param in record.params:
            try:
                name = field_name((param.key,))
                stage = _made(param, name, keys - {param.key}, flow, outcome)
            except Untranslatable as error:
                outcome.fail(param, str(error))
                continue
            param.seen = True
            if isinstance(stage, NewStage):
                stages.append(stage)
                if "default" in stage.options:
                    present.add(param.key)
            else:
                fields[name] = stage
                present.add(param.key)
    if fields:
        stages.append(NewStage({"type": "set", "fields": fields}))
    removed = section.take("remove_keys")
    if removed is not None:
        paths = [accessor(each) for each in listed(removed)]
        stages.append(NewStage({"type": "drop_keys", "keys": [field_value(path) for path in paths]}))
        present -= {path[0] for path in paths}
    spare(section, {**NEEDLESS, **_TRANSFORMER}, outcome)
    return stages, replace(flow, present=frozenset(present))


def _made(param: Param, into: str, others: set[str], flow: Flow, outcome: Outcome) -> NewStage | str:
    """Give the stage that sets a field, or the value for `set`; `others` are fields that the same filter sets."""
    if param.ruby:
        raise Untranslatable("the value has Ruby in it that fluentd runs when it starts")
    text = param.text
    if is_secret(param.key) and "${" not in text:
        name = "".join(letter if letter.isalnum() else "_" for letter in param.key.upper())
        outcome.variables[name] = f"the value of `{param.key}` (line {param.place.line} of the old config)"
        outcome.note(param, f"it looks like a secret, and is not copied: set the environment variable {name}")
        return f"${{{name}}}"
    if text.startswith("${record") and text.endswith("}") and text.count("${") == 1:
        found = _read(text[2:-1], others)
        options: dict[str, Plain] = {"type": "extract", "field": field_value(found.path), "into": plain(into)}
        if found.default is not None:
            options["default"] = plain(found.default)
        return NewStage(options)

    def value(name: str) -> str:
        if name.startswith("record"):
            found = _read(name, others)
            if found.default is not None:
                raise Untranslatable("a text with a default in its midst has no counterpart")
            return place(found.path)
        return tag_or_host(name, flow, outcome)

    return fill(text, fixed if "${" in text else plain, value) if "{" in text else plain(text)


def _read(text: str, others: set[str]) -> rubyparsing.Found:
    """Read what is taken out of the event, as it is before the filter."""
    found = rubyparsing.parse(text)
    if found.path and found.path[0] in others:
        raise Untranslatable(f"it is made of `{found.path[0]}` as it was, which the same filter sets")
    return found


def tag_or_host(name: str, flow: Flow, outcome: Outcome, removed: int = 0) -> str:
    """Give what stands for a placeholder of the tag or the host. Raises Untranslatable."""
    kind, _, index = name.partition("[")
    if name == "tag":
        return flow.tag(removed)
    if name == "hostname":
        return use_hostname(outcome)
    number = index.removesuffix("]")
    if index and number.removeprefix("-").isdecimal():
        at = int(number)
        own = removed + at if at >= 0 else at
        if kind in ("tag_parts", "tag"):
            return flow.part(own)
        if kind == "tag_prefix" and at >= 0:
            return flow.tag(removed, own + 1)
        if kind == "tag_suffix" and at >= 0:
            return flow.tag(own)
    raise Untranslatable(f"${{{name}}} has no counterpart")


def grep(section: Section, outcome: Outcome) -> list[NewStage]:
    """Translate a grep filter to `keep` and `drop`."""
    kept, dropped = list(_patterns(section, "regexp")), list(_patterns(section, "exclude"))
    for group in section.children("and", "or"):
        names = {each.name for each in group.sections}
        found = [pair for name in sorted(names & {"regexp", "exclude"}) for pair in _patterns(group, name)]
        if len(names) != 1 or not found:
            raise Untranslatable(f"<{group.name}> of line {group.place.line} mixes regexp and exclude, or has neither")
        sign = " && " if group.name == "and" else " || "
        terms = [_found(*pair) for pair in found]
        (kept if "regexp" in names else dropped).append(sign.join(f"({term})" for term in terms))
    stages = []
    for pairs, kind, sign in ((kept, "keep", " && "), (dropped, "drop", " || ")):
        terms = [each if isinstance(each, str) else _found(*each) for each in pairs]
        if terms:
            text = sign.join(f"({term})" for term in terms) if len(terms) > 1 else terms[0]
            stages.append(NewStage({"type": kind, "when": plain(conditions.checked(text))}))
    spare(section, NEEDLESS, outcome)
    if not stages:
        raise Untranslatable("it has no pattern")
    return stages


def _found(path: tuple[str, ...], pattern: str) -> str:
    """Say that a pattern is found in a field, of which a missing one is an empty text."""
    if matches_nothing(from_ruby(pattern, "cel")):
        return conditions.matches_or_is_missing(path, pattern, negated=False)
    return conditions.matches(path, pattern)


def _patterns(section: Section, kind: str) -> Iterator[tuple[tuple[str, ...], str] | str]:
    for child in section.children(kind):
        key, pattern = child.take("key"), child.take("pattern")
        if key is None or pattern is None or pattern.ruby:
            raise Untranslatable(f"<{kind}> of line {child.place.line} lacks key or pattern, or has Ruby in it")
        yield accessor(key.text), pattern.text
    for param in section.params:
        if param.key.startswith(kind) and param.key[len(kind) :].isdecimal():
            param.seen = True
            key_text, _, pattern_text = param.text.partition(" ")
            yield accessor(key_text), pattern_text.strip()


class _Rule(NamedTuple):
    key: str
    pattern: str
    tag: str
    invert: bool
    node: Param | Section


def rewriter(section: Section, flow: Flow, outcome: Outcome) -> tuple[list[NewStage], Flow]:
    """Translate a rewrite_tag_filter; give the stages, and the flow with the new tags."""
    removed = section.take("remove_tag_prefix")
    cut = flow.without(removed.text) if removed is not None else 0
    if is_true(section.take("capitalize_regex_backreference")):
        raise Untranslatable("`capitalize_regex_backreference` has no counterpart")
    rules: list[dict[str, Plain]] = []
    shapes: list[Shape] = []
    always = False
    for rule in _rules(section):
        if always:
            outcome.spare(rule.node, "no event gets to it, for the rule before it takes all")
            continue
        made, shape, always = _rule(rule, flow, cut, outcome)
        rules.append(made)
        shapes.append(shape)
    if not rules:
        raise Untranslatable("it has no rules")
    stages = []
    if not always:
        rules.append({"tag": UNMATCHED if not flow.prefix else f"{flow.prefix}.{UNMATCHED}"})
    stages.append(NewStage({"type": "rewrite_tag", **(rules[0] if len(rules) == 1 else {"rules": list(rules)})}))
    if not always:
        dropped = NewStage({"type": "drop", "match": str(rules[-1]["tag"]), "when": "true"})
        dropped.comments.append("Events that no rule takes end here, as in fluentd.")
        stages.append(dropped)
    spare(section, {**NEEDLESS, **_REWRITER}, outcome)
    return stages, replace(flow, shapes=tuple(dict.fromkeys(shapes)))


def _rules(section: Section) -> Iterator[_Rule]:
    numbered = [param for param in section.params if param.key.startswith("rewriterule")]
    for param in sorted(numbered, key=lambda each: int(each.key[11:]) if each.key[11:].isdecimal() else 0):
        words = param.text.split()
        if len(words) < 3 or param.ruby:
            raise Untranslatable(f"`{param.key}` is not: key pattern tag")
        param.seen = True
        pattern = " ".join(words[1:-1])
        yield _Rule(words[0], pattern.removeprefix("!"), words[-1], pattern.startswith("!"), param)
    for child in section.children("rule"):
        key, regex, tag = (child.take(name) for name in ("key", "pattern", "tag"))
        if key is None or regex is None or tag is None or regex.ruby or tag.ruby:
            raise Untranslatable(f"<rule> of line {child.place.line} lacks key, pattern or tag, or has Ruby in it")
        yield _Rule(key.text, regex.text, tag.text, is_true(child.take("invert")), child)


def _rule(rule: _Rule, flow: Flow, cut: int, outcome: Outcome) -> tuple[dict[str, Plain], Shape, bool]:
    """Give a rule, the shape of its tags, and whether it takes all events."""
    path = accessor(rule.key)
    whole = takes_the_whole(rule.pattern) and not rule.invert
    always = whole and len(path) == 1 and path[0] in flow.present
    regex = from_ruby(rule.pattern, "python")
    groups = re.compile(regex).groups
    shape: list[str | None] = []
    tag_shape: list[str | None] = list(flow.shapes[0][cut:]) if len(flow.shapes) == 1 else [None]

    def literal(text: str) -> str:
        made = ""
        for piece in _groups(text):
            if piece.startswith("$"):
                if rule.invert or int(piece[1:]) not in range(1, groups + 1):
                    raise Untranslatable(f"{piece} in the tag: the pattern has no such group, or must not match")
                made += place(path) if always else piece
                shape.append(None)
            elif piece:
                made += fixed(piece)
                shape.append(piece)
        return made

    def value(name: str) -> str:
        if name == "tag":
            for number, part in enumerate(tag_shape):
                shape.extend(["."] * (number > 0) + [part])
        else:
            shape.append(None)
        return tag_or_host(name, flow, outcome, cut)

    text = rule.tag.replace("__TAG__", "${tag}").replace("__HOSTNAME__", "${hostname}")
    tag = (f"{flow.prefix}." if flow.prefix else "") + fill(text, literal, value)
    made: dict[str, Plain] = {"tag": tag}
    if not always:
        made |= {"field": field_value(path), "pattern": plain(regex)}
    if rule.invert:
        made["invert"] = True
    return made, joined(shape), always


def _groups(text: str) -> Iterator[str]:
    """Give the pieces of a tag: `$1` by itself, and what is between such."""
    made = ""
    at = 0
    while at < len(text):
        if text[at] == "$" and text[at + 1 : at + 2].isdecimal():
            yield made
            yield text[at : at + 2]
            made = ""
            at += 2
        else:
            made += text[at]
            at += 1
    yield made
