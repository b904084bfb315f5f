"""How the CPU per event depends on how much there is: of events, slices, bytes, filters, files and workers.

    python -m benchmarks.scaling [--scale F] [--full] [--runs N] [--only NAME ...] [--json FILE]

In each series one thing grows and the rest stays. Each run is a process of its own, its output is unpacked and
counted. "Net" is without what a run of one event costs: the start of Python and the end.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks import results, workload
from benchmarks.bench_slices import CONFIG as SLICES_CONFIG
from benchmarks.bench_slices import write_log
from benchmarks.job import CONFIG, Job, compile_sources, count, read, repeat_input
from benchmarks.measure import Cost, middle, run

FEW = 100_000
EVENTS = 300_000  # where they do not grow
SIZE_BYTES = 200_000_000  # of the log, where the events' size grows


@dataclass(frozen=True)
class Point:
    """One place of a series: how much of it, and the job to be measured."""

    x: int
    job: Job
    events: int


Series = Callable[[Path, float, bool], Iterator[Point]]  # directory, scale, whether to go to the far end


def events(directory: Path, scale: float, full: bool) -> Iterator[Point]:
    """The main job on a longer and longer log."""
    base = directory / "base.log"
    workload.write(base, workload.lines(1, least := int(FEW * scale)))
    for times in (1, 2, 5, 10, *((30, 100) if full else ())):
        log = directory / "audit.log"
        repeat_input(base, log, base.stat().st_size * times)
        yield Point(least * times, Job(log, directory / "job"), least * times)


def slices(directory: Path, scale: float, full: bool) -> Iterator[Point]:
    """The same events in more and more files."""
    numbers = [number for number in (1, 10, 100, 1_000, 10_000) if number <= 10_000 * scale or number == 1]
    log, config, job = directory / "audit.log", directory / "config.yaml", directory / "job"
    made = int(EVENTS * scale)
    write_log(log, made, numbers)
    for number in numbers:
        config.write_text(SLICES_CONFIG.format(directory=job, log=log, slices=number))
        yield Point(number, Job(log, job, config), made)


def size(directory: Path, scale: float, full: bool) -> Iterator[Point]:
    """About as many bytes in longer and longer events, by the main job."""
    log = directory / "audit.log"
    for length in (500, 1_000, 2_000, 5_000, 20_000, 100_000, 500_000):
        made = max(int(SIZE_BYTES * scale) // length, 1)
        workload.write(log, itertools.islice(long_lines(length), made))
        yield Point(length, Job(log, directory / "job"), made)


def long_lines(length: int) -> Iterator[bytes]:
    """Audit events of so many bytes: the answer holds invented words, as compressible as real ones."""
    randomness = random.Random(1)
    words = [f'"{randomness.randrange(16**6):06x}"' for _ in range(2_000)]
    for number in itertools.count():
        head = (
            f'{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"{number:032x}",'
            f'"stage":"ResponseComplete","verb":"get","objectRef":{{"resource":"pods","namespace":"ns-{number % 40}"}},'
            f'"responseObject":{{"data":['
        )
        tail = f']}},"stageTimestamp":"2026-11-23T06:{number // 60 % 60:02}:{number % 60:02}.000000Z"}}'
        room = max(length - len(head) - len(tail), 1) // 9
        yield (head + ",".join(randomness.choices(words, k=room)) + tail).encode()


def filters(directory: Path, scale: float, full: bool) -> Iterator[Point]:
    """The main job with more and more filters before it, each a condition on a field that holds for no event."""
    log, config = directory / "audit.log", directory / "config.yaml"
    workload.write(log, workload.lines(1, made := int(EVENTS * scale)))
    for number in (0, 1, 2, 5, 10):
        more = "".join(f"      - {{type: drop, when: 'verb == \"never-{each}\"'}}\n" for each in range(number))
        config.write_text(CONFIG.read_text().replace("    filters:\n", f"    filters:\n{more}"))
        yield Point(number, Job(log, directory / "job", config), made)


def files(directory: Path, scale: float, full: bool) -> Iterator[Point]:
    """The same events, cut up into more and more logs, by the main job."""
    made = int(EVENTS * scale)
    lines = list(workload.lines(1, made))
    for number in (1, 10, 100, 500, 2_000):
        if number > made:
            return
        logs = directory / f"logs-{number}"
        logs.mkdir()
        for each in range(number):
            workload.write(logs / f"audit-{each}.log", lines[each * made // number : (each + 1) * made // number])
        yield Point(number, Job(logs / "*.log", directory / "job"), made)


def workers(directory: Path, scale: float, full: bool) -> Iterator[Point]:
    """The main job with as many workers as there are cores, at most."""
    log = directory / "audit.log"
    workload.write(log, workload.lines(1, made := int(2 * EVENTS * scale)))
    for number in range(1, len(os.sched_getaffinity(0)) + 1):
        yield Point(number, Job(log, directory / "job", workers=number), made)


SERIES: dict[str, Series] = {
    "events": events, "slices": slices, "size": size, "filters": filters, "files": files, "workers": workers
}  # fmt: skip


def measure(point: Point, runs: int) -> tuple[Cost, int]:
    """Run the job of a point several times: the medians, and the bytes that came out, unpacked."""
    costs = []
    for _ in range(runs):
        point.job.clear()
        costs.append(run(point.job.command, point.job.environment))
    events, size = count(chain.from_iterable(read(path) for path in point.job.slices()))
    if events != point.events:
        raise SystemExit(f"{point.job.out} holds {events} events of {point.events}")
    return middle(costs), size


def start_cost(directory: Path, runs: int) -> float:
    """Seconds of CPU of a run of one event."""
    log = directory / "audit.log"
    workload.write(log, workload.lines(1, 1))
    return measure(Point(1, Job(log, directory / "job"), 1), runs)[0].cpu


def one_series(
    name: str, scale: float, full: bool, runs: int, start: float, place: Path | None
) -> list[dict[str, Any]]:
    """Measure all points of a series."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-", dir=place) as directory:
        for point in SERIES[name](Path(directory), scale, full):
            cost, size = measure(point, runs)
            rows.append(
                {
                    "x": point.x,
                    "events": point.events,
                    "bytes": size,
                    "micros_per_event": cost.cpu / point.events * 1e6,
                    "net_micros_per_event": (cost.cpu - start) / point.events * 1e6,
                    "net_micros_per_kilobyte": (cost.cpu - start) / size * 1e9,
                    "events_per_second": point.events / cost.wall,
                    "peak_bytes": cost.peak,
                }
            )
    return rows


