"""The command `tailrace convert`: from the config of another collector to one of tailrace.

Exit codes: 0 all was translated; 1 a file cannot be written, or a pipeline has run already; 2 the config cannot be
read, or bad usage; 3 something could not be translated, or a position not taken over.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tailrace.arguments import BAD_USAGE, FAILED, fail

if TYPE_CHECKING:
    from tailrace_plugins.converting.outcome import Outcome
    from tailrace_plugins.converting.positions import Import

INCOMPLETE: Final = 3
_STATE_DIR: Final = "/var/lib/tailrace"

app = typer.Typer(rich_markup_mode=None)


class Kind(StrEnum):
    """What a config is one of."""

    AUTO = "auto"
    FLUENTD = "fluentd"
    LOGSTASH = "logstash"
    AUDITSINK = "auditsink"


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A config of fluentd or logstash, or AuditSinks.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT", help="The new config; without it, standard output.")
    ] = None,
    kind: Annotated[Kind, typer.Option("--from", help="What FILE is; `auto` looks at how it begins.")] = Kind.AUTO,
    state_dir: Annotated[
        Path | None,
        typer.Option("--state-dir", metavar="DIR", help=f"The new state_dir; ${{STATE_DIR:-{_STATE_DIR}}} without."),
    ] = None,
    import_positions: Annotated[
        list[Path],
        typer.Option(
            "--import-positions",
            metavar="FILE",
            help="A pos_file of fluentd or a sincedb of logstash, which is stopped: the first run goes on there.",
        ),
    ] = [],  # noqa: B006 - read by typer, never changed
    force: Annotated[bool, typer.Option("--force", help="Replace OUT, and files beside it.")] = False,
) -> None:
    """Write what a fluentd or logstash config or an AuditSink does as a config of tailrace.

    What could not be translated stands in the result, and on standard error with line and column; then the exit code
    is 3. Passwords and tokens are not copied.
    """
    from tailrace_plugins.converting import writing

    outcome = _convert(file, kind, out)
    if not outcome.pipelines:
        _say(outcome, [])
        fail(f"{file}: nothing of it could be translated, so there is no config", INCOMPLETE)
    contents = dict(outcome.files)
    if import_positions and state_dir is None:
        state_dir = Path(os.environ.get("STATE_DIR") or _STATE_DIR)
    directory = str(state_dir.absolute()) if state_dir else None
    text = writing.write(outcome, str(file), directory)
    if out is not None:
        contents[str(out)] = text.encode()
        existing = [path for path in contents if os.path.lexists(path)]
        if existing and not force:
            fail(f"{', '.join(existing)}: there already; give another name, or --force to replace", BAD_USAGE)
        if out.exists() and out.samefile(file):
            fail(f"{out} is the old config itself; give the new one another name", BAD_USAGE)
    imports = _import(outcome, import_positions, state_dir or Path())
    if out is None:
        print(text, end="")
    else:
        _write(contents)
    _say(outcome, imports)
    if outcome.remainder or any(not each.taken for each in imports):
        raise typer.Exit(INCOMPLETE)


def _convert(file: Path, kind: Kind, out: Path | None) -> Outcome:
    """Read and translate the old config; print what is wrong with it and exit."""
    from tailrace_plugins.converting import auditsink, fluentd, logstash
    from tailrace_plugins.converting.outcome import ParseError

    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        fail(str(error), BAD_USAGE)
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        fail(f"{file}:{line}:{column}: not UTF-8: {error.reason}", BAD_USAGE)
    if kind is Kind.AUTO:
        kind = _guess(text)
    try:
        if kind is Kind.AUDITSINK:
            if out is None:
                fail("an AuditSink needs a policy file beside the config: give -o OUT", BAD_USAGE)
            return auditsink.convert(text, str(file), out)
        return fluentd.convert(text, str(file)) if kind is Kind.FLUENTD else logstash.convert(text, str(file))
    except ParseError as error:
        fail(str(error), BAD_USAGE)


def _guess(text: str) -> Kind:
    """Tell what a config is one of by the first line that says something."""
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if first.startswith(("input", "filter", "output")):
        return Kind.LOGSTASH
    return Kind.AUDITSINK if first.startswith(("---", "{", "apiVersion", "kind", "metadata", "items")) else Kind.FLUENTD


def _import(outcome: Outcome, files: list[Path], state_dir: Path) -> list[Import]:
    """Store the positions of another collector as those of the new pipelines; print why that cannot be, and exit."""
    if not files:
        return []
    from tailrace.beginning import BeginError, begin_at
    from tailrace_plugins.converting import positions

    try:
        entries = [entry for path in files for entry in positions.read(path)]
        states, imports = positions.find(outcome.pipelines, entries)
        if not states:
            _say(outcome, imports)
            fail("no position could be taken over, so nothing was written", INCOMPLETE)
        begin_at(state_dir, states)
    except positions.FormatError as error:
        fail(str(error), BAD_USAGE)
    except (BeginError, OSError) as error:
        fail(str(error), FAILED)
    return imports


def _write(contents: dict[str, bytes]) -> None:
    from tailrace.durable import Disk, replace_file

    disk = Disk()
    for path, content in contents.items():
        try:
            replace_file(disk, Path(path), content)
        except OSError as error:
            fail(f"{path} cannot be written: {error.strerror}", FAILED)


def _say(outcome: Outcome, imports: Iterable[Import]) -> None:
    from tailrace_plugins.converting.outcome import in_order

    for title, remarks in (("not translated", outcome.remainder), ("note", outcome.notes)):
        for remark in in_order(remarks):
            print(f"{title}: {remark}", file=sys.stderr)
    for each in imports:
        print(f"{'position' if each.taken else 'position not taken over'}: {each.text}", file=sys.stderr)
