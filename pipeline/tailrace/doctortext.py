"""What an examination found, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
_WIDTH: Final = max(map(len, _COLORS))


def lines(found: Sequence[Examined]) -> Iterator[str]:
    """Write a line for each finding, below its pipeline."""
    for pipeline, findings in found:
        yield f"{pipeline}: {summary(findings)}"
        for finding in findings:
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
        for finding in findings:
            text = Text(escape(finding.where), style="bold")
            text.append(f"\n{escape(finding.what)}", style="not bold")
            if finding.remedy:
                text.append(f"\n→ {escape(finding.remedy)}", style="not bold italic")
            table.add_row(Text(finding.severity, style=_COLORS[finding.severity]), text)
        console.print(table)


def encode(found: Sequence[Examined]) -> bytes:
    """Write it as JSON: the pipelines, and all that was found about each."""
    import orjson

    pipelines = [{"name": name, "findings": [finding._asdict() for finding in findings]} for name, findings in found]
    return orjson.dumps({"pipelines": pipelines}, option=orjson.OPT_INDENT_2)


def summary(findings: Sequence[Finding]) -> str:
    """Say how much there is to do."""
    alarming = sum(finding.is_alarming for finding in findings)
    return f"{alarming} of {len(findings)} findings to look after" if alarming else "nothing to do"
