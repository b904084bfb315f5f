"""The commands `tailrace state …`: looking at what is stored about pipelines, and repairing it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tailrace import logs
from tailrace.arguments import FAILED, StateDir, fail, os_errors

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


@app.command()
def show(state_dir: StateDir, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show how far each pipeline is and whether its files are as recorded. Changes nothing."""
    from tailrace.inspection import inspect

    with os_errors():
        report = inspect(state_dir)
    if json:
        import orjson

        print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        from tailrace.statetext import render

        print(render(report))
    if not report.is_sound:
        raise typer.Exit(FAILED)


@app.command()
def forget(
    state_dir: StateDir,
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The lost output file.")],
) -> None:
    """Accept the loss of an output file, so that its pipeline can start again."""
    from tailrace.forgetting import ForgetError
    from tailrace.forgetting import forget as forget_file
    from tailrace.lock import LockError
    from tailrace.stage import Damaged

    logs.configure(sys.stderr)
    try:
        with os_errors():
            sinks = forget_file(state_dir, pipeline, file)
    except (ForgetError, LockError, Damaged) as error:
        fail(str(error), FAILED)
    print(f"{pipeline}: {', '.join(sinks)} no longer expects {file}")
