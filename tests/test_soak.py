"""A short soak: writing, rotation, posting, kills and faults together, and every event once in the end."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_some_seconds_of_everything_at_once_lose_nothing_and_repeat_nothing() -> None:
    seed = random.randrange(1 << 32)
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.2", "--seed", str(seed)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "PASS" in result.stdout
