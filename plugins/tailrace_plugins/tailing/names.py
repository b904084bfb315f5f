"""The names that rotation gives to log files.

    lumberjack   audit-2026-11-23T07-04-36.411.log      UTC; kube-apiserver, k3s, rke2
    date         audit.log-20261123, audit.log-20261123-070436 or -1795417476 (logrotate's dateext),
                 0.log.20261123-070436 (kubelet)
    number       audit.log.1                            logrotate; higher numbers are older

Each may be followed by `.gz` or `.zst`.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

COMPRESSIONS = (".gz", ".zst")

# natefinch/lumberjack, prefixAndExt and backupTimeFormat: the extension is what follows the last dot, or nothing
_LUMBERJACK = re.compile(r"(.*)-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3})(\.[^.]*)?")
_DATE = re.compile(r"(.+?)[-.](\d{8}(?:\d\d)?(?:-(?:\d{6}|\d{10}))?)")
_NUMBER = re.compile(r"(.+)\.(0|[1-9]\d{0,2})")


class Rotation(NamedTuple):
    """What the name of a rotated file says."""

    live: str  # the name under which the file was written
    plain: str  # its present name without compression
    compression: str  # ".gz", ".zst" or ""
    scheme: str  # "lumberjack", "date" or "number": only names of one scheme can be compared
    order: tuple[int, str]  # of two files of one scheme, the older one has the lesser order


def compression_of(path: str) -> str:
    """Give the extension by which a compressed file is known, or an empty string."""
    return next((extension for extension in COMPRESSIONS if path.endswith(extension)), "")


def is_packed(path: str) -> bool:
    """Tell whether a file is compressed, by its name."""
    return path.endswith(COMPRESSIONS)


def rotation(name: str) -> Rotation | None:
    """Read the base name of a file; None if it is not one that rotation gives."""
    compression = compression_of(name)
    plain = name.removesuffix(compression)
    if match := _LUMBERJACK.fullmatch(plain):
        base, time, extension = match.groups(default="")
        live = base + extension
        return Rotation(live, plain, compression, "lumberjack", (0, time)) if live else None
    if match := _DATE.fullmatch(plain):
        return Rotation(match[1], plain, compression, "date", (0, match[2]))
    if match := _NUMBER.fullmatch(plain):
        return Rotation(match[1], plain, compression, "number", (-int(match[2]), ""))
    return None


def is_dated_like(path: str, other: str) -> bool | None:
    """Tell whether two names have the same date, which a file never changes; None if not both have one."""
    one, two = rotation(os.path.basename(path)), rotation(os.path.basename(other))
    if one is None or two is None or "number" in (one.scheme, two.scheme):
        return None
    return one.plain == two.plain


def is_lumberjack(path: str) -> bool:
    """Tell whether a file got its name from lumberjack, which renames and never copies."""
    name = rotation(os.path.basename(path))
    return name is not None and name.scheme == "lumberjack"
