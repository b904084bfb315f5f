"""The new config as text: YAML with comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

import yaml

from tailrace.document import Plain
from tailrace_plugins.converting.outcome import NewPipeline, NewStage, Outcome, in_order, visible
from tailrace_plugins.converting.schema import reads_audit_events
from tailrace_plugins.converting.texts import plain

_WIDTH: Final = 120
_STATE_DIR: Final = "${STATE_DIR:-/var/lib/tailrace}"


def write(outcome: Outcome, file: str, state_dir: str | None) -> str:
    """Write the config; `file` is the old one."""
    lines = list(_comment(f"Made by `tailrace convert` of {file} ({outcome.collector})."))
    if outcome.variables:
        lines.append("#")
        lines += _comment("Variables of the environment:")
        for name, meaning in outcome.variables.items():
            lines += _comment(f"{name}  {meaning}", "  ")
    for title, remarks in (
        ("NOT TRANSLATED:", outcome.remainder),
        ("Done in another way:", outcome.notes),
        ("Not needed here:", outcome.needless),
    ):
        if remarks:
            lines.append("#")
            lines += _comment(title, "")
            for remark in in_order(remarks):
                lines += _comment(f"line {remark.place.line}: {remark.what}: {remark.why}", "  ")
    lines += ["", f"state_dir: {scalar(plain(state_dir) if state_dir else _STATE_DIR)}", "", "pipelines:"]
    for number, pipeline in enumerate(outcome.pipelines):
        lines += [""] * (number > 0)
        lines += _pipeline(pipeline)
    return "\n".join(lines) + "\n"


def _comment(text: str, indent: str = "", margin: str = "") -> Iterator[str]:
    """Give a text as comments behind a margin, in lines that are not too long."""
    width = _WIDTH - 2 - len(indent) - len(margin)
    lines = textwrap.wrap(visible(text), width, subsequent_indent="  " if indent else "", break_on_hyphens=False)
    yield from (f"{margin}# {indent}{line}" for line in lines)


def _pipeline(pipeline: NewPipeline) -> Iterator[str]:
    for comment in pipeline.comments:
        yield from _comment(comment, margin="  ")
    yield f"  {scalar(pipeline.name)}:"
    if not reads_audit_events(pipeline):
        yield "    schema: any"
    yield "    source:"
    yield from _stage(pipeline.source, "      ")
    for key, stages in (("filters", pipeline.filters), ("sinks", pipeline.sinks)):
        if stages:
            yield f"    {key}:"
        for stage in stages:
            lines = list(_stage(NewStage(stage.options), "        "))
            for comment in stage.comments:
                yield from _comment(comment, margin="      ")
            yield "      - " + lines[0].lstrip()
            yield from lines[1:]


def _stage(stage: NewStage, indent: str) -> Iterator[str]:
    for comment in stage.comments:
        yield from _comment(comment, margin=indent)
    yield from _mapping(stage.options, indent)


def _mapping(options: Mapping[str, Plain], indent: str) -> Iterator[str]:
    for key, value in options.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{scalar(key)}:"
            yield from _mapping(value, indent + "  ")
        elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
            yield f"{indent}{scalar(key)}:"
            for each in value:
                yield f"{indent}  - {_flow(each)}"
        else:
            yield f"{indent}{scalar(key)}: {_flow(value)}"


def _flow(value: Plain) -> str:
    """Write a value in one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    return scalar(value)


def scalar(value: Plain) -> str:
    """Write a scalar so that it is read as what it is, also after variables are put in, and also in a list."""
    if not isinstance(value, str):
        return yaml.safe_dump(value).partition("\n")[0]
    is_simple = not set(value) & set(",[]{}&*#?|<>=!%@\\`\"'$") and value[:1] != ":" and ": " not in value
    if is_simple and value.strip() == value and _reads_as_text(value):
        return value
    if value.isprintable() and "'" not in value:
        return f"'{value}'"
    return yaml.safe_dump(value, default_style='"', width=1 << 30, allow_unicode=True).rstrip("\n")


def _reads_as_text(value: str) -> bool:
    text = yaml.safe_dump(value, width=1 << 30, allow_unicode=True)
    return text.partition("\n")[0] == value
