"""What the machine gives a process: how many descriptors, what is mounted, and what kind of file system lies where."""

from __future__ import annotations

import logging
import os
import re
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tailrace.logs import ROOT
from tailrace.stage import Stage

MOUNTS = "/proc/self/mountinfo"
DESCRIPTORS: Final = 65_536
OTHERS: Final = 64  # that are not those of stages: sockets, checkpoints, libraries
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "afs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs"})
_log = logging.getLogger(ROOT)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def raise_descriptor_limit() -> int:
    """Let this process have as many descriptors as it may, within reason; give their number.

    The limit that a shell hands down, 1,024, is there for programs that use select(2), which this one does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def wanted_descriptors(stages: Iterable[Stage]) -> int:
    """Give how many files a process with all these stages may want to have open."""
    return OTHERS + sum(stage.descriptors() for stage in stages)


def warn_of_few_descriptors(stages: Iterable[Stage]) -> None:
    """Say so if all these stages together may want to have more files open than this process may."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    wanted = wanted_descriptors(stages)
    if limit != resource.RLIM_INFINITY and wanted > limit:
        _log.warning(
            "there may be too few descriptors for all pipelines together (raise the hard limit, LimitNOFILE= with "
            "systemd, or lower max_open_files)",
            extra={"limit": limit, "wanted": wanted},
        )


def mounts(table: Path | None = None) -> Iterator[tuple[str, str]]:
    """Give each mount point, and the type of what is mounted there; nothing without /proc.

    `table` is that of another process. See proc_pid_mountinfo(5).
    """
    try:
        lines = (table or Path(MOUNTS)).read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        mount, _, about = line.partition(" - ")
        yield _ESCAPED.sub(lambda match: chr(int(match[1], 8)), mount.split(" ")[4]), about.split(" ")[0]


def network_file_system(path: Path) -> str | None:
    """Give the type of the file system on which `path` lies if other machines may have it too; None if not, or unknown.

    The innermost mount counts, of several at one point the last.
    """
    place = os.path.realpath(path)
    found = (0, "")
    for point, kind in mounts():
        if os.path.commonpath([point, place]) == point:
            found = max((len(point), kind), found, key=lambda each: each[0])
    return found[1] if found[1] in _NETWORK else None
