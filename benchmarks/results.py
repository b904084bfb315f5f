"""Figures as files: what was measured, where and with which versions, for `page.py` to make tables of."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

RESULTS = Path(__file__).with_name("results")
LIBRARIES = ("msgspec", "isal", "orjson")


def machine() -> dict[str, Any]:
    """Say where this runs."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(": ")[2] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{_distribution()}, Linux {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "tailrace": _revision(),
    }


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _revision() -> str:
    """The commit that is measured."""
    command = ["git", "describe", "--always", "--tags"]
    asked = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or importlib.metadata.version("tailrace")


class Busy(NamedTuple):
    """How much CPU was used so far, in seconds: on the whole machine, and by this process and its ended children."""

    machine: float
    ours: float
    at: float

    @classmethod
    def now(cls) -> Self:
        """Look at the counters."""
        # user nice system idle iowait irq softirq steal; what a hypervisor took away is somebody else's work too
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        used = sum(ticks) - ticks[3] - ticks[4]
        return cls(used / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4]), time.monotonic())

    def others(self) -> float:
        """How many cores somebody else has kept busy since then: what disturbed the measurement."""
        after = Busy.now()
        return max(0.0, (after.machine - self.machine - (after.ours - self.ours)) / (after.at - self.at))


def save(path: Path, name: str, figures: Mapping[str, Any], begun: Busy) -> None:
    """Write figures with their date and machine, and how busy others kept it."""
    content = {
        "name": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores_busy_with_others": round(begun.others(), 2),
        "machine": machine(),
        **figures,
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def load(directory: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Give all saved figures by name."""
    found = (json.loads(path.read_text()) for path in sorted(directory.glob("*.json")))
    return {content["name"]: content for content in found}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a script the options that all of them have."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file too")
    parser.add_argument("--dir", type=Path, help="where to work; default the directory for temporary files")


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Make a Markdown table; all columns but the first are figures."""
    lines = [heads, ["---", *(["---:"] * (len(heads) - 1))], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
