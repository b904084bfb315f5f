"""Who writes a log, and whether it is the file that is followed.

A writer keeps its descriptor when somebody else deletes or renames the file, and notices nothing; what it writes then
reaches nobody, or only those who still look at the old name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tailrace import Finding
from tailrace_plugins.examining.processes import ApiServer, Look, Opened
from tailrace_plugins.tailing.content import Plain
from tailrace_plugins.tailing.file import HEAD_BYTES, File, Key
from tailrace_plugins.tailing.names import is_packed, rotation


@dataclass(frozen=True)
class Trail:
    """What is known of one log: where its files are now, and which they were."""

    path: str  # of the live file
    live: Key | None
    rotated: Mapping[Key, str]  # the paths of rotated files
    known: Sequence[File]  # by the checkpoint
    directories: Sequence[tuple[str, str]]  # in which its files lie, with the live name in each

    def has_name(self, path: str) -> bool:
        """Tell whether a path is one that the log or its past may have."""
        directory, name = os.path.split(path)
        found = rotation(name)
        return any(
            directory == place and (name == live or (found is not None and found.live == live))
            for place, live in self.directories
        )

    def is_of(self, server: ApiServer) -> bool:
        """Tell whether an API server writes this log; it may have another name for the directory."""
        if server.directory is None:
            return (os.path.dirname(server.path), os.path.basename(server.path)) in self.directories
        for place, live in self.directories:
            try:
                status = os.stat(place)
            except OSError:
                continue
            if server.directory == (status.st_dev, status.st_ino) and os.path.basename(server.path) == live:
                return True
        return False

    def was(self, opened: Opened) -> bool:
        """Tell whether what a process has open is a file that the checkpoint knows; inodes are used again."""
        file = next((each for each in self.known if each.key == opened.key and each.state.head_len), None)
        if file is None:
            return False
        try:
            content = Plain(os.open(opened.descriptor, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError:
            return False
        try:
            return file.begins_like(content.pread(HEAD_BYTES, 0))
        except OSError:
            return False
        finally:
            content.close()


def wanted(trails: Sequence[Trail]) -> Callable[[str, Key], bool]:
    """Give what tells whether it is worth a closer look who writes a file of this path and key."""
    keys = {key for trail in trails for key in (*trail.rotated, *(file.key for file in trail.known))}
    keys |= {trail.live for trail in trails if trail.live is not None}
    names = {live for trail in trails for _, live in trail.directories}

    def is_wanted(path: str, key: Key) -> bool:
        name = os.path.basename(path)
        if key in keys or name in names:
            return True
        found = rotation(name)
        return found is not None and found.live in names

    return is_wanted


def judge(trail: Trail, seen: Look) -> Iterator[Finding]:
    """Say of each process that writes this log whether what it writes is read; nothing if no such process was seen."""
    servers = {server.process: server for server in seen.servers if trail.is_of(server)}
    for opened in seen.opened:
        if opened.key == trail.live:
            yield Finding("ok", f"{_name(opened)} writes it", trail.path)
        else:
            yield from _astray(trail, opened, servers.get(opened.process))


def judge_unwritten(paths: Sequence[str]) -> Iterator[Finding]:
    """Say of which live files no writer was seen."""
    if paths:
        others = f", nor {len(paths) - 1} other logs" if len(paths) > 1 else ""
        remedy = "if somebody does, ask as root, and where his process is seen: not in a container without hostPID"
        yield Finding("note", f"no process was seen that writes it{others}", paths[0], remedy)


def _astray(trail: Trail, opened: Opened, server: ApiServer | None) -> Iterator[Finding]:
    """Judge a file that is not the live one, if it is one of this log."""
    if opened.key in trail.rotated:
        path = trail.rotated[opened.key]
        if is_packed(path):
            return  # it is written by whoever compresses it
        what = f"{_name(opened)} still writes into it, and not into {trail.path}: somebody else has rotated the log"
        remedy = "let its writer alone rotate it (turn logrotate off for it), and restart the writer"
        yield Finding("warning", what, path, remedy)
        return
    is_servers = server is not None and os.path.basename(opened.path) == os.path.basename(server.path)
    is_ours = trail.was(opened) or is_servers or (trail.has_name(opened.path) and _is_near(trail, opened.key))
    if not is_ours:
        return
    if opened.is_deleted:
        what = f"{_name(opened)} writes into a file of this log that was deleted ({opened.path}): nobody sees that"
        remedy = f"copy {opened.descriptor} to a rotated name beside the log, then restart the writer"
        yield Finding("error", what, trail.path, remedy)
    elif not trail.has_name(opened.path):  # else it was rotated while we looked, or is that of another container
        what = f"{_name(opened)} writes this log into {opened.path}, where it is not followed"
        remedy = "move that file to a rotated name beside the log, and restart the writer"
        yield Finding("error", what, trail.path, remedy)


def _is_near(trail: Trail, key: Key) -> bool:
    """Tell whether a file lies on the file system of the log; another container may have the same path elsewhere."""
    for place, _ in trail.directories:
        try:
            if os.stat(place).st_dev == key[0]:
                return True
        except OSError:
            continue
    return False


def _name(opened: Opened) -> str:
    return f"process {opened.process} ({opened.program})"
