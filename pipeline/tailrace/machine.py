"""What the machine gives a process: how many descriptors, and what kind of file system lies where."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path
from typing import Final

MOUNTS = "/proc/self/mountinfo"
DESCRIPTORS: Final = 65_536
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "afs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs"})
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


def network_file_system(path: Path) -> str | None:
    """Give the type of the file system on which `path` lies if other machines may have it too; None if not, or unknown.

    See proc_pid_mountinfo(5).
    """
    try:
        table = Path(MOUNTS).read_text(errors="surrogateescape")
    except OSError:  # no /proc
        return None
    place = os.path.realpath(path)
    found: tuple[int, str] = (0, "")
    for line in table.splitlines():
        mount, _, about = line.partition(" - ")
        point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), mount.split(" ")[4])
        if os.path.commonpath([point, place]) == point:
            found = max(found, (len(point), about.split(" ")[0]), key=lambda each: each[0])
    return found[1] if found[1] in _NETWORK else None
