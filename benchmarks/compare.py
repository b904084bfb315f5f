"""The main job by tailrace, by other collectors and by bare scripts, on the same log; every output is counted.

    python -m benchmarks.compare [--events N] [--runs N] [--only WORD ...] [--json FILE]

They take turns, and the figures are medians. CPU is that of all processes of each. No figure of a run counts unless
each slice holds the events and bytes that it has to.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results, tally, workload
from benchmarks.contenders import Contender, contenders
from benchmarks.job import compile_sources
from benchmarks.measure import Cost, Failed, middle

EVENTS = 300_000


class Incomplete(Exception):  # noqa: N818 - said of the output
    """A run's output is not its input; no figure of it counts."""


def one_run(
    contender: Contender, log: Path, directory: Path, wanted: Mapping[tally.Split, tally.Tally]
) -> tuple[Cost, int, bool]:
    """Split the log in a fresh directory: the cost, bytes written, and whether all slices are verbatim and in order."""
    shutil.rmtree(directory, ignore_errors=True)
    out = directory / "out"
    out.mkdir(parents=True)
    cost = contender.split(log, directory, *tally.total(wanted))
    there = tally.found(out)
    if missing := tally.differences(wanted, there):
        raise Incomplete(f"{len(missing)} slices are not as they should be; {missing[0]}")
    return cost, sum(path.stat().st_size for path in out.iterdir()), there == wanted


def compare(
    chosen: Sequence[Contender], log: Path, directory: Path, runs: int, wanted: Mapping[tally.Split, tally.Tally]
) -> list[dict[str, Any]]:
    """Let them take turns; one row for each, with figures or with the reason why there are none."""
    costs: dict[int, list[Cost]] = {place: [] for place in range(len(chosen))}
    rows: list[dict[str, Any]] = [
        {"name": one.name, "packs": one.packs, "version": one.version, "failed": ""} for one in chosen
    ]
    for _ in range(runs):
        for place, contender in enumerate(chosen):
            row = rows[place]
            if contender.version is None:
                row["failed"] = "not installed"
            if row["failed"]:
                continue
            try:
                cost, row["bytes_out"], row["verbatim"] = one_run(contender, log, directory, wanted)
            except (Failed, Incomplete) as error:
                row["failed"] = str(error)
            else:
                costs[place].append(cost)
    events = tally.total(wanted)[0]
    for place, row in enumerate(rows):
        if not row["failed"]:
            row |= _figures(costs[place], events)
    return rows


def _figures(costs: Sequence[Cost], events: int) -> dict[str, float]:
    cost = middle(costs)
    cpu = [one.cpu / events * 1e6 for one in costs]
    return {
        "cpu_seconds_per_million_events": cost.cpu / events * 1e6,
        "least_cpu": min(cpu),
        "most_cpu": max(cpu),
        "wall_seconds": cost.wall,
        "peak_bytes": cost.peak,
    }


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Make a table of the rows; the ratios are to the first one."""
    heads = ["", "gzip", "CPU s / M events (min–max)", "ratio", "wall s", "ratio", "RSS MB", "out MB"]
    lines = []
    first = rows[0]
    for row in rows:
        name = f"{row['name']} {row['version'] or ''}".strip()
        if row["failed"]:
            lines.append([name, row["packs"], row["failed"].strip().splitlines()[-1][:120], "", "", "", "", ""])
            continue
        cpu = row["cpu_seconds_per_million_events"]
        ratios = ["", ""]
        if not first["failed"]:
            ratios = [f"{row[key] / first[key]:.2f}" for key in ("cpu_seconds_per_million_events", "wall_seconds")]
        lines.append(
            [
                name if row["verbatim"] else f"{name} (not verbatim, or not in order)",
                row["packs"],
                f"{cpu:.1f} ({row['least_cpu']:.1f}–{row['most_cpu']:.1f})",
                ratios[0],
                f"{row['wall_seconds']:.1f}",
                ratios[1],
                f"{row['peak_bytes'] / 1e6:.0f}",
                f"{row['bytes_out'] / 1e6:.1f}",
            ]
        )
    return results.table(heads, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare tailrace with other collectors on the main job.")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="those with one of these words in their name")
    results.add_options(parser)
    options = parser.parse_args()
    compile_sources()
    begun = results.Busy.now()
    chosen = [one for one in contenders() if not options.only or any(word in one.name for word in options.only)]
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-", dir=options.dir) as name:
        log = Path(name) / "audit.log"
        workload.write(log, workload.lines(1, options.events))
        wanted = tally.expected(log)
        rows = compare(chosen, log, Path(name) / "run", options.runs, wanted)
    events, size = tally.total(wanted)
    print(f"{events:,} events, {size / 1e6:,.0f} MB, {len(wanted)} slices, {options.runs} runs\n\n{as_table(rows)}")
    if options.json:
        figures = {"events": events, "bytes": size, "slices": len(wanted), "runs": options.runs, "rows": rows}
        results.save(options.json, "compare", figures, begun)


if __name__ == "__main__":
    main()
