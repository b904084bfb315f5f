"""What filters and sizes cost beyond the main job: edits and conditions; memory of long lines and many slices.

    python -m benchmarks.bench_editing [--events N] [--runs N] [--json FILE]

The jobs take turns, and CPU is the median; memory is the highest of the runs. Of the edited output each event is
decoded and compared with the same edit, made here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks import results, workload
from benchmarks.bench_slices import CONFIG as SLICES_CONFIG
from benchmarks.bench_slices import write_log
from benchmarks.job import CONFIG, Job, compile_sources, count, read
from benchmarks.measure import Cost, middle, run
from benchmarks.scaling import long_lines

STAGES = Path(__file__).with_name("stages")
MASK = "***"
LONGEST = (16 << 20) - 100  # bytes; the tail source's limit is 16 MiB
LONG = 24  # so many of them, each among a thousand others
SLICES = 10_000
FILTERS = {
    "edit": f"{{type: mask_agents, mask: '{MASK}'}}",
    "few": '{type: keep, when: \'verb != "none" && level != "None"\'}',
    "many": '{type: keep, when: \'auditID != "" && verb != "none"\'}',
}
TARGETS = {"edit_micros": 12.0, "few_ratio": 1.5, "many_ratio": 1.5, "long_bytes": 250e6, "slices_bytes": 250e6}


class Wrong(Exception):  # noqa: N818 - said of the output
    """A run's output is not what its job has to make; no figure of it counts."""


def jobs(log: Path, directory: Path) -> dict[str, Job]:
    """The main job as it is, and with each of the filters before its own."""
    made = {"plain": Job(log, directory / "job")}
    for name, text in FILTERS.items():
        config = directory / f"{name}.yaml"
        with_filter = CONFIG.read_text().replace("    filters:\n", f"    filters:\n      - {text}\n")
        config.write_text(f'plugins: ["{STAGES}"]\n{with_filter}')
        made[name] = Job(log, directory / "job", config)
    return made


def edited(log: Path) -> Iterator[str]:
    """The events of a log as the edit has to leave them, in a form that can be compared."""
    with log.open("rb") as file:
        for line in file:
            event = json.loads(line)
            if "userAgent" in event:
                event["userAgent"] = MASK
            yield json.dumps(event, sort_keys=True)


def check(job: Job, expected: tuple[int, int]) -> None:
    """Raise Wrong unless all events and bytes came out."""
    if (found := count(chain.from_iterable(map(read, job.slices())))) != expected:
        raise Wrong(f"{found} events and bytes came out of {expected}")


def check_edit(job: Job) -> None:
    """Raise Wrong unless every event came out, edited and otherwise the same."""
    lines = chain.from_iterable(b"".join(read(path)).splitlines() for path in job.slices())
    if sorted(json.dumps(json.loads(line), sort_keys=True) for line in lines) != sorted(edited(job.log)):
        raise Wrong("the edited events are not those of the log with another user agent")


def measure_filters(log: Path, directory: Path, expected: tuple[int, int], runs: int) -> dict[str, Cost]:
    """Let the jobs take turns, and give the medians of each."""
    made = jobs(log, directory)
    costs: dict[str, list[Cost]] = {name: [] for name in made}
    for turn in range(runs):
        for name, job in made.items():
            job.clear()
            costs[name].append(run(job.command, job.environment))
            if name != "edit":
                check(job, expected)
            elif turn == 0:
                check_edit(job)
    return {name: middle(all_costs) for name, all_costs in costs.items()}


def measure_long(directory: Path) -> Cost:
    """The main job with lines of 16 MiB among short ones."""
    log = directory / "long.log"
    long = next(long_lines(LONGEST))
    short = list(workload.lines(1, 1_000))
    workload.write(log, chain.from_iterable(chain(short, [long]) for _ in range(LONG)))
    job = Job(log, directory / "job")
    job.clear()
    cost = run(job.command, job.environment)
    check(job, (LONG * 1_001, LONG * (sum(map(len, short)) + 1_000 + len(long) + 1)))
    return cost


def measure_slices(directory: Path, events: int) -> Cost:
    """The events in 10,000 slices."""
    log, config = directory / "spread.log", directory / "slices.yaml"
    expected = write_log(log, events, [SLICES])
    job = Job(log, directory / "job", config)
    config.write_text(SLICES_CONFIG.format(directory=job.directory, log=log, slices=SLICES))
    job.clear()
    cost = run(job.command, job.environment)
    check(job, expected)
    return cost


def figures(costs: Mapping[str, Cost], events: int) -> dict[str, float]:
    """Reduce the costs of the filters to figures."""
    micros = {name: cost.cpu / events * 1e6 for name, cost in costs.items()}
    rows = {f"{name}_micros": value for name, value in micros.items()}
    rows["edit_added_micros"] = micros["edit"] - micros["plain"]
    return rows | {f"{name}_ratio": micros[name] / micros["plain"] for name in FILTERS}


def as_table(rows: Mapping[str, Any]) -> str:
    """Make a table of figures and targets."""
    texts: Sequence[tuple[str, str, str, float]] = (
        ("the main job", "plain_micros", "µs/event", 1.0),
        ("a `RecordFilter` that changes each event, in total", "edit_micros", "µs/event", 1.0),
        ("what it adds", "edit_added_micros", "µs/event", 1.0),
        ("`keep` by two fields with few values, beside the main job", "few_ratio", "×", 1.0),
        ("`keep` by two fields, one of them different in each event", "many_ratio", "×", 1.0),
        (f"memory with {LONG} lines of 16 MiB", "long_bytes", "MB", 1e-6),
        (f"memory with {SLICES:,} slices", "slices_bytes", "MB", 1e-6),
    )
    lines = []
    for text, key, unit, factor in texts:
        wanted = f"at most {TARGETS[key] * factor:g} {unit}" if key in TARGETS else ""
        lines.append([text, f"{rows[key] * factor:.{0 if unit == 'MB' else 2}f} {unit}", wanted])
    return results.table([f"{rows['events']:,} events of {rows['mean_bytes']:,.0f} bytes", "", "target"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure filters, and memory.")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=5)
    results.add_options(parser)
    options = parser.parse_args()
    compile_sources()
    begun = results.Busy.now()
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-", dir=options.dir) as name:
        directory = Path(name)
        log = directory / "audit.log"
        size = workload.write(log, workload.lines(1, options.events))
        rows: dict[str, float] = {"events": options.events, "mean_bytes": size / options.events}
        rows |= figures(measure_filters(log, directory, (options.events, size), options.runs), options.events)
        rows["long_bytes"] = max(measure_long(directory).peak for _ in range(options.runs))
        rows["slices_bytes"] = max(measure_slices(directory, options.events).peak for _ in range(options.runs))
    print(as_table(rows))
    if options.json:
        results.save(options.json, "editing", rows, begun)


if __name__ == "__main__":
    main()
