"""The main job against the floor: the whole process, alternating, medians of several runs.

    python -m benchmarks.bench_pipeline                   the sample, repeated to 400 MB
    python -m benchmarks.bench_pipeline --workload        invented events, three hours, 40 namespaces
    python -m benchmarks.bench_pipeline --input FILE --size 1000 --json figures.json
    python -m benchmarks.bench_pipeline --check           fails if the job costs clearly more than in baseline.json
    python -m benchmarks.bench_pipeline --record          writes a new baseline.json

No figure is printed unless every run's output held all events and all bytes of the input.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import median

from benchmarks import regression, workload
from benchmarks.job import CONFIG, SAMPLE, TAILRACE, Job, compile_sources, count, read, repeat_input
from benchmarks.measure import Cost, environment, middle, repeat, run

FLOOR = Path(__file__).with_name("floor.py")
START_LIMIT = 30.0  # seconds for a pipeline to bring out its first file


class Incomplete(Exception):  # noqa: N818 - said of the output
    """A run's output is not its input; no figure of it counts."""


def check(job: Job, expected: tuple[int, int]) -> None:
    """Raise Incomplete unless the output holds so many events and bytes."""
    found = count(chain.from_iterable(read(path) for path in job.slices()))
    if found != expected:
        raise Incomplete(f"{job.out} holds {found[0]} events, {found[1]} bytes; the input {expected[0]}, {expected[1]}")


def alternate(job: Job, expected: tuple[int, int], runs: int) -> tuple[list[Cost], list[Cost]]:
    """Run floor and job in turn, so that a machine that changes its pace changes it for both."""
    floors, jobs = [], []
    packed = job.directory.with_name("floor.gz")
    for _ in range(runs):
        floors.append(run([sys.executable, str(FLOOR), str(job.log), str(packed)]))
        job.clear()
        jobs.append(run(job.command, job.environment))
        check(job, expected)
    if count(read(packed)) != expected:
        raise Incomplete(f"the floor's {packed} is not its input")
    return floors, jobs


def first_file(job: Job) -> float:
    """Start a pipeline that tails a log of some events; seconds until its first file has content."""
    job.clear()
    start = time.perf_counter()
    process = subprocess.Popen(
        [TAILRACE, "run", str(CONFIG)],
        env=environment(job.environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not any(path.stat().st_size for path in job.slices()):
            try:
                process.wait(0.002)
            except subprocess.TimeoutExpired:
                if time.perf_counter() - start < START_LIMIT:
                    continue
            raise Incomplete(f"a tail pipeline wrote no file in {START_LIMIT:.0f} s, or ended")
        return time.perf_counter() - start
    finally:
        process.terminate()
        process.wait()


def figures(floors: list[Cost], jobs: list[Cost], events: int, size: int) -> dict[str, float]:
    """Reduce the runs to the figures that are compared from version to version."""
    job, floor = middle(jobs), middle(floors)
    return {
        "events": events,
        "bytes": size,
        "events_per_second": events / job.wall,
        "megabytes_per_second": size / job.wall / 1e6,
        "cpu_seconds_per_million_events": job.cpu / events * 1e6,
        "peak_megabytes": job.peak / 1e6,
        "cpu_seconds": job.cpu,
        "floor_cpu_seconds": floor.cpu,
        "floor_megabytes_per_second": size / floor.wall / 1e6,
        "cpu_ratio_to_floor": median(mine.cpu / least.cpu for mine, least in zip(jobs, floors, strict=True)),
    }


def print_table(rows: Mapping[str, float]) -> None:
    """Print names and figures in two columns."""
    for name, value in rows.items():
        text = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        print(f"{name.replace('_', ' '):32}{text:>16}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the main job against the floor.")
    parser.add_argument("--input", type=Path, default=SAMPLE, help="a log, packed or not; default the sample")
    parser.add_argument("--workload", action="store_true", help="use invented events instead")
    parser.add_argument("--size", type=int, default=400, help="MB that the input is repeated, or invented, to")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--starts", type=int, default=7, help="how often to measure how long a start takes")
    parser.add_argument("--dir", type=Path, help="where to work; default the directory for temporary files")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    against = parser.add_mutually_exclusive_group()
    against.add_argument("--check", action="store_true", help="compare with what was recorded; exit code 1 if worse")
    against.add_argument("--record", action="store_true", help="record the ratio to the floor")
    parser.add_argument("--baseline", type=Path, default=regression.BASELINE, help="where the ratio is recorded")
    options = parser.parse_args(arguments)
    compile_sources()

    directory = Path(tempfile.mkdtemp(prefix="tailrace-bench-", dir=options.dir))
    try:
        log = directory / "audit.log"
        if options.workload:
            workload.write(log, workload.lines(1, options.size * 1_000_000 // 1200))
        else:
            repeat_input(options.input, log, options.size * 1_000_000)
        events, size = count(read(log))
        floors, jobs = alternate(Job(log, directory / "job"), (events, size), options.runs)
        rows = figures(floors, jobs, events, size)
        rows["help_seconds"] = repeat(options.starts, [TAILRACE, "--help"]).wall
        short = directory / "short.log"
        workload.write(short, workload.lines(1, 100))
        rows["first_file_seconds"] = median(first_file(Job(short, directory / "start")) for _ in range(options.starts))
    finally:
        shutil.rmtree(directory)
    print_table(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    job: dict[str, str | int] = {
        "input": "workload" if options.workload else options.input.name,
        "megabytes": options.size,
    }
    if options.record:
        regression.record(options.baseline, job, rows[regression.RATIO])
    if options.check:
        try:
            print(regression.check(options.baseline, job, rows[regression.RATIO]))
        except (regression.Worse, regression.Incomparable) as error:
            raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
