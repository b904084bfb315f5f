"""What many slices cost: the same events, spread over 40, 1,000 and 10,000 files.

    python -m benchmarks.bench_slices [--events N] [--runs N] [--slices N ...]

Each event has a field for each number of slices, so the runs differ only in the template of the path. Each run is a
process of its own that may have 1,024 descriptors, and its output is unpacked and counted.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import resource
import subprocess
import tempfile
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.job import TAILRACE, compile_sources, count, read
from benchmarks.measure import environment
from benchmarks.workload import lines

SLICES = (40, 1_000, 10_000)
DESCRIPTORS = 1024
CONFIG = """\
state_dir: {directory}/state
pipelines:
  slices:
    schema: any
    source: {{type: tail, paths: ["{log}"], watch: false}}
    sinks:
      - type: file
        path: "{directory}/out/{{s{slices}}}.%Y%m%d%H.log.gz"
"""


class Figures(NamedTuple):
    """What one run took."""

    wall: float  # seconds
    cpu: float
    memory: list[int]  # bytes resident, each twentieth of a second


def write_log(path: Path, events: int, slices: Sequence[int]) -> tuple[int, int]:
    """Write invented events of one hour; gives their number and bytes."""
    randomness = random.Random(1)
    with path.open("wb") as file:
        for line in lines(1, events, hours=1):
            names = "".join(f'"s{number}":"name-{randomness.randrange(number)}",' for number in slices)
            file.write(b"{" + names.encode() + line[1:].rstrip(b"\n") + b"\n")
        return events, file.tell()


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def run(log: Path, directory: Path, slices: int, expected: tuple[int, int]) -> Figures:
    """Split the log into so many slices in a fresh directory."""
    directory.mkdir()
    config = directory / "config.yaml"
    config.write_text(CONFIG.format(directory=directory, log=log, slices=slices))
    memory: list[int] = []
    start = time.perf_counter()
    process = subprocess.Popen([TAILRACE, "run", "--once", str(config)], env=environment(), preexec_fn=limit)
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        memory.append(int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * resource.getpagesize())
        time.sleep(0.05)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    if process.returncode:
        raise SystemExit(f"the run with {slices} slices ended with {process.returncode}")
    found = count(chain.from_iterable(map(read, (directory / "out").iterdir())))
    if found != expected:
        raise SystemExit(f"{found} events and bytes came out of {expected}")
    usage = ended[2]
    return Figures(wall, usage.ru_utime + usage.ru_stime, [*memory, usage.ru_maxrss * 1024])


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what many slices cost.")
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--slices", type=int, nargs="+", default=list(SLICES))
    options = parser.parse_args()
    compile_sources()
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as name:
        # each run has a directory of its own, and none is removed before the end: for some seconds ext4 does not use
        # an inode again, and looks for another one for long
        log, directories = Path(name) / "audit.log", (Path(name) / f"run-{number}" for number in itertools.count())
        expected = write_log(log, options.events, options.slices)
        print(f"{expected[0]:,} events, {expected[1] / 1e6:,.0f} MB")
        print(f"{'slices':>8}{'events/s':>12}{'ratio':>8}{'CPU s':>8}{'peak MB':>9}{'last third, MB':>16}")
        # rounds, for what disturbs a run on a busy machine is likely to disturb its neighbours too
        rounds = [
            {slices: run(log, next(directories), slices, expected) for slices in options.slices}
            for _ in range(options.runs)
        ]
        for slices in options.slices:
            runs = [each[slices] for each in rounds]
            ratio = median(each[options.slices[0]].wall / each[slices].wall for each in rounds)
            seen = [size for size in runs[-1].memory[:-1] if size]  # an ended process has none
            third = seen[-(len(seen) // 3 + 1) :]
            print(
                f"{slices:>8,}{options.events / median(each.wall for each in runs):>12,.0f}{ratio:>8.2f}"
                f"{median(each.cpu for each in runs):>8.1f}{max(each.memory[-1] for each in runs) / 1e6:>9.0f}"
                f"{min(third) / 1e6:>10.0f} to {max(third) / 1e6:.0f}"
            )


if __name__ == "__main__":
    main()
