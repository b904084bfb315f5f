"""Whether a state directory and all that it speaks of is whole: every checkpoint, every output file, to its last byte.

Reads only, so that it can be asked at any time, while a process runs and on a file system that cannot be written.
Content is looked at as far as it is committed: what lies behind that is in the making, or is cut off at the next start.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tailrace import deadletter, letters
from tailrace.checkpoint import CURRENT, State, generations, pipelines
from tailrace.closed import closed_slices
from tailrace.inspection import recorded_files
from tailrace.logs import escape
from tailrace.members import MAGIC, SUFFIXES, Kind, Member, read_member

TEMPORARY: Final = f"{CURRENT}.tmp"
_OTHER_USER: Final = "verify as the user that runs the pipeline"
_BAD_DISK: Final = "look at the disk: dmesg, smartctl"
_RESTORE_CHECKPOINT: Final = (
    "restore it from a backup, or move it away and start from the beginning, which repeats events"
)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: where, what, and what a person can do about it."""

    path: str
    problem: str
    remedy: str
    offset: int | None = None  # in the file; None: the file as such
    repairable: bool = False  # `state repair` does it, and nothing is lost by that

    def __str__(self) -> str:
        place = self.path if self.offset is None else f"{self.path} at offset {self.offset}"
        return f"{escape(f'{place}: {self.problem}')}\n    to do: {escape(self.remedy)}"


@dataclass
class Verification:
    """What was found in one pipeline's directory. Without a whole checkpoint there is nothing to compare with."""

    name: str
    directory: Path
    state: State | None = None
    files: int = 0  # that were looked at
    bytes: int = 0  # of them that are committed
    closed: int = 0  # files that the checkpoint has forgotten, and that were looked at
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is in order, and a person may wonder about


def verify(state_dir: Path, *, closed: bool = False) -> list[Verification]:
    """Look at every pipeline of a state directory; raises OSError if it cannot be read.

    `closed`: also at the files that its sinks have written and that the checkpoint has forgotten since.
    """
    os.listdir(state_dir)  # an error if it cannot be read, which a search for names in it would hide
    return [verify_pipeline(state_dir, directory, closed=closed) for directory in pipelines(state_dir)]


def verify_pipeline(state_dir: Path, directory: Path, *, closed: bool = False) -> Verification:
    """Look at one pipeline."""
    found = Verification(directory.name, directory)
    damaged: list[tuple[str, str]] = []
    for generation in generations(directory):
        if generation.state is None:
            damaged.append((str(generation.path), generation.damage))
        elif found.state is None:
            found.state = generation.state
    is_safe = found.state is not None
    remedy = "`tailrace state repair` puts it aside; the other generation is whole" if is_safe else _RESTORE_CHECKPOINT
    found.findings = [Finding(path, damage, remedy, repairable=is_safe) for path, damage in damaged]
    if found.state is None:
        if not damaged:
            found.findings.append(Finding(str(directory / CURRENT), "it is gone", _RESTORE_CHECKPOINT))
        return found
    for sink, path, length in recorded_files(found.state):
        found.files += 1
        found.bytes += length
        found.findings += _check(sink, path, length, _Remedies(state_dir, directory, path))
    found.notes = list(_notes(found))
    if closed:
        _look_at_closed(found)
    return found


def _look_at_closed(found: Verification) -> None:
    """Check the files that the checkpoint has forgotten: they hold whole members, and nothing else."""
    assert found.state is not None
    failures: list[OSError] = []
    modes: dict[str, dict[int, list[str]]] = {}  # by sink and mode, the files
    for sink, path in closed_slices(found.state, failures):
        found.closed += 1
        finding, mode = _check_closed(path)
        if mode is not None:
            modes.setdefault(sink, {}).setdefault(mode, []).append(path)
        if finding is not None and not _is_recorded(found.directory, path):
            found.findings.append(finding)
    for each in modes.values():
        (most, _), *others = sorted(each.items(), key=lambda entry: -len(entry[1]))
        for mode, paths in others:
            found.notes.append(f"{paths[0]}: has the mode {mode:04o} and others {most:04o}; {len(paths)} files do")
    found.notes += [f"{error.filename}: it cannot be listed: {error.strerror}" for error in failures]


