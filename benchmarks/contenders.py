"""Who does the main job in `compare.py`: tailrace, other collectors where they are installed, and bare scripts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.job import CONFIG, Job
from benchmarks.measure import Cost, run

PEERS = Path(__file__).with_name("peers")
BASELINES = Path(__file__).with_name("baselines.py")
WORKERS = (1, 2)
LIMIT = 600.0  # seconds for any of them


@dataclass(frozen=True)
class Contender:
    """Something that splits `log` into `out`, with a directory of its own beside it."""

    name: str
    packs: str  # how its files are compressed, for the table
    version: str | None  # None: not installed
    split: Callable[[Path, Path, int, int], Cost]  # log, fresh directory, events and bytes to wait for


def contenders() -> Iterator[Contender]:
    """Give all of them, in the order of the table."""
    for workers in WORKERS:
        name = f"tailrace, {workers} worker{'s' if workers > 1 else ''}"
        yield Contender(name, "gzip 1", "", _tailrace(workers, ".log.gz"))
    yield Contender("tailrace, 1 worker", "no", "", _tailrace(1, ".log"))
    rsyslog = _version("rsyslogd", "-v", 1)
    for level in (1, 6, 0):
        yield Contender("rsyslog", f"gzip {level}" if level else "no", rsyslog, _rsyslog(level))
    yield Contender("syslog-ng", "no", _version("syslog-ng", "-V", -1), _syslog_ng)
    for kind, text, packs in (
        ("json", "script: json and gzip modules", "gzip 6"),
        ("orjson", "script: orjson and gzip modules", "gzip 6"),
        ("bare", "script: as little as can be", "gzip 1"),
    ):
        yield Contender(text, packs, "", _baseline(kind))


def _tailrace(workers: int, suffix: str) -> Callable[[Path, Path, int, int], Cost]:
    def split(log: Path, directory: Path, events: int, size: int) -> Cost:
        config = directory / "config.yaml"
        config.write_text(CONFIG.read_text().replace(".log.gz", suffix))
        job = Job(log, directory, config, workers)
        return run(job.command, job.environment, limit=LIMIT)

    return split


def _baseline(kind: str) -> Callable[[Path, Path, int, int], Cost]:
    def split(log: Path, directory: Path, events: int, size: int) -> Cost:
        return run([sys.executable, str(BASELINES), kind, str(log), str(directory / "out")], limit=LIMIT)

    return split


def _rsyslog(level: int) -> Callable[[Path, Path, int, int], Cost]:
    """rsyslog in the foreground; how far it is stands in the statistics that it writes once a second."""

    def split(log: Path, directory: Path, events: int, size: int) -> Cost:
        config = _config(directory, "rsyslog.conf", log, {"SUFFIX": ".gz" if level else "", "LEVEL": str(level)})
        command = ["rsyslogd", "-n", "-f", str(config), "-i", str(directory / "pid")]
        statistics = directory / "statistics"
        return run(command, is_done=lambda: written_by_rsyslog(statistics) >= events, limit=LIMIT)

    return split


def written_by_rsyslog(statistics: Path) -> int:
    """Tell from rsyslog's statistics how many events it has written."""
    try:
        lines = statistics.read_text().splitlines()
    except FileNotFoundError:
        return 0
    for line in reversed(lines):
        if '"name": "slices"' in line and line.endswith("}"):
            return int(json.loads(line[line.index("{") :])["processed"])
    return 0


def _syslog_ng(log: Path, directory: Path, events: int, size: int) -> Cost:
    """syslog-ng in the foreground; its files are plain, so their sizes say how far it is."""
    config = _config(directory, "syslog-ng.conf", log, {})
    out, pid, persist, control = (str(directory / name) for name in ("out", "pid", "persist", "control"))
    command = ["syslog-ng", "-F", "-f", str(config), "-p", pid, "-R", persist, "-c", control, "--no-caps"]
    return run(command, is_done=lambda: sum(p.stat().st_size for p in Path(out).iterdir()) >= size, limit=LIMIT)


def _config(directory: Path, name: str, log: Path, values: dict[str, str]) -> Path:
    """Fill in a peer's config."""
    text = (PEERS / name).read_text()
    for key, value in {"LOG": str(log), "OUT": str(directory / "out"), "WORK": str(directory), **values}.items():
        text = text.replace(f"@{key}@", value)
    config = directory / name
    config.write_text(text)
    return config


def _version(program: str, option: str, field: int) -> str | None:
    """Ask a program for its version; None if it is not there."""
    if shutil.which(program) is None:
        return None
    said = subprocess.run([program, option], capture_output=True, text=True, check=False).stdout
    return said.partition("\n")[0].split()[field].strip("()")
