"""The command `tailrace gzip salvage`: what is whole in a damaged file."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tailrace.arguments import BAD_USAGE, FAILED, fail

if TYPE_CHECKING:
    from tailrace.salvage import Part, Salvage

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

_WORDS: Final = {
    "whole": "whole",
    "cut": "a member that is cut off",
    "damaged": "a damaged member",
    "zeros": "nothing but zeros",
    "foreign": "no gzip",
}


class Partial(StrEnum):
    """Of which members that are not whole the lines are kept."""

    NONE = "none"
    CUT = "cut"
    ALL = "all"


@app.callback()
def gzip() -> None:
    """Save what is whole in a damaged file."""


@app.command()
def salvage(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A gzip file; it is not changed.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="OUT", help="Where to; by default beside FILE: x.log.salvaged.gz."),
    ] = None,
    partial: Annotated[
        Partial,
        typer.Option(
            help="Keep also whole lines of members that are not whole: of those that are cut off, or of all. Lines "
            "in front of damage may hold wrong bytes."
        ),
    ] = Partial.CUT,
) -> None:
    """Keep every whole member of a gzip file, and the whole lines of members that are cut off.

    Says what was kept and what was lost. Ends with 0 if the file is whole (then nothing is written), with 1 if
    something is lost, and with 2 if nothing could be done.
    """
    from tailrace.durable import Disk
    from tailrace.salvage import Salvage, open_file, survey

    target = out or file.with_name(file.name.removesuffix(".gz") + ".salvaged.gz")
    try:
        if os.path.lexists(target):
            fail(f"{target} is there already and is not overwritten; choose another file with -o", BAD_USAGE)
        descriptor, size = open_file(str(file))
        try:
            if size and all(part.kind == "whole" for part in survey(descriptor, size)):
                print(f"{file}: whole, {size} bytes; nothing was written")
                return
            written = Salvage(
                str(target), Disk(), keep_cut=partial is not Partial.NONE, keep_damaged=partial is Partial.ALL
            )
            try:
                for part in survey(descriptor, size):
                    written.keep(descriptor, part)
                    print(_describe(part, written))
                found = written.finish()
            finally:
                written.discard()
        finally:
            os.close(descriptor)
    except OSError as error:
        fail(f"{error}; nothing was salvaged", BAD_USAGE)
    if found:
        unverified = f", {written.unverified} of them without a checksum" if written.unverified else ""
        print(f"{target}: {written.lines} lines are saved{unverified}")
    else:
        print(f"{file}: there is nothing to save in it")
    raise typer.Exit(FAILED)


def _describe(part: Part, salvage: Salvage) -> str:
    """Say what a part of the file is, and whether it was kept."""
    words = f"bytes {part.start} to {part.end}: {_WORDS[part.kind]}"
    if part.kind == "whole":
        return f"kept  {words}: {part.members} members, {part.lines} lines"
    if not part.members:
        return f"lost  {words}"
    words += f" ({part.damage})"
    if salvage.keeps(part):
        return f"part  {words}: the {part.lines} whole lines in front of that are kept"
    if part.lines:
        return f"lost  {words}: with {part.lines} whole lines in front of that; see --partial"
    return f"lost  {words}"
