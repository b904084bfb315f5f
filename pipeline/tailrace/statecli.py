"""The commands `tailrace state …`: looking at what is stored about pipelines, and repairing it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tailrace import logs
from tailrace.arguments import FAILED, StateDir, check_state_dir, fail, os_errors

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


@app.command()
def verify(
    state_dir: StateDir,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Only what the checkpoints record, not files closed long ago.")
    ] = False,
) -> None:
    """Check every checkpoint and every file that it records, to the last committed byte. Changes nothing.

    And every other file that the path of a sink can have made: that its compressed members are whole.

    Ends with 0 if all is whole, else with 1, and says what is wrong, where, and what to do.
    """
    from tailrace import lock
    from tailrace.statetext import verification_lines
    from tailrace.verification import verify as verify_all

    check_state_dir(state_dir)
    with os_errors():
        holder = lock.holder(state_dir)
        found = verify_all(state_dir, closed=not recorded)
    for line in verification_lines(state_dir, holder, found):
        print(line)
    if any(pipeline.findings for pipeline in found):
        raise typer.Exit(FAILED)


@app.command()
def repair(
    state_dir: StateDir,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Do what is safe to put the directory in order, and say each step; no committed byte is lost.

    What would lose or repeat events is left to a person, and named; then it ends with 1.
    """
    import contextlib

    from tailrace import lock
    from tailrace.context import Context
    from tailrace.logs import escape
    from tailrace.repair import steps
    from tailrace.stage import Damaged
    from tailrace.verification import verify as verify_all

    check_state_dir(state_dir)
    is_left = False
    number = 0
    try:
        with os_errors(), contextlib.ExitStack() as held:
            if not dry_run:
                held.enter_context(lock.hold(state_dir))
            elif holder := lock.holder(state_dir):
                fail(f"{state_dir} is held by process {holder}; stop that one first", FAILED)
            for found in verify_all(state_dir):
                for step in steps(found, Context(pipeline=found.name, state_dir=found.directory)):
                    number += 1
                    print(f"{found.name}: {'would ' if dry_run else ''}{escape(step.text)}")
                    if not dry_run:
                        step.run()
                for finding in found.findings:
                    if not finding.repairable:
                        is_left = True
                        print(f"{found.name}: NOT DONE {finding}")
    except (lock.LockError, Damaged) as error:
        fail(str(error), FAILED)
    if is_left:
        raise typer.Exit(FAILED)
    if not number:
        print("there is nothing to repair")
