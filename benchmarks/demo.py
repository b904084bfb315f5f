"""The demo: the sample split by namespace, the same bytes again in spite of a kill -9 half way, and a webhook by user.

python -m benchmarks.demo
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.demo_webhook import show_webhook
from benchmarks.job import SAMPLE, Job, count, read, repeat_input

from tailrace.checkpoint import decode

SHOWN = 12
BIG = 240_000_000  # bytes of input for the run that is killed: some commits long
ATTEMPTS = 4  # each with twice the input, should the machine finish before it can be killed


class Slice(NamedTuple):
    """One file of the output."""

    name: str
    events: int
    unpacked: int
    packed: int


def describe(path: Path) -> Slice:
    events, size = count(read(path))
    return Slice(path.name, events, size, path.stat().st_size)


def finish(job: Job) -> float:
    """Run the job to its end; the seconds it took."""
    start = time.perf_counter()
    done = subprocess.run(job.command, env=os.environ | job.environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"tailrace ended with {done.returncode}:\n{done.stderr}")
    return time.perf_counter() - start


def print_slices(slices: list[Slice]) -> None:
    slices = sorted(slices, key=lambda row: -row.unpacked)
    print(f"{'slice':48}{'events':>10}{'bytes in':>14}{'bytes out':>12}")
    rest = slices[SHOWN:]
    rows = slices[:SHOWN]
    if rest:
        rows.append(total(f"and {len(rest)} more", rest))
    for row in (*rows, total("total", slices)):
        print(f"{row.name:48}{row.events:>10,}{row.unpacked:>14,}{row.packed:>12,}")


def total(name: str, slices: list[Slice]) -> Slice:
    return Slice(name, *(sum(column) for column in zip(*(row[1:] for row in slices), strict=True)))


def committed(job: Job) -> bool:
    """Tell whether a commit has taken place: a checkpoint that says how far the source has been read."""
    for path in job.state.glob("*/checkpoint.json"):
        try:
            return bool(decode(path.read_bytes()).source)
        except FileNotFoundError:  # between the two renames that replace it
            return False
    return False


def written(job: Job) -> int:
    return sum(path.stat().st_size for path in job.slices())


def kill_half_way(job: Job) -> bool:
    """Start the job and SIGKILL it while it writes, after its first commit; False if it ended first."""
    process = subprocess.Popen(
        job.command, env=os.environ | job.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    durable = None
    while process.poll() is None:
        if durable is None:
            durable = written(job) if committed(job) else None
        elif written(job) > durable:  # so there is something that recovery has to cut off
            process.kill()
            return process.wait() < 0
    return False


def contents(job: Job) -> dict[str, str]:
    """Hash what each slice holds, unpacked."""
    hashes = {}
    for path in job.slices():
        hashed = hashlib.sha256()
        for piece in read(path):
            hashed.update(piece)
        hashes[path.name] = hashed.hexdigest()
    return hashes


def show_split(directory: Path) -> None:
    job = Job(directory / "audit.log", directory / "split")
    repeat_input(SAMPLE, job.log, 1)
    job.clear()
    took = finish(job)
    slices = [describe(path) for path in job.slices()]
    print(f"A capture of a real API server, split by namespace and hour in {took:.2f} s:\n")
    print_slices(slices)
    found, expected = total("", slices)[1:3], count(read(job.log))
    if found != expected:
        raise SystemExit(f"FAIL: {expected} events and bytes went in, {found} came out")
    print("\nPASS: every event and every byte is there.")


def show_kill(directory: Path) -> None:
    log = directory / "big.log"
    clean, killed = Job(log, directory / "clean"), Job(log, directory / "killed")
    for attempt in range(ATTEMPTS):
        repeat_input(SAMPLE, log, BIG << attempt)
        killed.clear()
        if kill_half_way(killed):
            break
    else:
        raise SystemExit("FAIL: the job always ended before it could be killed")
    size = log.stat().st_size
    left = written(killed)
    finish(killed)
    clean.clear()
    finish(clean)
    whole = written(clean)
    print(f"\n{size / 1e6:.0f} MB, killed with SIGKILL at {left:,} bytes of output, then run again.")
    expected, found = contents(clean), contents(killed)
    different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if different or not left:
        raise SystemExit(f"FAIL: not the same as without the kill: {', '.join(different) or 'nothing was there'}")
    print(f"An undisturbed run gives {whole:,} bytes.")
    print(f"PASS: the unpacked bytes of all {len(expected)} slices are the same with and without the kill.")


def main() -> None:
    directory = Path(tempfile.mkdtemp(prefix="tailrace-demo-"))
    try:
        show_split(directory)
        show_kill(directory)
        show_webhook(directory)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
