"""Every command and code block of the README works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tailrace.config import load
from tailrace.context import Context
from tailrace.metrics import exposition
from tailrace.pipeline import Pipeline
from tailrace.registry import Registry
from tailrace.stage import Filter
from tailrace.testing import ListSink, apply, check_filter
from tailrace_plugins.sources.tail import Tail

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EVENTS = [
    b'{"verb":"get","userAgent":"kubectl/v1.32"}',
    b'{"verb":"delete","userAgent":"helm"}',
    b'{"verb":"create"}',
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    commands = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert commands[0] == "make demo"
    script = "set -e\n" + "\n".join(commands[1:])
    script = script.replace(" /tmp/", f" {tmp_path}/").replace("=/tmp/", f"={tmp_path}/")
    script = script.replace(".venv/bin/tailrace", f"{sys.executable} -m tailrace")
    result = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "audit-by-namespace" in result.stdout
    assert list((tmp_path / "audit").glob("audit-default.*.log.gz"))


def test_make_demo_ends_well() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.demo"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "PASS" in result.stdout


def whole_configs() -> list[str]:
    return [block for block in blocks("yaml") if "pipelines:" in block]


def test_the_configs_in_the_readme_are_those_in_configs() -> None:
    for name, shown in zip(("audit-by-namespace", "audit-by-user"), whole_configs(), strict=True):
        config = (ROOT / "configs" / f"{name}.yaml").read_text()
        without_comments = "\n".join(line for line in config.splitlines() if not line.lstrip().startswith("#"))
        assert shown.strip() == without_comments.strip()


def test_every_other_piece_of_config_in_the_readme_can_be_put_on_top_of_it(tmp_path: Path) -> None:
    config = whole_configs()[0]
    pieces = [block for block in blocks("yaml") if block not in whole_configs()]
    assert pieces
    for piece in pieces:
        path = tmp_path / "tailrace.yaml"
        path.write_text(piece + config)
        load([path], Registry.standard(), {})


def test_every_metric_that_the_readme_names_is_on_the_page(tmp_path: Path) -> None:
    context = Context(pipeline="audit", state_dir=tmp_path)
    page = exposition([Pipeline(context, Tail(paths=["/var/log/audit.log"]), [], {"out": ListSink()})]).decode()
    names = set(re.findall(r"tailrace_[a-z_]+", README))
    assert len(names) == 8
    assert not [name for name in names if f"\n{name}{{" not in page]


@pytest.fixture
def stages(tmp_path: Path) -> Registry:
    for number, code in enumerate(blocks("python")):
        (tmp_path / f"stage{number}.py").write_text(code)
    registry = Registry()
    registry.add_folder(tmp_path)
    return registry


def test_the_stages_of_the_readme_work(stages: Registry) -> None:
    mask = stages.get("filter", "mask_agents")()
    writes = stages.get("filter", "only_writes")()
    assert isinstance(mask, Filter)
    assert isinstance(writes, Filter)
    assert apply(mask, EVENTS).lines == [
        b'{"verb":"get","userAgent":"***"}',
        b'{"verb":"delete","userAgent":"***"}',
        b'{"verb":"create"}',
    ]
    assert apply(writes, EVENTS).lines == EVENTS[1:]
    for stage in (mask, writes):
        check_filter(stage, EVENTS)


def test_the_files_and_tests_that_the_readme_names_are_there() -> None:
    for name in re.findall(r"\]\(([^):#]+)\)", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`(test_[a-z_]+\*?\.py)`", README + (ROOT / "ARCHITECTURE.md").read_text()):
        assert list((ROOT / "tests").glob(name)), name


def test_the_commands_in_the_table_are_those_of_the_program() -> None:
    environment = os.environ | {"COLUMNS": "120"}
    for words in re.findall(r"^\| `tailrace ((?: ?[a-z]+(?:-[a-z]+)*)+)", README, re.MULTILINE):
        command = [sys.executable, "-m", "tailrace", *words.split(), "--help"]
        assert subprocess.run(command, capture_output=True, env=environment, check=False).returncode == 0, words
