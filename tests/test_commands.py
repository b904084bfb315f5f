"""Commands that other packages add."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
from test_cli import SERVING
from typer.testing import CliRunner

from tailrace import commands

MODULE = """
import typer
app = typer.Typer(help="Say hello.")

@app.command()
def hello(name: str) -> None:
    print(f"hello {name}")

@app.command()
def bye() -> None:
    pass

number = 7

single = typer.Typer()

@single.command()
def sing(name: str, loud: bool = False) -> None:
    print(name.upper() if loud else name)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"greeting_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"broken_{name}.py").write_text("1 / 0\n")
    return name


def program(*points: tuple[str, str]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def check() -> None:
        print("checked")

    app.add_typer(typer.Typer(), name="state")
    commands.add_to(app, [EntryPoint(name, value, "tailrace.commands") for name, value in points])
    return app


def test_a_command_of_another_package_stands_beside_ours(module: str) -> None:
    app = program(("greet", f"{module}:app"))
    assert CliRunner().invoke(app, ["greet", "hello", "you"]).stdout == "hello you\n"
    assert CliRunner().invoke(app, ["check"]).stdout == "checked\n"
    assert "Say hello." in CliRunner().invoke(app, ["--help"]).stdout


def test_an_app_with_one_command_is_that_command(module: str) -> None:
    app = program(("sing", f"{module}:single"))
    assert CliRunner().invoke(app, ["sing", "la", "--loud"]).stdout == "LA\n"


def test_one_that_cannot_be_added_is_named_and_the_others_work(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    app = program(
        ("a", f"broken_{module}:app"),
        ("b", f"{module}:number"),
        ("c", f"{module}:nothing"),
        ("check", f"{module}:app"),
        ("state", f"{module}:app"),
        ("greet", f"{module}:app"),
        ("greet", f"{module}:app"),
    )
    said = capsys.readouterr().err.splitlines()
    assert [line.split("'")[1] for line in said] == ["a", "b", "c", "check", "state", "greet"]
    for line, words in zip(
        said, ("ZeroDivisionError", "no typer.Typer", "nothing", *["there is such a command already"] * 3), strict=True
    ):
        assert words in line
    assert CliRunner().invoke(app, ["check"]).stdout == "checked\n"
    assert CliRunner().invoke(app, ["greet", "hello", "you"]).stdout == "hello you\n"


def test_the_standard_package_declares_its_commands() -> None:
    assert [point.name for point in commands.declared()] == ["convert", "policy"]


def test_help_needs_nothing_that_is_slow_to_import() -> None:
    slow = {"rich", "yaml", "watchdog", "smart_open", *SERVING}
    code = (
        "import sys; from tailrace import cli, commands; "
        f"commands.add_to(cli.app, commands.declared()); print(*{slow} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_other_packages_are_asked_only_for_commands_that_are_not_ours() -> None:
    code = (
        "import atexit, sys; from tailrace.cli import main; "
        "atexit.register(lambda: print('convertcli' in ' '.join(sys.modules))); main()"
    )
    for words, asked in ((["stages"], False), (["convert", "--help"], True), (["--help"], True), (["no"], True)):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == str(asked), words
