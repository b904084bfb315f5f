"""The tables and plots of the README beside this file, made of the figures in `results/`.

python -m benchmarks.page            tables and plots anew, of what was measured
python -m benchmarks.page --run      measures everything first: half an hour, on a machine with nothing else to do
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import bench_editing, bench_latency, compare, plots, regression, scaling
from benchmarks.results import RESULTS, load

PAGE = Path(__file__).with_name("README.md")
SCRIPTS = {"compare": "compare", "scaling": "scaling", "latency": "bench_latency", "editing": "bench_editing"}
_BLOCK = re.compile(r"(<!-- made: (?P<name>[\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewrite(text: str, blocks: Mapping[str, str]) -> str:
    """Put each block between its marks. Raises KeyError where there is no such block."""
    return _BLOCK.sub(lambda found: f"{found[1]}{blocks[found['name']]}\n{found[3]}", text)


def blocks(results: Mapping[str, Mapping[str, Any]], baseline: Path = regression.BASELINE) -> dict[str, str]:
    """Make everything that stands between marks."""
    comparison = results["compare"]
    made = {
        "machine": _machines(results),
        "compare": f"{comparison['events']:,} events, {comparison['bytes'] / 1e6:,.0f} MB, {comparison['slices']} "
        f"files; medians of {comparison['runs']} runs.\n\n{compare.as_table(comparison['rows'])}",
        "latency": bench_latency.as_table(results["latency"]),
        "editing": bench_editing.as_table(results["editing"]),
        "baseline": _baseline(json.loads(baseline.read_text())),
    }
    for name, rows in results["scaling"]["series"].items():
        made[f"scaling.{name}"] = scaling.as_table(name, rows)
    made["start"] = f"A run of one event costs {results['scaling']['start']:.2f} s of CPU."
    return made


def _machines(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Say where and when each was measured, and how quiet it was there."""
    places: dict[str, list[str]] = {}
    for name, content in results.items():
        busy = f"{name} ({content['cores_busy_with_others']:.2f})"
        places.setdefault(_place(content["machine"], content["date"]), []).append(busy)
    lines = [f"* {', '.join(names)}: {place}" for place, names in places.items()]
    return "\n".join([*lines, "", "In brackets: how many cores somebody else kept busy meanwhile."])


def _place(machine: Mapping[str, Any], date: str) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB; {machine['system']}; "
        f"Python {machine['python']}, {libraries}; tailrace {machine['tailrace']}; {date[:10]}."
    )


def _baseline(recorded: Mapping[str, Any]) -> str:
    job = recorded["job"]
    return f"Recorded: {recorded[regression.RATIO]:.2f} × the floor, on {job['input']}, {job['megabytes']} MB."


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the tables and plots of benchmarks/README.md.")
    parser.add_argument("--run", action="store_true", help="measure everything first")
    parser.add_argument("--runs", type=int, help="so many of each, instead of what the scripts think right")
    options = parser.parse_args()
    if importlib.util.find_spec("matplotlib") is None:
        raise SystemExit("the plots need matplotlib: .venv/bin/pip install -e '.[bench]'")
    if options.run:
        for name, script in SCRIPTS.items():
            command = [sys.executable, "-m", f"benchmarks.{script}", "--json", str(RESULTS / f"{name}.json")]
            if options.runs and script != "bench_latency":
                command += ["--runs", str(options.runs)]
            print(" ".join(command), flush=True)
            subprocess.run(command, check=True)
        subprocess.run([sys.executable, "-m", "benchmarks.bench_pipeline", "--record"], check=True)
    results = load()
    plots.draw(results)
    PAGE.write_text(rewrite(PAGE.read_text(), blocks(results)))


if __name__ == "__main__":
    main()
