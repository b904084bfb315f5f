"""What somebody would write who needs the split today, and no promise: no checkpoint, no fsync, no following.

    python benchmarks/baselines.py {json,orjson,bare} audit.log DIRECTORY

- `json`: Python's own json and gzip modules, line by line.
- `orjson`: the same with a faster decoder.
- `bare`: as little as can be: decode two fields of each line, keep the lines of a slice, compress them with isal.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson
from isal import igzip_lib

LEVEL = 6  # gzip's own default
PIECE = 1 << 20
MEMBER = 256 << 10


def hour_of(time: str) -> str:
    return time[:4] + time[5:7] + time[8:10] + time[11:13]


def by_line(log: Path, directory: Path, decode: Callable[[bytes], Any]) -> None:
    """Decode each line and write it to the gzip file of its slice."""
    files: dict[tuple[str, str], gzip.GzipFile] = {}
    with log.open("rb") as lines:
        for line in lines:
            event = decode(line)
            slice_of = event.get("objectRef", {}).get("namespace", "_none"), event["stageTimestamp"][:13]
            if slice_of not in files:
                name = f"audit-{slice_of[0]}.{hour_of(slice_of[1])}.log.gz"
                files[slice_of] = gzip.GzipFile(directory / name, "wb", LEVEL)
            files[slice_of].write(line)
    for file in files.values():
        file.close()


class _Reference(msgspec.Struct, frozen=True):
    namespace: str = "_none"


class _Event(msgspec.Struct):
    stageTimestamp: str  # noqa: N815 - the API server's word
    objectRef: _Reference = _Reference()  # noqa: N815


def bare(log: Path, directory: Path) -> None:
    """Read in pieces, decode two fields of each line, compress what a slice has gathered."""
    decode = msgspec.json.Decoder(_Event).decode
    gathered: dict[tuple[str, str], list[bytes]] = {}
    sizes: dict[tuple[str, str], int] = {}
    rest = b""

    def put(key: tuple[str, str]) -> None:
        gathered[key].append(b"")
        packed = igzip_lib.compress(b"\n".join(gathered[key]), 1, igzip_lib.COMP_GZIP)
        with open(directory / f"audit-{key[0]}.{hour_of(key[1])}.log.gz", "ab", buffering=0) as file:
            file.write(packed)
        gathered[key], sizes[key] = [], 0

    with log.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            lines = (rest + piece).split(b"\n")
            rest = lines.pop()
            for line, event in zip(lines, map(decode, lines), strict=True):
                key = event.objectRef.namespace, event.stageTimestamp[:13]
                gathered.setdefault(key, []).append(line)
                sizes[key] = sizes.get(key, 0) + len(line)
                if sizes[key] >= MEMBER:
                    put(key)
    for key, lines in list(gathered.items()):
        if lines:
            put(key)


def main() -> None:
    kind, log, directory = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if kind == "bare":
        bare(log, directory)
    else:
        by_line(log, directory, json.loads if kind == "json" else orjson.loads)


if __name__ == "__main__":
    main()
