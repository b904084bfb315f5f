"""Compressing one member: a run of bytes that stands for itself, so that members can simply be appended."""

from __future__ import annotations

import sys
from collections.abc import Callable

SUFFIXES = {".gz": "gzip", ".zst": "zstd"}


def compressor(kind: str, level: int | None) -> Callable[[bytes], bytes]:
    """Give the function that compresses a member: `gzip` (RFC 1952), `zstd` (RFC 8878) or `none`.

    Raises ValueError for a level that the kind does not have.
    """
    return {"gzip": _gzip, "zstd": _zstd, "none": _none}[kind](level)


def _gzip(level: int | None) -> Callable[[bytes], bytes]:
    from isal.igzip_lib import COMP_GZIP, MAX_HIST_BITS, compress  # each library only when it is used

    chosen = _within(level, 1, 0, 3, "gzip")
    return lambda data: compress(data, chosen, COMP_GZIP, hist_bits=MAX_HIST_BITS)


def _zstd(level: int | None) -> Callable[[bytes], bytes]:
    if sys.version_info >= (3, 14):
        from compression.zstd import compress
    else:
        from backports.zstd import compress

    chosen = _within(level, 3, 1, 19, "zstd")
    return lambda data: compress(data, chosen)


def _none(level: int | None) -> Callable[[bytes], bytes]:
    if level is not None:
        raise ValueError("a level makes no sense without compression; give the path the suffix .gz or .zst")
    return lambda data: data


def _within(level: int | None, default: int, low: int, high: int, kind: str) -> int:
    if level is None:
        return default
    if not low <= level <= high:
        raise ValueError(f"{kind} has the levels {low} to {high}, not {level}")
    return level
