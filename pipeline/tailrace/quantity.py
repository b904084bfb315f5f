"""Durations and sizes as people write them in a config: `30d`, `12h`, `50GiB`."""

from __future__ import annotations

import re
from typing import Final

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES: Final = {
    "": 1,
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGTP", 1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGTP", 1)},
}


def parse_duration(value: str | float) -> float:
    """Give seconds; a number is one of seconds, a text has a unit: `90s`, `5m`, `12h`, `30d`, `2w`.

    At least one second. Raises ValueError.
    """
    return _parse(value, _SECONDS, "duration", "30d, 12h, 5m, 90s or a number of seconds")


def parse_size(value: str | float) -> int:
    """Give bytes, at least one; a number is one of bytes, a text has a unit: `500MB`, `50GiB`. Raises ValueError."""
    return int(_parse(value, _BYTES, "size", "50GiB, 500MB or a number of bytes"))


def _parse(value: str | float, units: dict[str, int], kind: str, examples: str) -> float:
    found = _QUANTITY.fullmatch(f"{value}")
    if found is None or found[2] not in units:
        raise ValueError(f"{value!r} is not a {kind}; write one like {examples}")
    quantity = float(found[1]) * units[found[2]]
    if quantity < 1:
        raise ValueError(f"{value!r} is too little for a {kind}; leave the option out to have no limit")
    return quantity
