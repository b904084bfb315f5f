"""Measuring a command as a whole process: what the kernel says it cost once it has ended."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Cost:
    """What one run took, its children included."""

    cpu: float  # seconds, user and system
    wall: float  # seconds, from before the start to after the end
    peak: int  # bytes resident, of the biggest process


class Failed(Exception):  # noqa: N818 - said of the command
    """The command did not end well; the message holds what it wrote to stderr."""


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run `command` to its end; `environment` is added to the present one. Raises Failed.

    The kernel counts the memory that this process has when the command starts into the command's peak: so do
    not keep the input in memory.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    with process.stderr:
        said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen would wait for it again
    if process.returncode:
        raise Failed(f"{' '.join(command)} ended with {process.returncode}: {said.decode(errors='replace')}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024)


def middle(costs: Sequence[Cost]) -> Cost:
    """Give the medians, each figure by itself."""
    return Cost(
        median(cost.cpu for cost in costs),
        median(cost.wall for cost in costs),
        int(median(cost.peak for cost in costs)),
    )


def repeat(count: int, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run `command` several times and give the medians."""
    return middle([run(command, environment) for _ in range(count)])
