"""The positions of another collector, as those of the source `tail`.

fluentd's pos_file has a line for each path: the path, the offset and the inode, the numbers in hexadecimal. logstash's
sincedb has one for each file: inode, major and minor number of the device, offset, and today the time and the path.
Both offsets are those of the first byte that was not taken yet.

A position belongs to an inode. So it is looked for among the live file and the rotated ones of each log that the new
pipelines read: there the file may have another name by now. Files of the log that are older than all that have a
position were read before; younger ones are new, and are read from their beginning.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, Final, NamedTuple

from tailrace_plugins.converting.outcome import NewPipeline, visible
from tailrace_plugins.tailing.file import FileState, hash_bytes
from tailrace_plugins.tailing.history import Sighting, rotated_files
from tailrace_plugins.tailing.lines import TAIL_BYTES
from tailrace_plugins.tailing.listings import Listings
from tailrace_plugins.tailing.patterns import Patterns

_UNWATCHED: Final = 0xFFFFFFFFFFFFFFFF  # fluentd's offset of a file that it has let go of
_LOOK_BYTES: Final = 1 << 16


class FormatError(Exception):
    """A file is neither a pos_file nor a sincedb; the message says where."""


class Entry(NamedTuple):
    """One position of another collector."""

    where: str  # file and line, for people
    path: str  # where it was read; "" if that is not told
    offset: int
    inode: int
    device: tuple[int, int] | None  # major and minor number


class Import(NamedTuple):
    """What became of a position."""

    taken: bool
    text: str


def read(path: Path) -> list[Entry]:
    """Read a pos_file or a sincedb. Raises FormatError and OSError."""
    entries = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        entry = _pos_line(line, where) if b"\t" in line else _sincedb_line(line, where)
        if entry is None:
            raise FormatError(
                f"{where}:1: this is neither a line of a pos_file (path, offset and inode, with tabs between) nor one "
                "of a sincedb (inode, major, minor, offset)"
            )
        entries.append(entry)
    return entries


def _pos_line(line: bytes, where: str) -> Entry | None:
    path, *numbers = line.rstrip(b"\r").rsplit(b"\t", 2)
    try:
        offset, inode = (int(part, 16) for part in numbers)
    except ValueError:
        return None
    return None if offset < 0 else Entry(where, os.fsdecode(path), offset, inode, None)


def _sincedb_line(line: bytes, where: str) -> Entry | None:
    parts = line.split(b" ", 5)
    try:
        inode, major, minor, offset = (int(part) for part in parts[:4])
    except ValueError:
        return None
    return (
        None
        if offset < 0
        else Entry(where, os.fsdecode(parts[5]) if len(parts) == 6 else "", offset, inode, (major, minor))
    )


def find(pipelines: Sequence[NewPipeline], entries: Iterable[Entry]) -> tuple[dict[str, dict[str, Any]], list[Import]]:
    """Give the positions of pipelines, by name and log, and what became of each entry.

    Of several entries with one inode the last counts. Raises OSError if a directory cannot be listed.
    """
    logs = [log for pipeline in pipelines for log in _logs(pipeline)]
    by_inode: dict[int, list[tuple[int, int]]] = {}  # which log, and which of its files
    for number, log in enumerate(logs):
        for at, file in enumerate(log.files):
            by_inode.setdefault(file.key[1], []).append((number, at))
    known = {path for log in logs for path in log.paths}
    latest = {(entry.inode, entry.device): entry for entry in entries}
    placed: dict[int, list[tuple[int, Entry]]] = {}  # by log: which of its files, and how far
    imports: list[Import] = []
    for entry in latest.values():
        if entry.offset == _UNWATCHED:
            imports.append(Import(True, f"{entry.where}: {visible(entry.path)} was let go of, so there is no position"))
            continue
        found = next((place for place in by_inode.get(entry.inode, ()) if logs[place[0]].has(place[1], entry)), None)
        if found is None:
            imports.append(Import(False, f"{entry.where}: {_why_not(entry, known)}"))
        else:
            placed.setdefault(found[0], []).append((found[1], entry))
    states: dict[str, dict[str, Any]] = {}
    for number, places in placed.items():
        log = logs[number]
        state, said = log.state(places)
        imports += said
        states.setdefault(log.pipeline, {})[log.path] = state
    return states, imports


def _why_not(entry: Entry, known: Set[str]) -> str:
    path = visible(entry.path) or "a file whose path is not told"
    if entry.path and entry.path not in known:
        return f"{path}: no new pipeline reads it, so nothing is done with this position"
    return (
        f"{path}: no file with the inode {entry.inode} is there, under this name or among the rotated files; so what "
        "there is of the log is read from its beginning, unless another position says where: nothing is lost, and what "
        "the old collector took comes once more"
    )


def _logs(pipeline: NewPipeline) -> Iterator[_Log]:
    options = pipeline.source.options
    if options["type"] != "tail":
        return
    patterns = Patterns(_texts(options["paths"]), _texts(options.get("exclude")))
    paths = [patterns.live_path(path) for path in patterns.literals if patterns.matches(path)]
    for path in dict.fromkeys([*paths, *patterns.find()]):
        yield _Log(pipeline.name, path, patterns)


def _texts(value: object) -> list[str]:
    return [str(each).replace("$$", "$") for each in value] if isinstance(value, list) else []


class _Log:
    """The files there are of a log, oldest first."""

    def __init__(self, pipeline: str, path: str, patterns: Patterns) -> None:
        self.pipeline = pipeline
        self.path = path
        self.files: list[Sighting] = []
        if os.path.isdir(os.path.dirname(path)):
            rotated = rotated_files(path, Listings(), anew=True)
            self.files = [file for file in rotated if not patterns.is_excluded(file.path)]
        if os.path.isfile(path):
            self.files.append(Sighting(path, os.stat(path)))
        self.paths = {path, *(file.path for file in self.files)}

    def has(self, number: int, entry: Entry) -> bool:
        """Tell whether a position with the inode of one of its files is one of that file."""
        file = self.files[number]
        if entry.device is None and entry.path not in self.paths:
            return False  # an inode is one of its file system alone, and fluentd tells only the path
        return not file.compressed and _is_device(file.key[0], entry.device)

    def state(self, places: list[tuple[int, Entry]]) -> tuple[dict[str, Any], list[Import]]:
        """Give the position of the log, and say what became of the entries."""
        imports = []
        offsets: dict[int, int] = {}
        for number, entry in places:
            file = self.files[number]
            offsets[number], trouble = _start(file, entry.offset)
            if trouble:
                imports.append(Import(False, f"{entry.where}: {visible(file.path)}: {trouble}"))
            else:
                imports.append(Import(True, f"{entry.where}: {visible(file.path)} from byte {offsets[number]} on"))
        oldest = min(offsets)
        done = [_state_of(file, None) for file in self.files[:oldest]]
        queue = [_state_of(self.files[number], offsets[number]) for number in sorted(offsets)]
        return {"queue": queue, "done": done}, imports


def _is_device(device: int, numbers: tuple[int, int] | None) -> bool:
    """Tell whether a device has these numbers; logstash's Java knows no halves, and writes 0 and the whole."""
    return numbers is None or numbers in ((os.major(device), os.minor(device)), (0, device))


