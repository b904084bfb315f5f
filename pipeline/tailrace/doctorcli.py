"""The command `tailrace doctor`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from tailrace.arguments import BAD_USAGE, FAILED, Configs, Plugins, fail, load_config, make_registry


class Format(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"


def doctor(
    configs: Configs,
    gap: Annotated[
        str,
        typer.Option(metavar="DURATION", help="How long a log may be without an event where one file follows another."),
    ] = "60s",
    maxbackup: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="So many rotated files are kept; else a running kube-apiserver tells."),
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="For people or for programs.")] = Format.TEXT,
    plugins: Plugins = [],  # noqa: B006 - read by typer, never changed
) -> None:
    """Look at what surrounds the pipelines, and say whether all that should reach them does. Changes nothing.

    May be asked at any time, also while they run. Ends with 0 if there is nothing to do, else with 1.
    """
    from tailrace.doctor import examine
    from tailrace.doctortext import encode, lines, show
    from tailrace.finding import Surroundings
    from tailrace.quantity import parse_duration

    try:
        asked = Surroundings(gap=parse_duration(gap), max_backups=maxbackup)
    except ValueError as error:
        fail(f"--gap: {error}", BAD_USAGE)
    found = examine(load_config(configs, make_registry(plugins)).plans, asked)
    if output is Format.JSON:
        print(encode(found).decode())
    elif sys.stdout.isatty():
        from rich.console import Console

        show(found, Console(highlight=False))
    else:
        for line in lines(found):
            print(line)
    if any(finding.is_alarming for examined in found for finding in examined.findings):
        raise typer.Exit(FAILED)
