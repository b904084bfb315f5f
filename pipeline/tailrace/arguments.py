"""What commands are given (configs, folders of stages, a state directory), and how one ends that was given wrong."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

if TYPE_CHECKING:
    from tailrace.config import Config
    from tailrace.registry import Registry

FAILED: Final = 1
BAD_USAGE: Final = 2

Configs = Annotated[list[Path], typer.Argument(metavar="CONFIG", help="Files that declare pipelines.")]
Plugins = Annotated[
    list[Path],
    typer.Option("--plugins", metavar="DIR", help="A folder of stages; may be given several times."),
]
StateDir = Annotated[Path, typer.Argument(metavar="STATE_DIR", help="The state_dir of the config.")]


def make_registry(plugins: list[Path]) -> Registry:
    """Give the stages there are; print what is wrong with a folder and exit."""
    from tailrace.registry import Registry, RegistryError

    try:
        registry = Registry.standard()
        for folder in plugins:
            registry.add_folder(folder)
    except RegistryError as error:
        fail(str(error), BAD_USAGE)
    return registry


def load_config(configs: list[Path], registry: Registry, *, follows: bool = False) -> Config:
    """Read the configs; print all that is wrong with them and exit."""
    from tailrace.config import ConfigError, load

    try:
        return load(configs, registry, os.environ, follows=follows)
    except ConfigError as error:
        fail("\n".join(map(str, error.problems)), BAD_USAGE)


def check_state_dir(path: Path) -> None:
    """Exit with what to do if `path` cannot be a state directory."""
    if not path.is_dir():
        fail(f"{path} is no directory; give the state_dir of the config, which the first run makes", BAD_USAGE)
    if next(path.glob("checkpoint*.json"), None):
        fail(f"{path} is the directory of one pipeline; give the state directory: {path.resolve().parent}", BAD_USAGE)


@contextlib.contextmanager
def os_errors() -> Iterator[None]:
    """Print an error of the operating system in one line and exit."""
    try:
        yield
    except BrokenPipeError:  # whoever reads our output has seen enough
        raise
    except OSError as error:
        fail(str(error), FAILED)


def fail(message: str, code: int) -> NoReturn:
    """Print what is wrong and exit."""
    print(message, file=sys.stderr)
    raise typer.Exit(code)
