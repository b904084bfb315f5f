"""Measuring a command as a whole process: what the kernel says it cost once it has ended."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

LOOK = 0.1  # seconds between two looks at the memory of a run
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What one run took, its children included."""

    cpu: float  # seconds, user and system
    wall: float  # seconds, from before the start to after the end, or until the work was done
    peak: int  # bytes resident, the peaks of all its processes together; shared pages count in each


class Failed(Exception):  # noqa: N818 - said of the command
    """The command did not end well; the message holds what it wrote to stderr."""


def environment(added: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment of what is measured: Python keeps its bytecode, as an installed package does."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | dict(added or {})


def run(
    command: Sequence[str],
    added: Mapping[str, str] | None = None,
    *,
    is_done: Callable[[], bool] | None = None,
    limit: float = 3600.0,
) -> Cost:
    """Run `command` to its end, with `added` in its environment; one that never ends is told to when `is_done`.

    Raises Failed, also if it takes longer than `limit` seconds.
    """
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment(added), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        )
        wall = None
        peaks: dict[int, int] = {}
        ended = os.pidfd_open(process.pid)
        try:
            while not select.select([ended], [], [], LOOK)[0]:
                spent = time.perf_counter() - start
                for pid in family(process.pid):
                    peaks[pid] = max(status_bytes(pid, "VmHWM"), peaks.get(pid, 0))
                if wall is None and (spent > limit or (is_done is not None and is_done())):
                    wall = time.perf_counter() - start
                    os.kill(process.pid, signal.SIGTERM)
        finally:
            os.close(ended)
            if wall is None:
                wall = time.perf_counter() - start
            os.kill(process.pid, signal.SIGKILL)  # nothing happens if it has ended; Popen.kill might reap it
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)  # Popen would wait for it again
        if wall > limit or (process.returncode and (is_done is None or process.returncode != -signal.SIGTERM)):
            said.seek(0)
            words = said.read().decode(errors="replace")
            raise Failed(f"{' '.join(command)} ended with {process.returncode} after {wall:.0f} s: {words}")
        return Cost(usage.ru_utime + usage.ru_stime, wall, sum(peaks.values()) or usage.ru_maxrss * 1024)


def family(pid: int) -> Iterator[int]:
    """Give a process and all that descend from it."""
    parents = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except OSError:
                continue  # it has ended
    wanted = [pid]
    while wanted:
        yield (one := wanted.pop())
        wanted += [child for child, parent in parents.items() if parent == one]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, `state`, on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a living process has used, user and system, with its ended children."""
    return sum(map(int, _stat(pid)[11:15])) / TICKS


def status_bytes(pid: int, name: str) -> int:
    """A size from /proc/PID/status, VmRSS or VmHWM; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(lines.partition(f"{name}:")[2].split()[0]) * 1024 if f"{name}:" in lines else 0


def written_bytes(pid: int) -> int:
    """How many bytes a living process has caused to be written to disks."""
    return int(Path(f"/proc/{pid}/io").read_text().partition("\nwrite_bytes:")[2].split()[0])


def middle(costs: Sequence[Cost]) -> Cost:
    """Give the medians, each figure by itself."""
    return Cost(
        median(cost.cpu for cost in costs),
        median(cost.wall for cost in costs),
        int(median(cost.peak for cost in costs)),
    )


def repeat(count: int, command: Sequence[str], added: Mapping[str, str] | None = None) -> Cost:
    """Run `command` several times and give the medians."""
    return middle([run(command, added) for _ in range(count)])
