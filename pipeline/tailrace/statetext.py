"""The report on a state directory, as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tailrace.inspection import Input, Output, PipelineReport, Report
from tailrace.logs import escape
from tailrace.verification import Verification

NOTHING: Final = "no pipeline has committed anything yet"

_INPUT_STATES: Final = {
    "ok": "",
    "missing": "not there (rotated away, or deleted)",
    "replaced": "another file has this name now",
    "shorter": "shorter than what was read of it (truncated)",
}


def render(report: Report) -> str:
    """Write the report, with a line for each file."""
    return "\n".join(_lines(report))


def _heading(state_dir: str, holder: str | None) -> str:
    return f"{escape(state_dir)}: {f'held by process {holder}' if holder else 'no process holds it'}"


def _lines(report: Report) -> Iterator[str]:
    yield _heading(report.state_dir, report.holder)
    if not report.pipelines:
        yield NOTHING
    for pipeline in report.pipelines:
        yield ""
        yield from _pipeline_lines(pipeline, running=report.holder is not None)


def verification_lines(state_dir: Path, holder: str | None, found: Iterable[Verification]) -> Iterator[str]:
    """Write down what was verified: a line for each pipeline, and for each thing that is wrong or noteworthy."""
    yield _heading(str(state_dir), holder)
    pipeline = None
    for pipeline in found:
        wrong = len(pipeline.findings)
        generation = f"generation {pipeline.state.generation}" if pipeline.state else "no checkpoint can be read"
        size = f"{pipeline.files} files, {pipeline.bytes} bytes committed"
        size += f", {pipeline.closed} closed files" if pipeline.closed else ""
        state = f"{wrong} things are wrong" if wrong else "whole"
        yield f"{escape(pipeline.name)}: {generation}, {size}: {state}"
        for finding in pipeline.findings:
            yield f"  WRONG {finding}"
        for note in pipeline.notes:
            yield f"  note: {escape(note)}"
    if pipeline is None:
        yield NOTHING


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
