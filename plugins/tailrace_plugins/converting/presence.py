"""What stands for a missing field: here `_none`, which no value can take.

The documentation's fluentd config gives events without a namespace the namespace `none`, and takes the field away
again when the tag has it. There can be a namespace of that name. So where a field with a default is only made for a
tag or a path and is taken away later, it has no default: its place there is `_none`.
"""

from __future__ import annotations

from tailrace_plugins.converting.outcome import NewPipeline, NewStage


def leave_missing_out(pipeline: NewPipeline) -> None:
    """Take the defaults away of fields that serve a tag alone."""
    for number, stage in enumerate(pipeline.filters):
        options = stage.options
        if options["type"] != "extract" or "default" not in options:
            continue
        name, later = str(options["into"]), pipeline.filters[number + 1 :]
        is_taken_away = any(
            other.options["type"] == "drop_keys" and name in _texts(other.options["keys"]) for other in later
        )
        if is_taken_away and all(_only_fills_a_tag(other, name) for other in later):
            default = options.pop("default")
            stage.comments.append(
                f"Where there is none its name is _none, which nothing can take. The old name, {default}, could be "
                "taken by a value."
            )
        elif "match" not in options:
            _name_by_field(pipeline, f"{{{name}}}", f"{{{options['field']}}}", later)


def _name_by_field(pipeline: NewPipeline, made: str, own: str, later: list[NewStage]) -> None:
    """Let paths have the field itself where they have one that was made of it."""
    if any(_may_change(other, made, own) for other in later):
        return
    for sink in pipeline.sinks:
        path = sink.options.get("path")
        if isinstance(path, str) and made in path:
            sink.options["path"] = path.replace(made, own)
            sink.comments.append(f"{own} not {made}: where it is missing its name is _none, which nothing can take.")


def _may_change(stage: NewStage, made: str, own: str) -> bool:
    """Tell whether a filter may change one of two fields, both in braces."""
    fields = stage.options.get("fields")
    if stage.options["type"] == "set" and isinstance(fields, dict):
        return any(f"{{{field}" in (made[: len(field) + 1], own[: len(field) + 1]) for field in fields)
    return stage.options["type"] not in ("rewrite_tag", "drop", "keep", "extract")


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _only_fills_a_tag(stage: NewStage, name: str) -> bool:
    kind = stage.options["type"]
    if kind == "drop_keys":
        return True
    if kind == "rewrite_tag":
        rules = stage.options.get("rules", [stage.options])
        return isinstance(rules, list) and all(isinstance(rule, dict) and rule.get("field") != name for rule in rules)
    return kind == "drop" and stage.options["when"] == "true"
