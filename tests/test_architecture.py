"""What ARCHITECTURE.md says of the code's shape is so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tailrace

ROOT = Path(__file__).parents[1]
FRAMEWORK = sorted((ROOT / "pipeline" / "tailrace").glob("*.py"))
PLUGINS = sorted((ROOT / "plugins" / "tailrace_plugins").rglob("*.py"))
MAY_IMPORT = tuple(
    f"tailrace.{name}" for name in ("arguments", "auditevent", "beginning", "document", "durable", "serving")
)
DURABLE = {"fsync", "fdatasync", "rename", "replace", "renames", "truncate", "ftruncate", "link", "unlink", "remove"}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Give each imported module with the name taken from it (empty for the module itself)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", FRAMEWORK, ids=lambda path: path.name)
def test_the_framework_never_imports_the_plugins(path: Path) -> None:
    assert not [module for module, _ in imports(path) if module.startswith("tailrace_plugins")]


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.name)
def test_standard_stages_use_only_what_any_stage_may_use(path: Path) -> None:
    for module, name in imports(path):
        if module.split(".")[0] == "tailrace" and module not in MAY_IMPORT:
            assert module == "tailrace"
            assert name in tailrace.__all__


@pytest.mark.parametrize("path", [*FRAMEWORK, *PLUGINS], ids=lambda path: path.name)
def test_only_the_disk_makes_things_durable(path: Path) -> None:
    if path.name in ("durable.py", "faults.py"):  # the seam, and its double that simulates a power cut
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("os", "shutil"):
            assert node.attr not in DURABLE, f"{path.name}:{node.lineno} uses os.{node.attr}"


def test_the_code_map_names_every_module() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    missing = [path.name for path in FRAMEWORK if not path.name.startswith("__") and f"`{path.name}`" not in text]
    assert not missing


def test_the_public_names_are_all_there() -> None:
    assert sorted(tailrace.__all__) == sorted(set(tailrace.__all__))
    for name in tailrace.__all__:
        assert hasattr(tailrace, name)
