"""What logrotate is told to do with a log, by the files in `/etc`.

See logrotate(8). A block is a list of globs and what is done with them; what stands outside of blocks holds for the
blocks that follow. Scripts are skipped, for they may hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MOST_BYTES = 1 << 20
_SCRIPT = re.compile(r"\s*(?:pre|post)(?:rotate|remove)\b|\s*(?:first|last)action\b")
_GLOB = re.compile(r'"([^"]*)"|\'([^\']*)\'|(\S+)')


class Rule(NamedTuple):
    """A block of a config file."""

    where: str  # file and line
    globs: list[str]
    copytruncate: bool


def rules(etc: Path) -> Iterator[Rule]:
    """Read `logrotate.conf` and what lies in `logrotate.d`; what cannot be read is left out."""
    inherited = False
    for path in (etc / "logrotate.conf", *sorted(_files(etc / "logrotate.d"))):
        try:
            with path.open(errors="replace") as file:
                text = file.read(_MOST_BYTES)
        except OSError:
            continue
        found, now_inherited = _read(path, text, inherited)
        yield from found
        if path.name == "logrotate.conf":  # it includes the others
            inherited = now_inherited


def _files(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _read(path: Path, text: str, copytruncate: bool) -> tuple[list[Rule], bool]:
    """Give the blocks of a file, and whether files are truncated after the last of them."""
    found: list[Rule] = []
    globs: list[str] = []
    block: Rule | None = None
    in_script = False
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if in_script:
            in_script = words != "endscript"
        elif words.startswith("#") or not words:
            continue
        elif block is not None:
            if _SCRIPT.match(words):
                in_script = True
                continue
            if words.rstrip("}").strip() in ("copytruncate", "nocopytruncate"):
                block = block._replace(copytruncate=not words.startswith("no"))
            if words.endswith("}"):
                found.append(block)
                block = None
        elif words in ("copytruncate", "nocopytruncate"):
            copytruncate = words == "copytruncate"
        elif words[0] in "/\"'" or "{" in words:
            head, brace, rest = words.partition("{")
            globs += ["".join(match) for match in _GLOB.findall(head)]
            if brace:
                says = rest.rstrip("}").split()
                on = ("copytruncate" in says or copytruncate) and "nocopytruncate" not in says
                block = Rule(f"{path}:{number}", globs, on)
                globs = []
                if rest.rstrip().endswith("}"):
                    found.append(block)
                    block = None
    return found, copytruncate
