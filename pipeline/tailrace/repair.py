"""Putting a state directory in order, as far as that is safe, step by step.

A step never takes away a byte that was committed, and what it takes away of others is copied aside before. Whatever
would lose or repeat an event is not done: `tailrace.verification` names it, and the decision that a person has to take.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from tailrace.checkpoint import Checkpoint, generations
from tailrace.context import Context
from tailrace.durable import Disk, naming, sync_directory, write_all
from tailrace.ledger import Ledger
from tailrace.verification import Verification, leftovers, longer

_CHUNK: Final = 1 << 20


class Step(NamedTuple):
    """Something to do, in words and as a function, which raises OSError, and Damaged if a file changes meanwhile."""

    text: str
    run: Callable[[], object]


def steps(found: Verification, context: Context) -> Iterator[Step]:
    """Say what there is to do for one pipeline; nothing, if it has no whole checkpoint.

    Each step is to be run before the next one is asked for, by a caller that holds the state directory, or none at all.
    """
    if found.state is None:
        return
    checkpoint = Checkpoint(context)
    for generation in generations(found.directory):
        if generation.state is None:
            text = f"put aside {generation.path} ({generation.damage}); generation {found.state.generation} is used"
            yield Step(text, partial(checkpoint.put_aside, generation.path))
    names = (found.directory / f"cut-{int(context.clock.time())}-{number}" for number in count(1))
    for path, length in longer(found.state):
        aside = next(name for name in names if not name.exists())
        text = f"keep what follows offset {length} of {path} as {aside}, and cut it off"
        yield Step(text, partial(_cut, context.disk, path, length, aside))
    for name in leftovers(found):
        path = str(found.directory / name)
        yield Step(f"remove {path}, which a process that died left behind", partial(_remove, context.disk, path))


def _cut(disk: Disk, path: str, length: int, aside: Path) -> None:
    """Cut a file back, once what is cut off is durable elsewhere."""
    target = disk.open(str(aside), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with open(path, "rb") as file, naming(str(aside)):
            file.seek(length)
            while data := file.read(_CHUNK):
                write_all(disk, target, data)
            disk.fsync(target)
    finally:
        disk.close(target)
    sync_directory(disk, str(aside.parent))
    Ledger(disk).recover({path: length})


def _remove(disk: Disk, path: str) -> None:
    disk.unlink(path)
    sync_directory(disk, os.path.dirname(path))
