"""Whether the kernel still wakes whoever watches directories: the limits of inotify(7), which are those of a user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tailrace import Finding
from tailrace_plugins.examining.processes import Look


def judge(proc: Path, seen: Look, user: int) -> Iterator[Finding]:
    """Say so if the user of the service has used up what there is for him."""
    limits = proc / "sys" / "fs" / "inotify"
    for name, used in (("max_user_watches", seen.watches[user]), ("max_user_instances", seen.instances[user])):
        try:
            limit = int((limits / name).read_text())
        except (OSError, ValueError):
            continue
        if used >= limit:
            what = f"user {user} has used {used} of {limit}, so a rotation is found by looking alone, a bit later"
            yield Finding("warning", what, str(limits / name), f"raise it: sysctl fs.inotify.{name}={limit * 4}")
