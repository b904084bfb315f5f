"""What a state directory holds: how far each pipeline is, and whether its files are as the checkpoint says.

Reads only, so that it can be asked at any time, while a process runs and after a crash.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tailrace import deadletter, letters, lock
from tailrace.checkpoint import CURRENT, State, generations, pipelines

COMPRESSED = (".gz", ".zst")  # their offsets are those of the content, their sizes are not


@dataclass(frozen=True)
class Input:
    """A file that the source reads: `offset` bytes of it are done, `lag` are not; None is not known."""

    path: str
    offset: int
    state: Literal["ok", "missing", "replaced", "shorter"]
    size: int | None = None
    lag: int | None = None


@dataclass(frozen=True)
class Output:
    """A file that a sink writes, with its length by the checkpoint and at present."""

    sink: str
    path: str
    recorded: int
    present: int | None
    state: Literal["ok", "longer", "shorter", "missing"]


@dataclass(frozen=True)
class PipelineReport:
    """One pipeline. Without a checkpoint that can be read, `generation` is None and there are no files."""

    name: str
    damage: list[str]
    generation: int | None = None
    saved: float | None = None  # seconds since the epoch
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    dead_letters: int | None = None  # None: there never was one


@dataclass(frozen=True)
class Report:
    """One state directory; `holder` is the id of the process that has it."""

    state_dir: str
    holder: str | None
    pipelines: list[PipelineReport]

    @property
    def is_sound(self) -> bool:
        """Tell whether every pipeline could start from here."""
        return not any(
            pipeline.damage or any(output.state in ("shorter", "missing") for output in pipeline.outputs)
            for pipeline in self.pipelines
        )


def inspect(state_dir: Path) -> Report:
    """Look at a state directory; raises OSError if it cannot be read."""
    os.listdir(state_dir)  # an error if it is not there, which a search for names in it would hide
    return Report(
        state_dir=str(state_dir),
        holder=lock.holder(state_dir),
        pipelines=[inspect_pipeline(directory) for directory in pipelines(state_dir)],
    )


def inspect_pipeline(directory: Path) -> PipelineReport:
    """Look at the directory of one pipeline; raises OSError if its checkpoint cannot be read."""
    damage: list[str] = []
    for generation in generations(directory):
        state = generation.state
        if state is None:
            damage.append(f"{generation.path}: {generation.damage}")
            continue
        outputs = [_output(sink, path, length) for sink, path, length in recorded_files(state)]
        return PipelineReport(
            name=directory.name,
            damage=damage,
            generation=state.generation,
            saved=generation.saved,
            inputs=list(_inputs(state.source, "")),
            outputs=outputs,
            dead_letters=_count_dead_letters(outputs, directory, state),
        )
    return PipelineReport(name=directory.name, damage=damage or [f"{directory / CURRENT}: it is gone"])


def recorded_files(state: State) -> Iterator[tuple[str, str, int]]:
    """Give sink, path and length of every file whose length is in a checkpoint."""
    for sink, position in state.sinks.items():
        for path, length in position.items():
            if os.path.isabs(path) and isinstance(length, int):
                yield sink, path, length


def _output(sink: str, path: str, recorded: int) -> Output:
    try:
        present = os.stat(path).st_size
    except OSError:
        # a length of 0 was announced and perhaps never written
        return Output(sink, path, recorded, None, "missing" if recorded else "ok")
    state: Literal["ok", "longer", "shorter"] = "ok"
    if present != recorded:
        state = "longer" if present > recorded else "shorter"
    return Output(sink, path, recorded, present, state)


def _inputs(position: object, key: str) -> Iterator[Input]:
    """Find what looks like a place in a file, a mapping with `path` and `offset`, anywhere in a position."""
    if isinstance(position, Mapping):
        path, offset = position.get("path", key), position.get("offset")
        if isinstance(path, str) and os.path.isabs(path) and isinstance(offset, int):
            yield _input(path, offset, position)
        for name, below in position.items():
            yield from _inputs(below, str(name))
    elif isinstance(position, list):
        for below in position:
            yield from _inputs(below, key)


def _input(path: str, offset: int, position: Mapping[str, Any]) -> Input:
    try:
        status = os.stat(path)
    except OSError:
        return Input(path, offset, "missing")
    if position.get("ino", status.st_ino) != status.st_ino:
        return Input(path, offset, "replaced", status.st_size)
    if path.endswith(COMPRESSED):
        return Input(path, offset, "ok", status.st_size)
    if status.st_size < offset:
        return Input(path, offset, "shorter", status.st_size)
    return Input(path, offset, "ok", status.st_size, status.st_size - offset)


def _count_dead_letters(outputs: list[Output], directory: Path, state: State) -> int | None:
    if all(output.sink != deadletter.NAME for output in outputs):
        return None
    return sum(1 for extent in letters.waiting(directory, state) for _ in extent)
