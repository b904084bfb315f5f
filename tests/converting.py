"""The command `tailrace convert`, in this process or one of its own, and what it writes, at work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner

from tailrace.config import load
from tailrace.document import Plain, parse
from tailrace.registry import Registry
from tailrace.service import Service
from tailrace_plugins.convertcli import app
from tailrace_plugins.converting.outcome import NewStage, Outcome
from tailrace_plugins.converting.writing import write

EXAMPLES = Path(__file__).parent / "data" / "convert"


def tailrace(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tailrace", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Said(NamedTuple):
    """How a command ended and what it said."""

    returncode: int
    stdout: str
    stderr: str


def convert(*arguments: object) -> Said:
    """Run the command in this process, which is quicker."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


def run_once(config: Path) -> int:
    """Run a config to the end of its input, in this process."""
    return Service(load([config], Registry.standard(), {"HOSTNAME": "node-1"}).plans).run(once=True)


def example(name: str, directory: Path) -> Path:
    """Give an example with its files in a directory of ours."""
    path = directory / name
    path.write_text((EXAMPLES / name).read_text().replace("/var/log", str(directory)))
    return path


def options(stages: list[NewStage]) -> list[dict[str, Plain]]:
    return [stage.options for stage in stages]


def lines(remarks: list[Any]) -> dict[int, str]:
    """Give what is said of each line, without the file."""
    return {remark.place.line: f"{remark.what}: {remark.why}" for remark in remarks}


def run(outcome: Outcome, directory: Path) -> None:
    """Write a config, see that it can be read back, check it, and run it to the end of its input."""
    config = directory / "new.yaml"
    config.write_text(write(outcome, "old.conf", str(directory / "state")))
    value, problems = parse(config.read_text(), str(config), {"HOSTNAME": "node-1"})
    assert value is not None
    assert not problems
    assert run_once(config) == 0
