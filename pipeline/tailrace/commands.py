"""Commands that other packages add: typer apps, declared as entry points of the group `tailrace.commands`.

They stand beside our own under the name of the entry point: as groups of commands, or, as with typer itself, as one
command if the app has but one and no callback. Their modules are imported for `--help` and for each other, so they
should import what they need when they are called, as ours do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

import typer


def declared() -> list[EntryPoint]:
    """Give what the installed packages declare, in alphabetical order."""
    return sorted(entry_points(group="tailrace.commands"), key=lambda point: point.name)


def names(app: typer.Typer) -> set[str]:
    """Give the words by which the commands of an app are called."""
    groups = {group.name for group in app.registered_groups}
    commands = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    return {name for name in groups | commands if name}


def add_to(app: typer.Typer, points: Iterable[EntryPoint]) -> None:
    """Add commands to our own. What cannot be loaded is said and left out: pipelines must run without it."""
    ours = names(app)
    for point in points:
        try:
            if point.name in ours:
                raise ImportError("there is such a command already")
            loaded = point.load()
            if not isinstance(loaded, typer.Typer):
                raise ImportError("it is no typer.Typer")
        except Exception as error:  # whatever the package's own code raises
            what = f"{type(error).__name__}: {error}"
            print(f"cannot add the command {point.name!r} of {point.value}: {what}", file=sys.stderr)
        else:
            ours.add(point.name)
            _add(app, loaded, point.name)


def _add(app: typer.Typer, loaded: typer.Typer, name: str) -> None:
    commands = loaded.registered_commands
    only = commands[0].callback if len(commands) == 1 else None
    if only is None or loaded.registered_groups or loaded.registered_callback:
        app.add_typer(loaded, name=name)
    else:
        app.command(name)(only)