def as_table(name: str, rows: list[dict[str, Any]]) -> str:
    """Make the table of a series."""
    heads = ["log" if name == "events" else name, "events", "CPU µs/event", "net", "net µs/KB", "events/s", "RSS MB"]
    lines = [
        [
            f"{row['x']:,}",
            f"{row['events']:,}",
            f"{row['micros_per_event']:,.1f}",
            f"{row['net_micros_per_event']:,.1f}",
            f"{row['net_micros_per_kilobyte']:.2f}",
            f"{row['events_per_second']:,.0f}",
            f"{row['peak_bytes'] / 1e6:.0f}",
        ]
        for row in rows
    ]
    return results.table(heads, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how the CPU per event depends on sizes and numbers.")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the events to take, for a quick look")
    parser.add_argument("--full", action="store_true", help="up to 10,000,000 events; needs 15 GB of disk")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(SERIES), default=list(SERIES))
    results.add_options(parser)
    options = parser.parse_args()
    compile_sources()
    begun = results.Busy.now()
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-", dir=options.dir) as name:
        start = start_cost(Path(name), max(options.runs, 3))
    print(f"a run of one event: {start:.2f} s of CPU")
    series = {}
    for name in options.only:
        series[name] = one_series(name, options.scale, options.full, options.runs, start, options.dir)
        print(f"\n{as_table(name, series[name])}", flush=True)
    if options.json:
        results.save(options.json, "scaling", {"start": start, "runs": options.runs, "series": series}, begun)


if __name__ == "__main__":
    main()
