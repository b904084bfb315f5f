"""Logs with times in them, and what the examination of a `tail` source says of them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tailrace.finding import Finding, Surroundings
from tailrace_plugins.sources.tail import Tail

START = datetime(2026, 11, 23, 7, 0, 0, tzinfo=UTC).timestamp()


def moment(seconds: float) -> str:
    """Write so many seconds after the start as an event has it."""
    return datetime.fromtimestamp(START + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event(seconds: float, **more: Any) -> bytes:
    """Make the line of an event of that time."""
    rest = "".join(f',"{key}":"{value}"' for key, value in more.items())
    return f'{{"kind":"Event","auditID":"{seconds}"{rest},"stageTimestamp":"{moment(seconds)}"}}\n'.encode()


def named(log: Path, seconds: float) -> Path:
    """Give the name that lumberjack gives to a log at that time."""
    when = datetime.fromtimestamp(START + seconds, UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
    return log.with_name(f"{log.stem}-{when}{log.suffix}")


def write(path: Path, times: Sequence[float], *, rotated: float | None = None) -> Path:
    """Write a file with events of these times, and rotate it then; give what has become of it."""
    with path.open("ab") as file:
        file.write(b"".join(map(event, times)))
    if rotated is not None:
        path = path.rename(named(path, rotated))
        os.utime(path, (START + rotated, START + rotated))
    return path


def pack(path: Path) -> Path:
    """Compress a file as the API server does."""
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    times = path.stat()
    os.utime(packed, (times.st_atime, times.st_mtime))
    path.unlink()
    return packed


class Machine:
    """A directory with a log, and a made-up `/proc` and `/etc`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "logs" / "audit.log"
        self.log.parent.mkdir()
        self.root = directory / "root"
        (self.root / "proc").mkdir(parents=True)
        self.asked = Surroundings(root=self.root, now=START + 1000)

    def findings(self, paths: Sequence[str] = (), options: dict[str, Any] | None = None, **asked: Any) -> list[Finding]:
        """Examine a source with these paths and options."""
        source = Tail(paths=list(paths) or [str(self.log)], **(options or {}))
        return list(source.examine(replace(self.asked, **asked)))

    def alarms(self, **asked: Any) -> list[Finding]:
        """Give what somebody should do something about."""
        return [finding for finding in self.findings(**asked) if finding.is_alarming]

    def alarm(self, **asked: Any) -> Finding:
        """Give the one thing that somebody should do something about."""
        [alarm] = self.alarms(**asked)
        return alarm

    def add_process(self, number: int, *words: str) -> Path:
        """Make up a process with this command line; give its directory."""
        process = self.root / "proc" / str(number)
        (process / "fd").mkdir(parents=True)
        (process / "fdinfo").mkdir()
        (process / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
        return process


def about(findings: Sequence[Finding], words: str) -> Finding:
    """Give the finding that says this."""
    [found] = [finding for finding in findings if words in finding.what]
    return found
