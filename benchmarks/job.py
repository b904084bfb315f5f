"""The main job, as demo and benchmark run it: an audit log, split by namespace into a fresh directory."""

from __future__ import annotations

import compileall
import gzip
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "audit-by-namespace.yaml"
SAMPLE = ROOT / "tests" / "data" / "audit-sample.log.gz"
TAILRACE = str(Path(sys.executable).with_name("tailrace"))
PIECE = 1 << 20


@dataclass(frozen=True)
class Job:
    """One run's input and directory; the directory's former content is lost."""

    log: Path
    directory: Path
    config: Path = CONFIG
    workers: int = 1

    @property
    def out(self) -> Path:
        return self.directory / "out"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def command(self) -> list[str]:
        return [TAILRACE, "run", "--once", "--workers", str(self.workers), str(self.config)]

    @property
    def environment(self) -> dict[str, str]:
        return {"AUDIT_LOG": str(self.log), "OUT_DIR": str(self.out), "STATE_DIR": str(self.state)}

    def clear(self) -> None:
        """Begin anew, as on a machine that has never seen this log."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.out.mkdir(parents=True)

    def slices(self) -> list[Path]:
        """The files that were written, by name."""
        return sorted(self.out.glob("*.log*"))


def compile_sources() -> None:
    """Leave bytecode for all modules, as the installation of a package does, so that no run that counts makes it."""
    for root in ("pipeline", "plugins"):
        compileall.compile_dir(ROOT / root, quiet=1)


def read(path: Path) -> Iterator[bytes]:
    """Read a log in pieces, unpacked by Python's own gzip if need be, which has no part in writing it."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def repeat_input(source: Path, target: Path, size: int) -> None:
    """Write the log as many times, whole, as make `size` bytes or a little more."""
    with target.open("wb") as file:
        while file.tell() < size:
            before = file.tell()
            for piece in read(source):
                file.write(piece)
            if file.tell() == before:
                raise SystemExit(f"{source} is empty; give a log with --input")


def count(parts: Iterable[bytes]) -> tuple[int, int]:
    """Count events and bytes."""
    events = size = 0
    for part in parts:
        events += part.count(b"\n")
        size += len(part)
    return events, size
