"""The stdout sink, as the real command uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
state_dir: {directory}/state
pipelines:
  show:
    schema: any
    source: {{type: tail, paths: [{directory}/app.log], tag: app}}
    sinks:
      - {{type: stdout, tag: {tag}}}
"""


@pytest.mark.parametrize(("tag", "expected"), [("false", b"one\n\xfftwo\n"), ("true", b"app\tone\napp\t\xfftwo\n")])
def test_lines_are_written_to_standard_output_as_they_are(tmp_path: Path, tag: str, expected: bytes) -> None:
    (tmp_path / "app.log").write_bytes(b"one\n\xfftwo\nnot whole yet")
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(directory=tmp_path, tag=tag))
    command = [sys.executable, "-m", "tailrace", "run", "--once", str(config)]
    assert subprocess.run(command, capture_output=True, check=True, timeout=60).stdout == expected
    assert subprocess.run(command, capture_output=True, check=True, timeout=60).stdout == b"", "they were committed"


def test_a_reader_that_goes_away_ends_the_run_with_a_word(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_bytes(b"line\n" * 100_000)
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(directory=tmp_path, tag="false"))
    command = [sys.executable, "-m", "tailrace", "run", "--once", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1
    assert b"Broken pipe" in said
