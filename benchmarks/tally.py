"""What a split has to hold: events, bytes and a checksum of each namespace and hour; and whether an output does."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from benchmarks.job import read

_NAME = re.compile(r"audit-(?P<namespace>.+)\.(?P<hour>[\dT-]+)\.log(\.gz)?")
Split = tuple[str, str]  # namespace, and hour as 2026112306


class Tally(NamedTuple):
    """What is in one slice, unpacked."""

    events: int = 0
    size: int = 0
    checksum: int = 0  # CRC-32 of its lines in their order

    def plus(self, part: bytes) -> Tally:
        """Give the tally with more bytes of the slice."""
        return Tally(self.events + part.count(b"\n"), self.size + len(part), zlib.crc32(part, self.checksum))


def expected(log: Path) -> dict[Split, Tally]:
    """Decode every line of a log with Python's own json module, and say what its slices have to hold."""
    slices: dict[Split, Tally] = {}
    with log.open("rb") as file:
        for line in file:
            event = json.loads(line)
            namespace = event.get("objectRef", {}).get("namespace", "_none")
            split = namespace, re.sub(r"\D", "", event["stageTimestamp"][:13])
            slices[split] = slices.get(split, Tally()).plus(line)
    return slices


def found(directory: Path) -> dict[Split, Tally]:
    """Unpack the files of a directory and say what is in them; a damaged one holds nothing."""
    slices = {}
    for path in directory.iterdir():
        if not (name := _NAME.fullmatch(path.name)):
            raise ValueError(f"{path} is not the file of a namespace and an hour")
        tally = Tally()
        try:
            for piece in read(path):
                tally = tally.plus(piece)
        except (EOFError, OSError, zlib.error):
            tally = Tally()
        slices[unquote(name["namespace"]), re.sub(r"\D", "", name["hour"])] = tally
    return slices


def differences(wanted: Mapping[Split, Tally], there: Mapping[Split, Tally]) -> list[str]:
    """Name each slice that has other events or bytes than it should; in what order they stand does not matter here."""
    said = []
    for split in sorted(wanted.keys() | there.keys()):
        should, has = wanted.get(split, Tally()), there.get(split, Tally())
        if should[:2] != has[:2]:
            said.append(
                f"{split[0]}, hour {split[1]}: {has.events} events and {has.size} bytes, "
                f"not {should.events} and {should.size}"
            )
    return said


def total(slices: Mapping[Split, Tally]) -> tuple[int, int]:
    """Add up events and bytes."""
    return sum(tally.events for tally in slices.values()), sum(tally.size for tally in slices.values())
