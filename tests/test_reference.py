from __future__ import annotations

import datetime
import enum
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from tailrace.reference import main, reference, stage_reference
from tailrace.registry import KINDS, Registry
from tailrace.stage import Filter, Source


class Rule(msgspec.Struct):
    pattern: Annotated[str, Meta(description="What is looked for.")]
    parts: dict[str, Part] = {}


class Part(msgspec.Struct):
    size: int = 0


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Many(Filter, kw_only=True):
    """Do many things.

    type: many
    """

    text: Annotated[str, Meta(description="Some | text\nof two lines.")]
    maybe: Annotated[str | None, Meta(description="Perhaps.")] = None
    seconds: Annotated[float, Meta(gt=0, le=10, description="How long.")] | None = None
    size: Annotated[int, Meta(ge=1, lt=2**24)] = 16
    on: bool = True
    level: Literal["low", 2] = "low"
    color: Color = Color.RED
    names: list[str] = msgspec.field(default_factory=list)
    counts: dict[str, list[int]] = msgspec.field(default_factory=dict)
    folder: Path | None = None
    anything: Any = None
    day: datetime.date | None = None
    either: str | list[str] = "x"
    rules: list[Rule] | None = None
    rule: Rule | None = None


class Bare(Source, kw_only=True):
    pass


def rows(text: str) -> dict[str, list[str]]:
    table = [line[2:-2].split(" | ") for line in text.replace(r"\|", "¦").splitlines() if line[:3] == "| `"]
    return {cells[0].strip("`"): cells[1:] for cells in table}


def test_a_stage_is_described_by_its_name_its_docstring_and_its_options() -> None:
    text = stage_reference("filter", "many", Many)
    assert text.startswith("### filter `many`\n\nDo many things.\n\ntype: many\n\n| Option | Type | Default |")
    table = rows(text)
    assert table["text"] == ["string", "required", "Some ¦ text of two lines."]
    assert table["maybe"] == ["string", "", "Perhaps."]
    assert "match" in table


@pytest.mark.parametrize(
    ("option", "type_in_words", "default"),
    [
        ("seconds", "number > 0 <= 10", ""),
        ("size", "whole number >= 1 < 16777216", "`16`"),
        ("on", "true or false", "`true`"),
        ("level", '2 or "low"', '`"low"`'),
        ("color", '"red" or "blue"', '`"red"`'),
        ("names", "list of string", "`[]`"),
        ("counts", "mapping to list of whole number", "`{}`"),
        ("anything", "anything", ""),
        ("day", "date", ""),
        ("folder", "Path", ""),
        ("either", "string or list of string", '`"x"`'),
        ("rules", "list of mapping", ""),
        ("rules[].pattern", "string", "required"),
        ("rules[].parts", "mapping to mapping", "`{}`"),
        ("rules[].parts.NAME.size", "whole number", "`0`"),
        ("rule.pattern", "string", "required"),
    ],
)
def test_types_and_defaults_are_in_plain_words(option: str, type_in_words: str, default: str) -> None:
    cells = rows(stage_reference("filter", "many", Many))[option]
    assert [cell.strip() for cell in cells[:2]] == [type_in_words, default]


def test_a_stage_without_docstring_and_options_is_described_all_the_same() -> None:
    assert stage_reference("source", "bare", Bare) == "### source `bare`\n\nIt has no options.\n"


def test_the_reference_has_the_keys_of_a_file_and_every_stage_in_order() -> None:
    registry = Registry()
    registry.add("filter", "second", Many)
    registry.add("filter", "first", Many)
    registry.add("source", "bare", Bare)
    text = reference(registry)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# Reference of the configuration",
        "## The file",
        "## `pipelines.NAME`",
        "## Sources",
        "### source `bare`",
        "## Filters",
        "### filter `first`",
        "### filter `second`",
        "## Sinks",
    ]
    assert {
        "state_dir",
        "plugins",
        "pipelines",
        "schema",
        "commit_interval",
        "source",
        "filters",
        "sinks",
    } <= set(rows(text))
    assert text == reference(registry.copy())


def test_the_command_writes_the_reference_and_tells_whether_it_is_current(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "REFERENCE.md"
    assert main(["--check", str(file)]) == 1
    assert main([str(file)]) == 0
    assert main(["--check", str(file)]) == 0
    registry = Registry.standard()
    text = file.read_text()
    assert all(f"### {kind} `{name}`" in text for kind in KINDS for name in registry.names(kind))
    file.write_text("old")
    assert main(["--check", str(file)]) == 1
    assert f"run: python -m tailrace.reference {file}" in capsys.readouterr().err


def test_the_reference_in_configs_is_current() -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "tailrace.reference", "--check", str(root / "configs" / "REFERENCE.md")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
