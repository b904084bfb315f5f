"""Giving up a lost output file, so that its pipeline starts again."""

from __future__ import annotations

import os
from pathlib import Path

from tailrace import lock
from tailrace.checkpoint import Checkpoint, pipelines
from tailrace.context import Context
from tailrace.inspection import recorded_files


class ForgetError(Exception):
    """There is nothing to forget; the message says what there is."""


def forget(state_dir: Path, pipeline: str, file: str) -> list[str]:
    """Take `file` out of the recorded lengths of the pipeline's sinks; give the names of those that had it.

    What there is of the file is kept, and appended to from its present end on. Raises ForgetError, LockError
    while a process holds the state directory, and Damaged if the checkpoint cannot be read.
    """
    names = [directory.name for directory in pipelines(state_dir)]
    if pipeline not in names:
        raise ForgetError(f"{state_dir} holds no pipeline {pipeline!r}; it holds: {', '.join(names) or 'none'}")
    with lock.hold(state_dir):
        checkpoint = Checkpoint(Context(pipeline=pipeline, state_dir=state_dir / pipeline))
        state = checkpoint.load()
        recorded = [] if state is None else list(recorded_files(state))
        sinks = [sink for sink, path, _ in recorded if path == os.path.abspath(file)]
        if state is None or not sinks:
            paths = "".join(f"\n  {path}" for _, path, _ in recorded) or " none"
            raise ForgetError(f"{pipeline} has not recorded {os.path.abspath(file)}; it has recorded:{paths}")
        for sink in sinks:
            del state.sinks[sink][os.path.abspath(file)]
        state.generation += 1
        checkpoint.save(state)
    return sinks