def _check_closed(path: str) -> tuple[Finding | None, int | None]:
    """Give what is wrong with a closed file, and its mode if that can be told."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:  # deleted by retention meanwhile
        return None, None
    except OSError as error:
        return Finding(path, f"it cannot be opened: {error.strerror}", _OTHER_USER), None
    try:
        status = os.fstat(descriptor)
        return _first_damage(descriptor, path, status.st_size), stat.S_IMODE(status.st_mode)
    finally:
        os.close(descriptor)


def _first_damage(descriptor: int, path: str, size: int) -> Finding | None:
    offset = 0
    try:
        kind = _kind(descriptor, path)
        if kind is None:
            return None
        remedy = f"`tailrace gzip salvage {shlex.quote(path)}` copies what is whole; put that in its place"
        if kind != "gzip":
            remedy = "restore it from a backup"
        while offset < size:
            member = read_member(descriptor, kind, offset, size)
            if member.damage:
                return Finding(path, _damaged(kind, member), remedy, offset)
            offset = member.end
    except OSError as error:
        return Finding(path, f"it cannot be read: {error.strerror}", _BAD_DISK)
    return None if size else Finding(path, f"it is empty, which is no {kind} file", "remove it")


def _is_recorded(directory: Path, path: str) -> bool:
    """Tell whether a pipeline that runs has begun to write the file again since its checkpoint was read."""
    newest = next((generation.state for generation in generations(directory) if generation.state), None)
    return newest is not None and any(path in position for position in newest.sinks.values())


class _Remedies:
    """What a person can do about an output file."""

    def __init__(self, state_dir: Path, directory: Path, path: str) -> None:
        self._path = shlex.quote(path)
        self.forget = f"tailrace state forget {shlex.quote(str(state_dir))} {directory.name} {self._path}"
        self._is_own = os.path.basename(path) in (deadletter.FILE, letters.REPLAY_FILE)
        self._written_in = os.path.dirname(path)
        self._directory = os.path.realpath(directory)

    def lost(self) -> str:
        if self._is_own and os.path.realpath(self._written_in) != self._directory:
            return (
                f"this state directory was moved or copied: what is here was written in {self._written_in}; put it back"
            )
        other = os.path.join(self._directory, letters.REPLAY_FILE)
        if os.path.basename(self._path) == deadletter.FILE and os.path.exists(other):
            return f"a replay had begun, and has it under another name: mv {shlex.quote(other)} {self._path}"
        return f"restore it from a backup, or accept the loss: {self.forget}"

    def damaged(self, kind: Kind) -> str:
        if kind == "gzip":
            return (
                f"`tailrace gzip salvage {self._path}` copies what is whole; put that in its place, and let the "
                f"pipeline go on with it: {self.forget}"
            )
        return f"restore it from a backup; the pipeline goes on with it as it is after: {self.forget}"


def _check(sink: str, path: str, length: int, remedies: _Remedies) -> Iterator[Finding]:
    """Check one file as far as its recorded length."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        if length:  # a length of 0 was announced, and perhaps never written
            yield Finding(path, f"it is gone; {length} bytes of it are recorded", remedies.lost())
        return
    except PermissionError as error:
        yield Finding(path, f"it cannot be opened: {error.strerror}", _OTHER_USER)
        return
    except OSError as error:
        problem = f"it is a link, or else cannot be opened: {error.strerror}"
        yield Finding(path, problem, "output goes to regular files only: move it away; " + remedies.lost())
        return
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            yield Finding(path, "it is no regular file", "move it away; " + remedies.lost())
        elif status.st_size < length:
            problem = f"it ends here, but {length} bytes of it are recorded"
            yield Finding(path, problem, remedies.lost(), offset=status.st_size)
        elif sink in (deadletter.NAME, letters.REPLAY):
            yield from _check_letters(path, length)
        elif length:
            yield from _check_content(descriptor, path, length, remedies)
    except OSError as error:
        yield Finding(path, f"it cannot be read: {error.strerror}", _BAD_DISK)
    finally:
        os.close(descriptor)


def _check_letters(path: str, length: int) -> Iterator[Finding]:
    for stored in letters.Extent(path, 0, length):
        try:
            letters.decode(stored.line)
        except ValueError as error:
            yield Finding(path, str(error), "nothing depends on it: a replay puts it back as it is", stored.offset)


def _check_content(descriptor: int, path: str, length: int, remedies: _Remedies) -> Iterator[Finding]:
    """Check that there are only whole members, or plain text, and that the last line has its newline."""
    kind = _kind(descriptor, path)
    if kind is None:
        if os.pread(descriptor, 1, length - 1) != b"\n":
            problem = "the last event has no newline: somebody else has written to the file"
            yield Finding(path, problem, remedies.lost(), offset=length)
        return
    offset = 0
    while offset < length:
        member = read_member(descriptor, kind, offset, length)
        if member.damage:
            yield Finding(path, _damaged(kind, member), remedies.damaged(kind), offset)
            return
        offset = member.end
        is_complete = member.size == member.lines_size
    if not is_complete:
        problem = "the last event has no newline: somebody else has written to the file"
        yield Finding(path, problem, remedies.damaged(kind), offset)


def _damaged(kind: Kind, member: Member) -> str:
    return f"damaged {kind} member: {member.damage}; it can be read up to here"


def _kind(descriptor: int, path: str) -> Kind | None:
    """Tell how a file is compressed, by its name, or else by its first bytes."""
    kind = SUFFIXES.get(os.path.splitext(path)[1])
    if kind is None:
        head = os.pread(descriptor, 4, 0)
        kind = next((each for each, magic in MAGIC.items() if head.startswith(magic)), None)
    return kind


def _notes(found: Verification) -> Iterator[str]:
    state, directory = found.state, found.directory
    assert state is not None
    files = [(path, length) for _, path, length in recorded_files(state) if length]
    if files and not any(os.path.exists(path) for path, _ in files):
        yield (
            "none of its output files is here: if this directory was copied from another machine, copy them too, to "
            "the same places, or set state_dir to a new directory, which reads the logs from their beginning"
        )
    for path, length in longer(state):
        yield f"{path}: what follows offset {length} is being written, or will be cut off at the next start"
    for name in leftovers(found):
        yield f"{directory / name}: left behind by a process that died; it is not used any more"
    for aside in sorted([*directory.glob("checkpoint.damaged-*"), *directory.glob("cut-*")]):
        yield f"{aside}: was put aside; remove it when you do not want it any more"


def longer(state: State) -> Iterator[tuple[str, int]]:
    """Give the files that are longer than recorded, with the recorded length."""
    for sink, path, length in recorded_files(state):
        is_file = not os.path.islink(path) and os.path.isfile(path)
        if is_file and sink != letters.REPLAY and os.stat(path).st_size > length:
            yield path, length


def leftovers(found: Verification) -> Iterator[str]:
    """Name the files that a crash left in the pipeline's directory and that nothing refers to."""
    if (found.directory / TEMPORARY).exists():
        yield TEMPORARY
    is_used = found.state is None or letters.under_way(found.directory, found.state) is not None
    is_sound = all(finding.repairable for finding in found.findings)
    if is_sound and not is_used and (found.directory / letters.REPLAY_FILE).exists():
        yield letters.REPLAY_FILE
