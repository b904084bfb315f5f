from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GROUPS = ("tailrace.commands", "tailrace.sources", "tailrace.filters", "tailrace.sinks")

# Run with the folder that the wheel was installed into; prints what was imported from where.
PROBE = """
import importlib, json, sys
from importlib.metadata import distributions
folder = sys.argv[1]
others = [path for path in sys.path if not path.startswith(sys.argv[2]) or path.endswith("site-packages")]
sys.path = [folder, *others]
[found] = [each for each in distributions(path=[folder]) if each.name == "tailrace"]
import tailrace
modules = {"tailrace": tailrace.__file__}
names = []
for point in found.entry_points:
    names.append(f"{point.group} {point.name}")
    point.load()
    modules[point.module] = sys.modules[point.module].__file__
print(json.dumps({"version": found.version, "own": tailrace.__version__, "modules": modules, "names": names}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    run(
        sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--disable-pip-version-check",
        "--target", folder, wheel, cwd=folder,
    )  # fmt: skip
    return folder


def test_wheel_holds_both_packages_with_their_type_marks_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"tailrace/py.typed", "tailrace_plugins/py.typed"} <= set(names)
    assert {name.split("/")[0] for name in names} == {
        "tailrace",
        "tailrace_plugins",
        "tailrace-0.1.0.dist-info",
    }


def test_wheel_holds_every_module_of_the_checkout(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for root in (ROOT / "pipeline", ROOT / "plugins"):
        for module in root.rglob("*.py"):
            assert str(module.relative_to(root)) in names


def test_installed_wheel_works_without_the_checkout(installed: Path) -> None:
    probed = json.loads(run(sys.executable, "-c", PROBE, installed, ROOT, cwd=installed))
    assert probed["version"] == probed["own"]
    for module, file in probed["modules"].items():
        assert Path(file).is_relative_to(installed), module
    expected = {f"{group} {point.name}" for group in GROUPS for point in entry_points(group=group)}
    assert expected | {"console_scripts tailrace"} == set(probed["names"])


def test_installed_command_says_its_version(installed: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); from tailrace.cli import main; main()"
    said = run(sys.executable, "-c", code, "--version", cwd=installed)
    assert "0.1.0" in said
