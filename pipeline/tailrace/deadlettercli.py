"""The commands `tailrace dead-letter …`: looking at rejected events, and processing them again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace import logs
from tailrace.arguments import (
    BAD_USAGE,
    FAILED,
    Plugins,
    StateDir,
    check_state_dir,
    fail,
    load_config,
    make_registry,
    os_errors,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tailrace.checkpoint import State
    from tailrace.config import Plan
    from tailrace.letters import Letter
    from tailrace.replay import Replay

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


@app.command()
def show(
    state_dir: StateDir,
    pipeline: Annotated[str | None, typer.Argument(metavar="PIPELINE", help="Only this one.")] = None,
    events: Annotated[bool, typer.Option("--events", help="Show the events too, safe for a terminal.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the envelopes as they are, one per line.")] = False,
    reason: Annotated[
        list[str], typer.Option(help="Only events with this text in their reason; may be given several times.")
    ] = [],  # noqa: B006 - read by typer, never changed
) -> None:
    """Show what was rejected and why: a summary, the events, or the raw envelopes. Changes nothing."""
    from tailrace.checkpoint import pipelines

    check_state_dir(state_dir)
    directories = {directory.name: directory for directory in pipelines(state_dir)}
    if pipeline is not None and pipeline not in directories:
        fail(f"{state_dir} holds no pipeline {pipeline!r}; it holds: {', '.join(directories) or 'none'}", BAD_USAGE)
    with os_errors():
        for name, directory in directories.items():
            if pipeline in (None, name):
                for line in _raw(directory, reason) if json else _text(directory, reason, events):
                    sys.stdout.buffer.write(line + b"\n")
        sys.stdout.flush()


def _raw(directory: Path, reasons: list[str]) -> Iterator[bytes]:
    return (line for line, _ in _select(directory, reasons))


def _text(directory: Path, reasons: list[str], events: bool) -> Iterator[bytes]:
    from tailrace.letters import under_way
    from tailrace.lettertext import Summary, render

    summary = Summary()
    for _, letter in _select(directory, reasons):
        summary.add(letter)
    yield f"{directory.name}: {summary.events} events in the dead letter".encode()
    state = _state(directory)
    if state is not None and under_way(directory, state) is not None:
        yield b"  a replay was begun and is not finished; run it again, and it goes on"
    yield from map(str.encode, summary.lines())
    if events:
        yield from map(str.encode, render(letter for _, letter in _select(directory, reasons)))


def _select(directory: Path, reasons: list[str]) -> Iterator[tuple[bytes, Letter]]:
    from tailrace.letters import read, waiting

    for line, letter in read(waiting(directory, _state(directory))):
        if not reasons or any(text in letter.reason for text in reasons):
            yield line, letter


def _state(directory: Path) -> State | None:
    from tailrace.checkpoint import generations

    return next((generation.state for generation in generations(directory) if generation.state), None)


@app.command()
def replay(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The file that declares the pipeline.")],
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come of it.")] = False,
    plugins: Plugins = [],  # noqa: B006
) -> None:
    """Put rejected events through their pipeline again, each exactly once; what fails again is rejected again.

    The pipeline must not run meanwhile. A replay that was interrupted is finished by the next one.
    """
    plans = {plan.name: plan for plan in load_config([config], make_registry(plugins)).plans}
    plan = plans.get(pipeline)
    if plan is None:
        fail(f"{config} declares no pipeline {pipeline!r}; it declares: {', '.join(plans)}", BAD_USAGE)
    if not (plan.state_dir / plan.name).is_dir():
        fail(f"{pipeline} has never run: {plan.state_dir / plan.name} does not exist", FAILED)
    with os_errors():
        code = _rehearse(plan) if dry_run else _replay(plan)
    raise typer.Exit(code)


def _replay(plan: Plan) -> int:
    from tailrace import lock, signals
    from tailrace.context import Context
    from tailrace.replay import begin, finish, replay_plan
    from tailrace.service import Service
    from tailrace.stage import Damaged

    logs.configure(sys.stderr)
    context = Context(pipeline=plan.name, state_dir=plan.state_dir / plan.name)
    try:
        with lock.hold(plan.state_dir):
            source = begin(context, _max_line_bytes(plan))
            if source is None:
                print(f"{plan.name}: nothing is in the dead letter")
                return 0
            service = Service([replay_plan(plan, source)])
            signals.obey(service)
            if service.run(once=True) != 0:
                return FAILED
            finish(context)
    except (lock.LockError, Damaged) as error:
        fail(str(error), FAILED)
    counts = service.pipelines[0].counts
    print(
        f"{plan.name}: {counts.events_in} events put through again: {counts.events_out} passed, {counts.dropped} were "
        f"dropped by filters, {counts.rejected} are in the dead letter again{_describe_left(source)}"
    )
    return 0


def _rehearse(plan: Plan) -> int:
    import tempfile

    from tailrace.letters import put_aside, read
    from tailrace.lettertext import Summary
    from tailrace.replay import find, rehearsal_plan
    from tailrace.service import Service

    logs.configure(sys.stderr, level=logs.Level.ERROR)  # what is rejected is told below
    state = _state(plan.state_dir / plan.name)
    source = None if state is None else find(plan.state_dir / plan.name, state, _max_line_bytes(plan))
    if source is None:
        print(f"{plan.name}: nothing is in the dead letter")
        return 0
    with tempfile.TemporaryDirectory(prefix="tailrace-") as directory:
        service = Service([rehearsal_plan(plan, source, Path(directory))])
        if service.run(once=True) != 0:
            return FAILED
        summary = Summary()
        for _, letter in read([put_aside(Path(directory) / plan.name, None)]):
            summary.add(letter)
    counts = service.pipelines[0].counts
    print(
        f"{plan.name}: {counts.events_in} events would be put through again: {counts.events_out} would pass, "
        f"{counts.dropped} would be dropped by filters, {counts.rejected} would come back{_describe_left(source)}"
    )
    print("".join(f"{line}\n" for line in summary.lines()), end="")
    return 0


def _describe_left(source: Replay) -> str:
    """Say what was no event: in a few words, for they are among those that came back."""
    if not source.left:
        return ""
    return f", {source.left} of them as they are, for they are damaged, or pieces of lines too long or not all there"


def _max_line_bytes(plan: Plan) -> int | None:
    """Give how long a line may be for the pipeline's own source; None if it does not say."""
    limit = getattr(plan.source, "max_line_bytes", None)
    return limit if isinstance(limit, int) else None
