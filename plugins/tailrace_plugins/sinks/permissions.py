"""Permissions and owners of files as a config names them."""

from __future__ import annotations

import grp
import pwd
from typing import Literal


def octal(mode: int | str) -> int:
    """Read permissions; YAML has read an unquoted 0640 as octal already. Raises ValueError."""
    try:
        value = mode if isinstance(mode, int) else int(mode, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777 or not value & 0o200:
        raise ValueError(f"{mode!r} are no permissions that a file can be written with; write them like 0640")
    if value & 0o007:
        raise ValueError(f"{value:04o} gives everybody access to an audit trail; leave the last digit 0")
    return value


def number(name: str | int | None, kind: Literal["user", "group"]) -> int:
    """Give the number of a user or group, -1 for none; raises ValueError if this machine does not know it."""
    if name is None:
        return -1
    if isinstance(name, int):
        return name
    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(f"there is no {kind} {name!r} on this machine") from None
