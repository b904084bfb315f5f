"""Minutes of writing, rotation, posting, kills and faults, and then the count: nothing lost, twice, or grown.

    python -m benchmarks.soak --minutes 10 --seed 7

One collector runs both configs: it tails a log that another process writes and rotates as the API server does, and it
receives what eight connections post. Meanwhile it is killed, stopped and started, paused, and given a disk that takes
no more and a table of descriptors that is full, at moments that the seed decides. Ends with 1 if an event is missing
or there twice, a file is not valid gzip, or memory or descriptors grew.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import http.client
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.demo_webhook import free_port
from benchmarks.job import ROOT, TAILRACE

CONFIGS = [str(ROOT / "configs" / f"audit-by-{key}.yaml") for key in ("namespace", "user")]
CONNECTIONS = 8
ROTATE_BYTES = 4 << 20
PACE = 0.004  # seconds between two lots of events; some 20,000 events a second
SAMPLE_SECONDS = 1.0
ENOUGH_SAMPLES = 60
FINISH_SECONDS = 300.0
UNRECOVERED = "pipeline was stopped before it recovered"
LOG_END = 4096  # characters, which hold what a process says when it ends
GROWTH = 1.25  # what the last third may have more than the first
SLACK = 8e6  # bytes, and
SLACK_FILES = 8


def event(kind: str, number: int) -> tuple[str, bytes]:
    """Make an event, and say whose it is; the same for the same number."""
    rng = random.Random(f"{kind}/{number}")
    key = f"{kind}-{rng.randrange(12)}"
    filling = "x" * int(rng.expovariate(1 / 600))
    line = (
        f'{{"auditID":"{kind}-{number}","user":{{"username":"{key}"}},"objectRef":{{"namespace":"{key}"}},'
        f'"stageTimestamp":"2026-11-23T{5 + number // 200_000 % 18:02}:30:00.000000Z","x":"{filling}"}}'
    )
    return key, line.encode()


class Writer:
    """The API server's log backend: one write an event, rotation by renaming."""

    def __init__(self, log: Path) -> None:
        self.events = self.rotations = 0
        self._log = log
        log.parent.mkdir(parents=True)

    def run(self, stop: threading.Event) -> None:
        file = self._log.open("ab", buffering=0)
        while not stop.wait(PACE):
            for _ in range(80):
                line = event("log", self.events)[1] + b"\n"
                if file.tell() + len(line) > ROTATE_BYTES:
                    file.close()
                    self._log.rename(self._log.with_name(f"audit-{_stamp(self.rotations)}.log"))
                    file = self._log.open("xb", buffering=0)
                    self.rotations += 1
                file.write(line)
                self.events += 1
        file.close()


def _stamp(number: int) -> str:
    return time.strftime("%Y-%m-%dT%H-%M-%S.000", time.gmtime(1_800_000_000 + number))


