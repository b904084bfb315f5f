"""The report on a state directory, as text for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from tailrace.inspection import Input, Output, PipelineReport, Report
from tailrace.logs import escape

_INPUT_STATES: Final = {
    "ok": "",
    "missing": "not there (rotated away, or deleted)",
    "replaced": "another file has this name now",
    "shorter": "shorter than what was read of it (truncated)",
}


def render(report: Report) -> str:
    """Write the report, with a line for each file."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    held = f"held by process {report.holder}" if report.holder else "no process holds it"
    yield f"{escape(report.state_dir)}: {held}"
    if not report.pipelines:
        yield "no pipeline has committed anything yet"
    for pipeline in report.pipelines:
        yield ""
        yield from _pipeline_lines(pipeline, running=report.holder is not None)


def _pipeline_lines(pipeline: PipelineReport, *, running: bool) -> Iterator[str]:
    name = escape(pipeline.name)
    if pipeline.saved is None:
        yield f"{name}: no checkpoint can be read"
    else:
        moment = datetime.fromtimestamp(pipeline.saved, UTC).isoformat(" ", "seconds")
        yield f"{name}: generation {pipeline.generation}, saved {moment}"
    for damage in pipeline.damage:
        yield f"  DAMAGED {escape(damage)}"
    for place in pipeline.inputs:
        yield f"  source {escape(place.path)}: {_describe_input(place)}"
    for output in pipeline.outputs:
        kind = output.sink.partition(" ")[0]  # what follows is the path's template
        yield f"  {kind} {escape(output.path)}: {_describe_output(output, running=running)}"
    if pipeline.dead_letters is not None:
        yield f"  dead letters: {pipeline.dead_letters}"


def _describe_input(place: Input) -> str:
    words = [f"read up to {place.offset}"]
    if place.size is not None:
        words.append(f"has {place.size} bytes")
    if place.lag is not None:
        words.append(f"{place.lag} to read")
    if remark := _INPUT_STATES[place.state]:
        words.append(remark)
    return ", ".join(words)


def _describe_output(output: Output, *, running: bool) -> str:
    if output.present is None:
        present = "MISSING" if output.state == "missing" else "not written yet"
        return f"recorded {output.recorded}, {present}"
    states = {
        "ok": "ok",
        "longer": "longer: being written" if running else "longer: will be cut back at the next start",
        "shorter": "SHORTER: bytes are lost",
    }
    return f"recorded {output.recorded}, has {output.present}, {states[output.state]}"
