"""How soon an appended line can be read in a committed slice, at a steady pace; and what waiting for one costs.

    python -m benchmarks.bench_latency [--rate N] [--seconds N] [--idle SECONDS] [--json FILE]

The main job follows a log to which events are appended each 10 ms, each with the time of its append. A line counts as
readable from the moment at which a checkpoint was found that holds the length of its slice behind it. The directory
must be on a disk: in memory an fsync costs nothing.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import tempfile
import threading
import time
import zlib
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import results, workload
from benchmarks.job import CONFIG, TAILRACE, Job, compile_sources
from benchmarks.measure import cpu_seconds, environment, status_bytes, written_bytes

from tailrace.checkpoint import CURRENT, decode

TICK = 0.01  # seconds between two appends
LOOK = 0.002  # seconds between two looks for a new checkpoint
LIMIT = 60.0  # seconds for the collector to start, or to catch up
SETTLE = 5.0  # seconds that it may use after its last event, before it counts as idle
WARM = 2.0  # seconds of appends that do not count: the start of the collector
MARK = b'"auditID":"%036d"'
_MARK = re.compile(rb'"auditID":"(\d{36})"')
_ID = re.compile(rb'"auditID":"[^"]{36}"')
TARGETS = {
    "p50_ms": 150.0,
    "p99_ms": 600.0,
    "cpu_share": 0.25,
    "idle_cpu_share": 0.01,
    "idle_bytes": 60e6,
    "idle_written_bytes": 0,
}


@dataclass(frozen=True)
class Sight:
    """A checkpoint as it was found: when, how long the slices are that can be relied on, how far the log was read."""

    at: int  # nanoseconds
    lengths: Mapping[str, int]
    offset: int = 0


class Watcher(threading.Thread):
    """Notes each checkpoint of a pipeline."""

    def __init__(self, state: Path) -> None:
        super().__init__(daemon=True)
        self.sights: list[Sight] = []
        self.ended = threading.Event()
        self._state = state

    def run(self) -> None:
        seen = None
        is_last = False
        while not is_last:
            is_last = self.ended.wait(LOOK)  # then one more look: the end of a pipeline is a commit too
            try:
                path = next(self._state.glob(f"*/{CURRENT}"))
                status = path.stat()
                if (status.st_ino, status.st_mtime_ns) == seen:
                    continue
                content, at = path.read_bytes(), time.monotonic_ns()
            except (StopIteration, FileNotFoundError):
                continue  # not yet, or between two renames
            seen = status.st_ino, status.st_mtime_ns
            state = decode(content)
            sinks = [sizes for name, sizes in state.sinks.items() if name.startswith("file ")]
            offsets = [file["offset"] for log in (state.source or {}).values() for file in log["queue"]]
            self.sights.append(Sight(at, dict(ChainMap(*sinks)), sum(offsets)))

    def await_offset(self, offset: int) -> None:
        """Wait until a log is committed to its end; one that is told to stop does not read on."""
        deadline = time.monotonic() + LIMIT
        while not self.sights or self.sights[-1].offset < offset:
            if time.monotonic() > deadline:
                raise SystemExit(f"in {LIMIT:.0f} s the collector did not catch up")
            time.sleep(TICK)

    def stop(self) -> Sequence[Sight]:
        """End, and give all that was seen."""
        self.ended.set()
        self.join()
        return self.sights


def append(log: Path, lines: Sequence[bytes], rate: int, seconds: float) -> int:
    """Append lines at a steady rate, each with the present time in place of its ID; gives how many."""
    start = time.monotonic()
    made = 0
    with log.open("ab", buffering=0) as file:
        while (spent := time.monotonic() - start) < seconds:
            due = min(int(spent * rate), made + rate)
            mark = MARK % time.monotonic_ns()
            chosen = [lines[number % len(lines)] for number in range(made, due)]
            if chosen:
                file.write(b"".join(_ID.sub(mark, line, count=1) + b"\n" for line in chosen))
            made = due
            time.sleep(TICK)
    return made


def marks(data: bytes) -> list[int]:
    """Unpack whole gzip members, and give the times in their lines."""
    found = []
    while data:
        member = zlib.decompressobj(31)
        found += [int(mark) for mark in _MARK.findall(member.decompress(data))]
        data = member.unused_data
    return found


def latencies(sights: Iterable[Sight]) -> list[tuple[int, float]]:
    """Give for each line the time of its append, and the seconds until the first checkpoint that covers it."""
    known: dict[str, int] = {}
    took = []
    for sight in sights:
        for path, length in sight.lengths.items():
            if length > (before := known.get(path, 0)):
                with open(path, "rb") as file:
                    file.seek(before)
                    took += [(mark, (sight.at - mark) / 1e9) for mark in marks(file.read(length - before))]
                known[path] = length
    return took


@contextmanager
def following(job: Job) -> Iterator[int]:
    """Run the main job as a process that follows the log; gives its id."""
    with (job.directory / "said").open("wb") as said:
        process = subprocess.Popen(
            [TAILRACE, "run", str(CONFIG)], env=environment(job.environment), stdin=subprocess.DEVNULL, stderr=said
        )
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(LIMIT)


def measure_pace(directory: Path, rate: int, seconds: float, warm: float = WARM) -> dict[str, float]:
    """Append at a rate; how long lines take to be committed, and the share of a core."""
    job = Job(directory / "audit.log", directory / "pace")
    job.clear()
    lines = list(workload.lines(1, 20_000, hours=1))
    job.log.touch()
    watcher = Watcher(job.state)
    watcher.start()
    with following(job) as pid:
        made = append(job.log, lines, rate, warm)
        cpu, start = cpu_seconds(pid), time.monotonic()
        first = time.monotonic_ns()
        made += append(job.log, lines, rate, seconds)
        share = (cpu_seconds(pid) - cpu) / (time.monotonic() - start)
        peak = status_bytes(pid, "VmHWM")
        watcher.await_offset(job.log.stat().st_size)
    sights = watcher.stop()
    every = latencies(sights)
    if len(every) != made:
        raise SystemExit(f"{len(every)} lines of {made} were found in committed slices")
    took = sorted(seconds for mark, seconds in every if mark >= first)
    return {
        "rate": rate,
        "seconds": seconds,
        "lines": len(took),
        "commits_per_second": sum(sight.at >= first for sight in sights) / seconds,
        "p50_ms": took[len(took) // 2] * 1e3,
        "p99_ms": took[len(took) * 99 // 100] * 1e3,
        "most_ms": took[-1] * 1e3,
        "cpu_share": share,
        "peak_bytes": peak,
    }


def measure_idle(directory: Path, seconds: float, settle: float = SETTLE) -> dict[str, float]:
    """Follow a log to which nothing is appended any more; what that costs."""
    job = Job(directory / "quiet.log", directory / "idle")
    job.clear()
    workload.write(job.log, workload.lines(1, 20_000))
    with following(job) as pid:
        deadline = time.monotonic() + LIMIT
        while not any(job.slices()):
            if time.monotonic() > deadline:
                raise SystemExit((job.directory / "said").read_text())
            time.sleep(TICK)
        time.sleep(settle)
        cpu, written, start = cpu_seconds(pid), written_bytes(pid), time.monotonic()
        time.sleep(seconds)
        return {
            "idle_seconds": seconds,
            "idle_cpu_share": (cpu_seconds(pid) - cpu) / (time.monotonic() - start),
            "idle_bytes": status_bytes(pid, "VmRSS"),
            "idle_written_bytes": written_bytes(pid) - written,
        }


def as_table(figures: Mapping[str, Any]) -> str:
    """Make a table of figures and targets."""
    rows = [
        ("append to committed, p50", "p50_ms", "ms", 1.0),
        ("append to committed, p99", "p99_ms", "ms", 1.0),
        ("append to committed, the slowest", "most_ms", "ms", 1.0),
        ("share of a core at that rate", "cpu_share", "%", 100.0),
        ("idle: share of a core", "idle_cpu_share", "%", 100.0),
        ("idle: resident", "idle_bytes", "MB", 1e-6),
        ("idle: written to disk", "idle_written_bytes", "bytes", 1.0),
    ]
    lines = []
    for text, key, unit, factor in rows:
        target = TARGETS.get(key)
        wanted = "" if target is None else f"at most {target * factor:,.0f}"
        lines.append([text, f"{figures[key] * factor:,.{0 if unit in ('ms', 'bytes') else 1}f} {unit}", wanted])
    return results.table([f"{figures['rate']:,} events/s for {figures['seconds']:.0f} s", "", "target"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how soon lines are committed, and what idling costs.")
    parser.add_argument("--rate", type=int, default=4_000, help="events a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--idle", type=float, default=30.0, help="seconds of idling")
    results.add_options(parser)
    options = parser.parse_args()
    compile_sources()
    begun = results.Busy.now()
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-", dir=options.dir) as name:
        figures = measure_pace(Path(name), options.rate, options.seconds)
        figures |= measure_idle(Path(name), options.idle)
    print(as_table(figures))
    if options.json:
        results.save(options.json, "latency", figures, begun)


if __name__ == "__main__":
    main()
