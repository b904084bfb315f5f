"""The commands `tailrace policy …`: looking at audit policies before an API server or a pipeline has them.

Exit codes: 0 done; 1 a log cannot be read; 2 a policy or an event is not valid, or bad usage.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.arguments import BAD_USAGE, fail, os_errors

if TYPE_CHECKING:
    from tailrace_plugins.policy.policy import Policy

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Check, explain and compare audit policies of the API server."
)

PolicyFile = Annotated[Path, typer.Argument(metavar="FILE", help="A policy file (audit.k8s.io/v1).")]


@app.command()
def check(file: PolicyFile) -> None:
    """Say all that is wrong with a policy file, also what the API server only warns of."""
    from tailrace_plugins.policy.explanation import unreachable

    policy = _read(file)
    for line in unreachable(policy, str(file)):
        print(line, file=sys.stderr)
    print(f"ok: {file}: {len(policy.rules)} rules")


@app.command()
def explain(
    file: PolicyFile,
    event: Annotated[
        str, typer.Option("--event", "-e", metavar="EVENT", help="A file with one event in JSON, or - for stdin.")
    ],
) -> None:
    """Say which rule decides on an event, why none before it does, and what is left of the event."""
    from tailrace_plugins.policy.explanation import EventError, explain, read_event

    policy = _read(file)
    try:
        text = sys.stdin.buffer.read() if event == "-" else Path(event).read_bytes()
        lines = explain(policy, str(file), read_event(text))
    except OSError as error:
        fail(str(error), BAD_USAGE)
    except EventError as error:
        fail(f"{'stdin' if event == '-' else event}: {error}", BAD_USAGE)
    for line in lines:
        print(line)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A policy file.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Another one.")],
    logs: Annotated[list[Path], typer.Argument(metavar="LOG", help="Audit logs, as they are or compressed by gzip.")],
) -> None:
    """Count what two policies leave of a log, by rule, and what is lost and gained from OLD to NEW.

    A log tells only of what was recorded: take one that was made with a policy as wide as both.
    """
    from tailrace_plugins.policy.comparison import Comparison, read_lines
    from tailrace_plugins.policy.comparisontext import render

    comparison = Comparison(_read(old), _read(new))
    with os_errors():
        for path in logs:
            for lines in read_lines(path):
                comparison.add(lines)
    for line in render(comparison, str(old), str(new)):
        print(line)


def _read(file: Path) -> Policy:
    """Read a policy file; print all that is wrong with it and exit."""
    from tailrace_plugins.policy.policy import Policy
    from tailrace_plugins.policy.reading import PolicyError

    try:
        return Policy.parse(file.read_text(encoding="utf-8-sig"), str(file))
    except OSError as error:
        fail(str(error), BAD_USAGE)
    except UnicodeDecodeError as error:
        fail(f"{file}: not UTF-8: {error.reason}", BAD_USAGE)
    except PolicyError as error:
        fail(str(error), BAD_USAGE)
