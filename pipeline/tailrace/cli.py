"""The command line: `tailrace run`, `check`, `stages`, `state` and `kubeconfig`.

Exit codes: 0 done; 1 a pipeline failed, or the state directory is not in order; 2 bad config or usage.

What a command needs is imported when it is called, so that `--help` and a wrong option answer at once.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from tailrace import __version__, logs, pairing

if TYPE_CHECKING:
    from types import FrameType

    from tailrace.config import Config
    from tailrace.registry import Registry
    from tailrace.service import Service

FAILED: Final = 1
BAD_USAGE: Final = 2

app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
state_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(state_app, name="state", help="Look at what is stored about pipelines, or repair it.")

Configs = Annotated[list[Path], typer.Argument(metavar="CONFIG", help="Files that declare pipelines.")]
Plugins = Annotated[
    list[Path],
    typer.Option("--plugins", metavar="DIR", help="A folder of stages; may be given several times."),
]
StateDir = Annotated[Path, typer.Argument(metavar="STATE_DIR", help="The state_dir of the config.")]


def main() -> None:
    """Run the command line."""
    app(prog_name="tailrace")


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
    plugins: Plugins = [],  # noqa: B006 - read by typer, never changed
    log_format: Annotated[logs.Format, typer.Option(help="How log lines look.")] = logs.Format.AUTO,
    log_level: Annotated[logs.Level, typer.Option(help="From which level on to log.")] = logs.Level.INFO,
) -> None:
    """Run pipelines until a signal, or to the end of their input."""
    import threading

    from tailrace import lock
    from tailrace.service import Service

    logs.configure(sys.stderr, log_format, log_level)
    config = _load(configs, plugins)
    with contextlib.ExitStack() as held:
        try:
            for state_dir in sorted({plan.state_dir.resolve() for plan in config.plans}):
                held.enter_context(lock.hold(state_dir))
        except lock.LockError as error:
            _fail(str(error), FAILED)
        service = Service(config.plans, config.admin)
        _obey_signals(service)
        if once and sys.stderr.isatty() and log_format is not logs.Format.JSON:
            code = _run_with_progress(service, log_format, log_level)
        else:
            code = service.run(threading.Event(), once)
    raise typer.Exit(code)


def _obey_signals(service: Service) -> None:
    """Stop at the first SIGTERM or SIGINT, and at once at the second."""
    import os
    import signal

    def on_signal(number: int, frame: FrameType | None) -> None:
        if service.stopping:
            os._exit(FAILED)  # as good as kill -9, which is safe at any time
        service.stop()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def _run_with_progress(service: Service, log_format: logs.Format, log_level: logs.Level) -> int:
    """Run to the end of the input with a progress bar, above which the log goes on."""
    import threading

    from rich.console import Console

    from tailrace.progress import ProgressBar

    with ProgressBar(service.pipelines, Console(stderr=True)) as bar:
        logs.configure(sys.stderr, log_format, log_level)
        code = service.run(threading.Event(), once=True, tick=bar.update)
    logs.configure(sys.stderr, log_format, log_level)
    return code


@app.command()
def check(configs: Configs, plugins: Plugins = []) -> None:  # noqa: B006
    """Say all that is wrong with config files; run nothing."""
    for plan in _load(configs, plugins).plans:
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
        text = catalogue.describe(_registry(plugins), kind, name)
    except (catalogue.UnknownKind, RegistryError) as error:
        _fail(str(error), BAD_USAGE)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        print(text)


app.command()(pairing.kubeconfig)


@state_app.command()
def show(state_dir: StateDir, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show how far each pipeline is and whether its files are as recorded. Changes nothing."""
    from tailrace.inspection import inspect

    with _os_errors():
        report = inspect(state_dir)
    if json:
        import orjson

        print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        from tailrace.statetext import render

        print(render(report))
    if not report.is_sound:
        raise typer.Exit(FAILED)


@state_app.command()
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
        with _os_errors():
            sinks = forget_file(state_dir, pipeline, file)
    except (ForgetError, LockError, Damaged) as error:
        _fail(str(error), FAILED)
    print(f"{pipeline}: {', '.join(sinks)} no longer expects {file}")


def _registry(plugins: list[Path]) -> Registry:
    from tailrace.registry import Registry, RegistryError

    try:
        registry = Registry.standard()
        for folder in plugins:
            registry.add_folder(folder)
    except RegistryError as error:
        _fail(str(error), BAD_USAGE)
    return registry


def _load(configs: list[Path], plugins: list[Path]) -> Config:
    """Read the configs; print all that is wrong with them and exit."""
    import os

    from tailrace.config import ConfigError, load

    try:
        return load(configs, _registry(plugins), os.environ)
    except ConfigError as error:
        _fail("\n".join(map(str, error.problems)), BAD_USAGE)


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _fail(str(error), FAILED)


def _fail(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(code)
