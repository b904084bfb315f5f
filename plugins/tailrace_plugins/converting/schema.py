"""Whether a pipeline reads the fields of audit events alone; else its config has to say `schema: any`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tailrace import Template, TemplateError, parse_field
from tailrace.auditevent import has_field
from tailrace_plugins.converting.outcome import NewPipeline, NewStage


def reads_audit_events(pipeline: NewPipeline) -> bool:
    """Tell whether all fields that stages read are those of an audit event, or were written by an earlier filter."""
    written: set[str] = set()
    for stage in [*pipeline.filters, *pipeline.sinks]:
        for field in _reads(stage):
            path = parse_field(field)
            if path[0] not in written and not has_field(path):
                return False
        written |= {parse_field(field)[0] for field in _writes(stage)}
    return True


def _reads(stage: NewStage) -> Iterator[str]:
    options = stage.options
    for key in ("field", "path", "tag", "when"):
        yield from _named(key, options.get(key), options["type"])
    fields, rules, times = options.get("fields"), options.get("rules"), options.get("time_fields")
    for template in fields.values() if isinstance(fields, dict) else ():
        yield from _named("tag", template, options["type"])
    for rule in rules if isinstance(rules, list) else ():
        if isinstance(rule, dict):
            yield from _named("tag", rule.get("tag"), "")
            yield from _named("field", rule.get("field"), "")
    keys = options.get("keys")
    if isinstance(keys, dict):
        yield from keys
    yield from map(str, times if isinstance(times, list) else ())


def _named(key: str, value: object, kind: object) -> Iterable[str]:
    """Give the fields that an option names."""
    if not isinstance(value, str) or kind == "stdout":
        return ()
    if key == "field":
        return (value.replace("$$", "$"),)
    if key == "when":
        from tailrace_plugins.expression import Expression

        return Expression(value.replace("$$", "$")).fields
    try:
        # groups of a pattern, and variables of the environment, name no fields
        text = value.replace("${", "").replace("$", "")
        return Template(text, time=key == "path").fields if "{" in text else ()
    except TemplateError:
        return ()


def _writes(stage: NewStage) -> Iterator[str]:
    options = stage.options
    if "into" in options:
        yield str(options["into"])
    for key in ("fields", "keys"):
        found = options.get(key)
        if isinstance(found, dict) and options["type"] in ("set", "rename_keys"):
            yield from found if key == "fields" else map(str, found.values())