class Sender:
    """One connection of the API server's webhook backend: a body again and again, until it is answered with 200."""

    def __init__(self, name: str, port: int, abandoned: threading.Event) -> None:
        self.name = name
        self._abandoned = abandoned
        self.events = self.attempts = 0
        self._port = port
        self._connection: http.client.HTTPConnection | None = None

    def run(self, stop: threading.Event) -> None:
        rng = random.Random(self.name)
        while not stop.wait(0.05):
            count = rng.randint(1, 200)
            items = b",".join(event(self.name, self.events + each)[1] for each in range(count))
            body = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[' + items + b"]}\n"
            while not self._post(body):
                if self._abandoned.wait(0.1):
                    return
            self.events += count
        if self._connection is not None:
            self._connection.close()

    def _post(self, body: bytes) -> bool:
        self.attempts += 1
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            self._connection.request("POST", "/k8s/audit", body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            response.read()
            return response.status == 200
        except (OSError, http.client.HTTPException):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return False


@dataclass
class Collector:
    """The process that is tormented, and what it held over time."""

    directory: Path
    port: int
    rng: random.Random
    process: subprocess.Popen[bytes] | None = None
    memory: list[tuple[float, int, int]] = field(default_factory=list)  # seconds, bytes resident, descriptors
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AUDIT_LOG": str(self.directory / "log" / "audit.log"),
            "LISTEN": f"127.0.0.1:{self.port}",
            "OUT_DIR": str(self.directory / "out"),
            "STATE_DIR": str(self.directory / "state"),
        }

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        workers = str(self.rng.choice([1, 2]))
        with (self.directory / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [TAILRACE, "run", "--workers", workers, *options, *CONFIGS],
                env=os.environ | self.environment,
                stderr=log,
            )
        return self.process

    def sample(self, at: float) -> None:
        assert self.process is not None
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            files = len(os.listdir(f"/proc/{self.process.pid}/fd"))
        except (FileNotFoundError, ProcessLookupError):
            return
        if "VmRSS:" in status:
            self.memory.append((at, int(status.partition("VmRSS:")[2].split()[0]) * 1024, files))

    def torment(self, rest: Callable[[float], None]) -> None:
        """Do one harm, and undo it."""
        assert self.process is not None
        pid = self.process.pid
        harm = self.rng.choice(["kill", "kill", "terminate", "pause", "full disk", "no descriptors"])
        self.faults[harm] += 1
        if harm == "kill":
            self.process.kill()
            self.process.wait()
            self.start()
        elif harm == "terminate":
            self.process.terminate()
            code = self.process.wait(FINISH_SECONDS)
            # the second, if it was only starting; 1, if a fault had left it no time to recover and to commit
            recovering = code == 1 and UNRECOVERED in (self.directory / "log.txt").read_text()[-LOG_END:]
            if code not in (0, -signal.SIGTERM) and not recovering:
                raise SystemExit(f"FAIL: it ended with {self.process.returncode} when it was told to stop")
            self.start()
        elif harm == "pause":
            self.process.send_signal(signal.SIGSTOP)
            rest(self.rng.uniform(0.5, 5))
            self.process.send_signal(signal.SIGCONT)
        elif harm == "full disk":  # no file can grow, as on a disk without room
            with lowered(pid, resource.RLIMIT_FSIZE, 1024):
                rest(self.rng.uniform(0.5, 4))
        else:
            with lowered(pid, resource.RLIMIT_NOFILE, 5):
                rest(self.rng.uniform(0.5, 4))


@contextmanager
def lowered(pid: int, limit: int, value: int) -> Iterator[None]:
    """Lower a limit of a process for a while."""
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (value, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, limit, before)


def find_faults(collector: Collector, writer: Writer, senders: list[Sender]) -> list[str]:
    """Compare what there is with what was written and acknowledged; give what is wrong."""
    expected: dict[str, Counter[bytes]] = {}
    sources = [("log", writer.events), *((sender.name, sender.events) for sender in senders)]
    for kind, events in sources:
        for number in range(events):
            key, line = event(kind, number)
            expected.setdefault(key, Counter())[hashlib.blake2b(line, digest_size=12).digest()] += 1
    wrong = []
    out = collector.directory / "out"
    paths = {path: path.name.removeprefix("audit-").split(".")[0] for path in out.glob("audit-*.gz")}
    paths |= {path: path.parent.name.removeprefix("kube-audit-") for path in out.glob("kube-audit-*/*.gz")}
    for path, key in sorted(paths.items()):
        try:
            lines = gzip.decompress(path.read_bytes()).splitlines()
        except (OSError, EOFError) as error:
            wrong.append(f"{path}: {error}")
            continue
        wanted = expected.get(key, Counter())
        wanted.subtract(hashlib.blake2b(line, digest_size=12).digest() for line in lines)
    for key, left in expected.items():
        lost, twice = sum(n for n in left.values() if n > 0), -sum(n for n in left.values() if n < 0)
        if lost or twice:
            wrong.append(f"{key}: {lost} events lost, {twice} there twice or from nowhere")
    return wrong


def find_growth(samples: list[tuple[float, int, int]]) -> list[str]:
    """Compare the last third of the time with the first; give what has grown. Nothing can be said of a short time."""
    if len(samples) < ENOUGH_SAMPLES:
        return []
    third = len(samples) // 3
    wrong = []
    for name, at, slack in (("memory", 1, SLACK), ("descriptors", 2, SLACK_FILES)):
        first, last = (median(sample[at] for sample in part) for part in (samples[:third], samples[-third:]))
        if last > first * GROWTH + slack:
            wrong.append(f"{name} grew from {first:,.0f} to {last:,.0f}")
    return wrong


def print_memory(samples: list[tuple[float, int, int]], rows: int = 12) -> None:
    print(f"{'seconds':>10}{'MB resident':>14}{'descriptors':>14}")
    for number in range(rows):
        part = samples[len(samples) * number // rows : len(samples) * (number + 1) // rows]
        if part:
            at, *_ = part[0]
            print(f"{at:>10.0f}{max(row[1] for row in part) / 1e6:>14.1f}{max(row[2] for row in part):>14}")


def soak(directory: Path, seconds: float, seed: int) -> list[str]:
    """Run for so long, and give what went wrong."""
    rng = random.Random(seed)
    collector = Collector(directory, free_port(), rng)
    writer = Writer(directory / "log" / "audit.log")
    stop, abandoned = threading.Event(), threading.Event()
    senders = [Sender(f"sender{number}", collector.port, abandoned) for number in range(CONNECTIONS)]
    runs = [writer.run, *(sender.run for sender in senders)]
    threads = [threading.Thread(target=run, args=(stop,)) for run in runs]
    collector.start()
    begin = time.monotonic()
    sampled = begin

    def rest(pause: float) -> None:
        nonlocal sampled
        until = time.monotonic() + pause
        while (now := time.monotonic()) < until:
            if now - sampled >= SAMPLE_SECONDS:
                sampled = now
                collector.sample(now - begin)
            time.sleep(min(0.05, until - now))

    for thread in threads:
        thread.start()
    try:
        while time.monotonic() - begin < seconds:
            rest(rng.uniform(0.5, min(8.0, seconds / 4)))
            collector.torment(rest)
    except BaseException:
        abandoned.set()
        raise
    finally:
        stop.set()
        for thread in threads:
            thread.join(FINISH_SECONDS)
        assert collector.process is not None
        collector.process.kill()
        collector.process.wait()
    started = time.monotonic()
    code = collector.start("--once").wait(FINISH_SECONDS)
    wrong = [f"the last run ended with {code}"] if code else []
    posted = sum(sender.events for sender in senders)
    faults = ", ".join(f"{count} × {harm}" for harm, count in sorted(collector.faults.items()))
    print(f"{writer.events:,} events logged with {writer.rotations} rotations, {posted:,} posted; {faults}")
    print(f"{sum(sender.attempts for sender in senders):,} posts; caught up in {time.monotonic() - started:.1f} s")
    print_memory(collector.memory)
    return [*wrong, *find_faults(collector, writer, senders), *find_growth(collector.memory)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Torment a collector for some minutes, then count.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--keep", action="store_true", help="leave the directory for a look")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="tailrace-soak-"))
    print(f"seed {options.seed}, in {directory}")
    try:
        wrong = soak(directory, options.minutes * 60, options.seed)
    finally:
        if not options.keep:
            shutil.rmtree(directory)
    for sentence in wrong:
        print(f"FAIL: {sentence}")
    if wrong:
        sys.exit(1)
    print("PASS: every event is there once, every file is valid, and nothing grew.")


if __name__ == "__main__":
    main()
