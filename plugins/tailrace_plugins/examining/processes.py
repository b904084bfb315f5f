"""What the processes of this machine have open, as `/proc` tells (proc(5)): one look at all of them.

Of processes of other users only root sees the descriptors, and in a container nobody sees those outside of it.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from tailrace_plugins.tailing.file import Key

_DELETED: Final = " (deleted)"
_INOTIFY: Final = "anon_inode:inotify"


class Opened(NamedTuple):
    """A regular file that a process has open for writing."""

    process: int
    program: str  # its base name
    descriptor: str  # its path in /proc, by which it can be opened again
    path: str  # by which it was opened or is known now, as the process's mounts have it
    key: Key
    is_deleted: bool  # no name leads to it any more


class ApiServer(NamedTuple):
    """A kube-apiserver that writes an audit log, by its command line; None where an option is not set."""

    process: int
    path: str  # --audit-log-path
    backups: int | None
    days: int | None
    directory: Key | None  # device and inode of the directory of `path`, as it sees it


@dataclass
class Look:
    """What was seen."""

    opened: list[Opened] = field(default_factory=list)
    servers: list[ApiServer] = field(default_factory=list)
    hidden: int = 0  # processes whose descriptors could not be looked at
    watches: Counter[int] = field(default_factory=Counter)  # inotify watches, by user id
    instances: Counter[int] = field(default_factory=Counter)  # inotify instances, likewise


def look(proc: Path, is_wanted: Callable[[str, Key], bool]) -> Look:
    """Look at all processes. Of the files that they write, those count whose path and key are wanted."""
    seen = Look()
    for process in _processes(proc):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            user = process.stat().st_uid
        except OSError:  # it has ended
            continue
        server = _api_server(process, words)
        if server is not None:
            seen.servers.append(server)
        try:
            for descriptor, path in _descriptors(process):
                if path == _INOTIFY:
                    seen.instances[user] += 1
                    seen.watches[user] += _info(process, descriptor).count("inotify ")
                opened = _opened(process, descriptor, path, os.path.basename(words[0]), is_wanted)
                if opened is not None:
                    seen.opened.append(opened)
        except PermissionError:
            seen.hidden += 1
    return seen


def _processes(proc: Path) -> Iterator[Path]:
    try:
        names = sorted((name for name in os.listdir(proc) if name.isdigit()), key=int)
    except OSError:
        return
    for name in names:
        yield proc / name


def _descriptors(process: Path) -> Iterator[tuple[str, str]]:
    """Give what a process has open, while it has. Raises PermissionError."""
    directory = process / "fd"
    try:
        for descriptor in os.listdir(directory):
            try:
                yield descriptor, os.readlink(directory / descriptor)
            except FileNotFoundError:
                continue
    except (FileNotFoundError, ProcessLookupError):
        return


def _opened(
    process: Path, descriptor: str, path: str, program: str, is_wanted: Callable[[str, Key], bool]
) -> Opened | None:
    place = process / "fd" / descriptor
    if not path.startswith("/"):
        return None
    try:
        status = os.stat(place)
    except OSError:  # it is closed by now
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    key = status.st_dev, status.st_ino
    is_deleted = not status.st_nlink
    path = path.removesuffix(_DELETED) if is_deleted else path
    if not is_wanted(path, key) or not _is_written(_info(process, descriptor)):
        return None
    return Opened(int(process.name), program, str(place), path, key, is_deleted)


def _info(process: Path, descriptor: str) -> str:
    try:
        return (process / "fdinfo" / descriptor).read_text(errors="replace")
    except OSError:
        return ""


def _is_written(info: str) -> bool:
    """Tell from the flags, in octal, whether a descriptor can be written to."""
    for line in info.splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False


def _api_server(process: Path, words: list[str]) -> ApiServer | None:
    """Read the options about the audit log; those that k3s passes on too (`--kube-apiserver-arg=...`)."""
    options = dict(_options(words))
    path = options.get("audit-log-path", "")
    if not path.startswith("/"):  # none, or - for stdout
        return None
    return ApiServer(
        int(process.name),
        path,
        _number(options.get("audit-log-maxbackup")),
        _number(options.get("audit-log-maxage")),
        _directory(process, path),
    )


def _options(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    name = ""
    for word in words:
        if word.startswith("--kube-apiserver-arg="):
            word = "--" + word.partition("=")[2].lstrip("-")
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            if value:
                yield name, value
                name = ""
        elif name == "kube-apiserver-arg":
            yield word.lstrip("-").partition("=")[::2]
            name = ""
        elif name:
            yield name, word
            name = ""


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else None


def _directory(process: Path, path: str) -> Key | None:
    try:
        status = os.stat(process / "root" / os.path.dirname(path).lstrip("/"))
    except OSError:
        return None
    return status.st_dev, status.st_ino