def _start(file: Sighting, offset: int) -> tuple[int, str]:
    """Give the offset at which to go on, and why it is not the old one, if it is not."""
    size = file.stamp[0]
    if offset > size:
        return (
            0,
            f"the position, {offset}, is beyond its end, {size}, so it was truncated; it is read from its beginning",
        )
    if offset == 0 or file.pread(1, offset - 1) == b"\n":
        return offset, ""
    at = offset
    while at > 0:
        begin = max(0, at - _LOOK_BYTES)
        newline = file.pread(at - begin, begin).rfind(b"\n")
        if newline >= 0:
            at = begin + newline + 1
            break
        at = begin
    return at, (
        f"the position, {offset}, is in the midst of a line; it is read from where that begins, {at}, and so the line "
        "comes whole"
    )


def _state_of(file: Sighting, offset: int | None) -> dict[str, Any]:
    """Give what the checkpoint keeps of a file that was read up to `offset`; None: to its end."""
    state: FileState = file.new_state()
    if not file.compressed:  # of which nothing is counted, and which never grows
        state.offset = file.stamp[0] if offset is None else offset
        length = min(state.offset, TAIL_BYTES)
        tail = file.pread(length, state.offset - length) if length else b""
        state.tail, state.tail_len = hash_bytes(tail), len(tail)
    return {name: getattr(state, name) for name in state.__struct_fields__}
