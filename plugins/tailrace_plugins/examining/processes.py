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
            server = _api_server(process, words)
            if server is not None:
                seen.servers.append(server)
            user = process.stat().st_uid
            program = os.path.basename(words[0])
            for descriptor in os.listdir(process / "fd"):
                _look_at(process, descriptor, program, user, is_wanted, seen)
        except PermissionError:
            seen.hidden += 1
        except OSError:  # it has ended
            continue
    return seen


def _processes(proc: Path) -> Iterator[Path]:
    try:
        names = sorted((name for name in os.listdir(proc) if name.isdigit()), key=int)
    except OSError:
        return
    for name in names:
        yield proc / name


def _look_at(
    process: Path, descriptor: str, program: str, user: int, is_wanted: Callable[[str, Key], bool], seen: Look
) -> None:
    place = process / "fd" / descriptor
    try:
        path = os.readlink(place)
        if path == _INOTIFY:
            seen.instances[user] += 1
            seen.watches[user] += _info(process, descriptor).count("inotify ")
        if not path.startswith("/"):
            return
        status = os.stat(place)
        if not stat.S_ISREG(status.st_mode):
            return
        key = status.st_dev, status.st_ino
        is_deleted = not status.st_nlink
        path = path.removesuffix(_DELETED) if is_deleted else path
        if is_wanted(path, key) and _is_written(_info(process, descriptor)):
            seen.opened.append(Opened(int(process.name), program, str(place), path, key, is_deleted))
    except PermissionError:
        raise
    except OSError:  # it is closed by now
        return


def _info(process: Path, descriptor: str) -> str:
    return (process / "fdinfo" / descriptor).read_text(errors="replace")


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
