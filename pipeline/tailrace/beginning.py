"""A pipeline that has never run, told where to begin: for positions that another collector has left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tailrace import lock
from tailrace.batch import Position
from tailrace.checkpoint import Checkpoint, State, generations
from tailrace.context import Context
from tailrace.stage import Damaged


class BeginError(Exception):
    """A pipeline cannot be told where to begin; the message says why and what to do."""


def begin_at(state_dir: Path, positions: Mapping[str, Position]) -> None:
    """Store for pipelines, by name, the position at which their source begins; all of them, or none.

    Both generations of each checkpoint have it, so that the first run is no first start. Raises BeginError if one of
    them has a checkpoint, or a process holds the state directory, and OSError.
    """
    try:
        with lock.hold(state_dir):
            for name in positions:
                if found := next(generations(state_dir / name), None):
                    raise BeginError(
                        f"{found.path} is there already: the pipeline {name!r} has run, or was told where to begin; "
                        "it goes on from there. To begin anew, move that directory away"
                    )
            for name, position in positions.items():
                checkpoint = Checkpoint(Context(pipeline=name, state_dir=state_dir / name))
                for generation in (1, 2):
                    checkpoint.save(State(generation=generation, source=dict(position)))
    except (lock.LockError, Damaged) as error:
        raise BeginError(str(error)) from None
