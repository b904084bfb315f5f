"""The command line: `tailrace run`, `check` and `stages`; the other commands have modules of their own.

Other packages add theirs by an entry point (`commands.py`).

Exit codes: 0 done; 1 a pipeline failed, or something is not in order; 2 bad config or usage.

What a command needs is imported when it is called, so that `--help` and a wrong option answer at once.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace import __version__, commands, deadlettercli, doctorcli, gzipcli, logs, pairing, statecli
from tailrace.arguments import BAD_USAGE, FAILED, Configs, Plugins, fail, load_config, make_registry

if TYPE_CHECKING:
    from tailrace.service import Service

app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
app.add_typer(statecli.app, name="state", help="Look at what is stored about pipelines, or repair it.")
app.add_typer(deadlettercli.app, name="dead-letter", help="Look at rejected events, or process them again.")
app.add_typer(gzipcli.app, name="gzip", help="Save what is whole in a damaged file.")


def main() -> None:
    """Run the command line."""
    if not commands.names(app).intersection(sys.argv[1:2]):  # to look for others takes a ninth of a start
        commands.add_to(app, commands.declared())
    try:
        app(prog_name="tailrace")
    finally:
        gc.freeze()  # what is left goes with the process; else Python looks for cycles in all of it, for 0.03 s


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tailrace {__version__}")
        raise typer.Exit


@app.callback()
def tailrace(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Log collection pipelines for Kubernetes audit logs: nothing lost, nothing twice, bytes untouched."""


@app.command()
def run(
    configs: Configs,
    once: Annotated[bool, typer.Option("--once", help="Stop at the end of the input.")] = False,
    stop_timeout: Annotated[
        int,
        typer.Option(
            min=0,
            max=86_400,
            metavar="SECONDS",
            help="How long pipelines may take to commit and end; then they are abandoned, which loses nothing.",
        ),
    ] = 30,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            metavar="N",
            help="Processes of each pipeline that can have several, whatever the config says.",
        ),
    ] = None,
    plugins: Plugins = [],  # noqa: B006 - read by typer, never changed
    log_format: Annotated[logs.Format, typer.Option(help="How log lines look.")] = logs.Format.AUTO,
    log_level: Annotated[logs.Level, typer.Option(help="From which level on to log.")] = logs.Level.INFO,
) -> None:
    """Run pipelines until a signal, or to the end of their input.

    SIGTERM and SIGINT commit and end. SIGHUP reads the config again; pipelines whose options are the same go on.
    """
    import os

    from tailrace import signals
    from tailrace.config import load
    from tailrace.garbage import collect_rarely
    from tailrace.hiring import Reserve
    from tailrace.lock import LockError, Locks
    from tailrace.machine import raise_descriptor_limit
    from tailrace.service import Service

    signals.hold_hangup()
    raise_descriptor_limit()
    collect_rarely()
    logs.configure(sys.stderr, log_format, log_level)
    registry = make_registry(plugins)
    config = load_config(configs, registry, follows=not once).with_workers(workers)
    reserve = Reserve()
    reserve.fill(sum(plan.workers for plan in config.plans if plan.workers > 1))  # while there are no threads
    with Locks() as locks:
        try:
            locks.take(plan.state_dir for plan in config.plans)
        except LockError as error:
            fail(str(error), FAILED)
        service = Service(
            config.plans,
            config.admin,
            reread=None if once else lambda: load(configs, registry, os.environ, follows=True).with_workers(workers),
            locks=locks,
            reserve=reserve,
            stop_timeout=stop_timeout,
        )
        signals.obey(service)
        if once and sys.stderr.isatty() and log_format is not logs.Format.JSON:
            code = _run_with_progress(service, log_format, log_level)
        else:
            code = service.run(once)
        if service.abandoned:
            os._exit(code)  # for their threads may keep the process from ending
    raise typer.Exit(code)


def _run_with_progress(service: Service, log_format: logs.Format, log_level: logs.Level) -> int:
    """Run to the end of the input with a progress bar, above which the log goes on."""
    from rich.console import Console

    from tailrace.progress import ProgressBar

    with ProgressBar(service.pipelines, Console(stderr=True)) as bar:
        logs.configure(sys.stderr, log_format, log_level)
        code = service.run(once=True, tick=bar.update)
    logs.configure(sys.stderr, log_format, log_level)
    return code


@app.command()
def check(configs: Configs, plugins: Plugins = []) -> None:  # noqa: B006
    """Say all that is wrong with config files; run nothing."""
    for plan in load_config(configs, make_registry(plugins)).plans:
        first_sink = 1 + len(plan.filters)
        print(f"ok: {plan.name}: {' -> '.join([*plan.types[:first_sink], ', '.join(plan.types[first_sink:])])}")


@app.command()
def stages(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="source, filter or sink.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The stage to describe.")] = None,
    plugins: Plugins = [],  # noqa: B006
) -> None:
    """List the stages there are, or describe one with all its options."""
    from tailrace import catalogue
    from tailrace.registry import RegistryError

    try:
        text = catalogue.describe(make_registry(plugins), kind, name)
    except (catalogue.UnknownKind, RegistryError) as error:
        fail(str(error), BAD_USAGE)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        print(text)


app.command()(pairing.kubeconfig)
app.command()(doctorcli.doctor)
