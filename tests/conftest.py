"""Settings of the test run."""

from __future__ import annotations

import compileall
import os
from pathlib import Path

import pytest
from hypothesis import settings

# the machine may be busy with other tests; how long an example takes says nothing
settings.register_profile("tailrace", deadline=None, max_examples=60)
settings.register_profile("long", deadline=None, max_examples=2_500)  # pytest --hypothesis-profile=long
settings.load_profile("tailrace")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are processors, for many tests wait for processes that they kill."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Compile what hundreds of processes import, also where PYTHONDONTWRITEBYTECODE keeps each from keeping it."""
    if not hasattr(config, "workerinput"):
        for source in ("pipeline", "plugins"):
            compileall.compile_dir(Path(__file__).parents[1] / source, quiet=1)
