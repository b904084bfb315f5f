"""What an examination found, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tailrace.doctor import Examined
from tailrace.finding import Finding, Severity
from tailrace.logs import escape

if TYPE_CHECKING:
    from rich.console import Console

_COLORS: Final[Mapping[Severity, str]] = MappingProxyType(
    {"ok": "green", "note": "cyan", "warning": "bold yellow", "error": "bold red"}
)
_MOST: Final = 10  # of what is well, and of what is good to know: a source may follow thousands of logs
_WIDTH: Final = max(map(len, _COLORS))


def lines(found: Sequence[Examined]) -> Iterator[str]:
    """Write a line for each finding, below its pipeline."""
    for pipeline, findings in found:
        yield f"{pipeline}: {summary(findings)}"
        for finding in _chosen(findings):
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            yield f"  {finding.severity:<{_WIDTH}}  {escape(f'{finding.where}: {finding.what}{remedy}')}"


def show(found: Sequence[Examined], console: Console) -> None:
    """Print a table for each pipeline."""
    from rich.table import Table
    from rich.text import Text

    for pipeline, findings in found:
        console.print(Text(f"{pipeline}: {summary(findings)}", style="bold"))
        table = Table.grid(padding=(0, 0, 0, 2))
        table.add_column(no_wrap=True, min_width=_WIDTH)
        table.add_column(overflow="fold")
        for finding in _chosen(findings):
            text = Text(escape(finding.where), style="bold")
            text.append(f"\n{escape(finding.what)}", style="not bold")
            if finding.remedy:
                text.append(f"\n→ {escape(finding.remedy)}", style="not bold italic")
            table.add_row(Text(finding.severity, style=_COLORS[finding.severity]), text)
        console.print(table)


def _chosen(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Give all that is alarming and the first of the rest, and say how many are left out."""
    for severity, group in groupby(findings, key=lambda finding: finding.severity):
        alike = list(group)
        if alike[0].is_alarming or len(alike) <= _MOST + 1:
            yield from alike
        else:
            yield from alike[:_MOST]
            yield Finding(severity, f"{len(alike) - _MOST} more like these", "...", "see them with --format json")


def encode(found: Sequence[Examined]) -> bytes:
    """Write it as JSON: the pipelines, and all that was found about each."""
    import orjson

    pipelines = [
        {"name": name, "findings": [{key: _utf8(text) for key, text in each._asdict().items()} for each in findings]}
        for name, findings in found
    ]
    return orjson.dumps({"pipelines": pipelines}, option=orjson.OPT_INDENT_2)


def _utf8(text: str) -> str:
    """Escape what is not UTF-8 in the name of a file, as Python has it."""
    return text.encode(errors="backslashreplace").decode()


def summary(findings: Sequence[Finding]) -> str:
    """Say how much there is to do."""
    alarming = sum(finding.is_alarming for finding in findings)
    return f"{alarming} of {len(findings)} findings to look after" if alarming else "nothing to do"
