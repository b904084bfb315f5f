"""Whether the main job costs more than it did: its CPU against the floor's, beside what was recorded.

A ratio of two commands that took turns in one run is about the same on every machine of a kind; seconds are not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.25  # so much worse is a failure; less may be the machine
RATIO = "cpu_ratio_to_floor"


class Worse(Exception):  # noqa: N818 - said of the figure
    """The job costs clearly more than what is recorded."""


class Incomparable(Exception):  # noqa: N818
    """What was recorded is not about this input."""


def record(path: Path, job: Mapping[str, str | int], ratio: float) -> None:
    """Make this ratio the one that later ones are compared with; `job` says what was measured."""
    path.write_text(json.dumps({"job": dict(job), RATIO: round(ratio, 3)}, indent=1) + "\n")


def check(path: Path, job: Mapping[str, str | int], ratio: float) -> str:
    """Compare a ratio with the recorded one, and say how they stand. Raises Worse or Incomparable."""
    recorded = json.loads(path.read_text())
    if recorded["job"] != job:
        raise Incomparable(f"{path} is about {recorded['job']}, not about {dict(job)}; give the same options")
    before: float = recorded[RATIO]
    change = ratio / before - 1
    said = f"{ratio:.2f} × the floor, {before:.2f} × recorded: {change:+.0%}"
    if change > TOLERANCE:
        raise Worse(f"{said}, more than {TOLERANCE:.0%} worse; measure again on a quiet machine, or `--record` it")
    return said
