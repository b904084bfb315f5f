"""Death of a pipeline that sends: nothing is lost, and what is sent again is recognised by its bytes."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from delivering import Flying
from recording import Act, Reply, Request, Server
from test_webhook_kill import CONFIG, free_port
from waiting import wait_until

from tailrace.checkpoint import Checkpoint
from tailrace.context import Context
from tailrace.faults import Crash, FaultyDisk
from tailrace.pipeline import Pipeline
from tailrace_plugins.sinks.webhook import Webhook
from tailrace_plugins.sources.tail import Tail

KILLS = 6
# a log as short as this one is read again in no time, and there shall be commits between the kills
MAIN = "from tailrace_plugins.sending import catchup; catchup.CATCH_UP = 1.0; from tailrace.cli import main; main()"


def event(number: int) -> bytes:
    user = f'"user":{{"username":"user-{number % 3}"}},"stageTimestamp":"2026-11-23T06:30:00.000000Z"'
    return f'{{"auditID":"{number}",{user},"x":"{"x" * (number * 37 % 600)}"}}'.encode()


def append(log: Path, numbers: Sequence[int]) -> None:
    with log.open("ab") as file:
        file.write(b"".join(event(number) + b"\n" for number in numbers))


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Mortal(Flying):
    """A clock at which the process dies when it has looked so many times, be it in the middle of sending."""

    def __init__(self, step: float, looks: int) -> None:
        super().__init__(step)
        self.looks = looks

    def monotonic(self) -> float:
        self.looks -= 1
        if self.looks < 0:
            raise Crash("no more time")
        return super().monotonic()


def run(directory: Path, url: str, disk: FaultyDisk, clock: Flying) -> None:
    context = Context("test", directory / "state", disk, clock)
    source = Tail(paths=[str(directory / "audit.log")], block_bytes=3000, watch=False)
    sink = Webhook(url=url, batch_max_size=7, throttle_enable=False, initial_backoff=0.0)
    Pipeline(context, source, [], {"webhook": sink}).run(threading.Event(), once=True)


def test_wherever_the_process_dies_a_receiver_that_knows_bodies_takes_each_event_once(tmp_path: Path) -> None:
    deaths = repeats = 0
    with Server() as server:
        while True:
            directory = tmp_path / str(deaths)
            directory.mkdir()
            append(directory / "audit.log", range(90))
            server.requests.clear()
            disk = FaultyDisk(deaths + 1)
            has_died = True
            try:
                run(directory, server.url, disk, Flying(0.5))
                has_died = False
            except Crash:
                disk.die()
                disk.lose_unsynced()
            append(directory / "audit.log", range(90, 105))  # so the rest of before need not be the rest of now
            second = FaultyDisk(deaths // 2 + 1)
            with contextlib.suppress(Crash):
                run(directory, server.url, second, Flying(0.1))  # what is there already is read quicker
                second = FaultyDisk()
            second.die()
            second.lose_unsynced()
            append(directory / "audit.log", range(105, 109))
            run(directory, server.url, FaultyDisk(), Flying(0.02))
            kept = Counter(server.bodies)
            repeats += sum(kept.values()) - len(kept)
            taken = [int(item["auditID"]) for body in kept for item in _items(server, body)]
            assert sorted(taken) == list(range(109)), f"death {deaths}"
            if not has_died:
                break
            deaths += 1
    assert deaths > 40
    assert repeats > deaths


def test_a_commit_that_would_come_earlier_the_second_time_does_not_cut_what_was_sent(tmp_path: Path) -> None:
    repeats = 0
    with Server() as server:
        for looks in range(630, 790, 19):
            directory = tmp_path / str(looks)
            directory.mkdir()
            append(directory / "audit.log", range(1000))
            server.requests.clear()
            with pytest.raises(Crash):
                run(directory, server.url, FaultyDisk(), Mortal(0.05, looks))
            assert has_committed(directory)
            append(directory / "audit.log", range(1000, 1010))
            run(directory, server.url, FaultyDisk(), Flying(0.1))
            kept = dict.fromkeys(server.bodies)
            repeats += len(server.bodies) - len(kept)
            taken = [int(item["auditID"]) for body in kept for item in _items(server, body)]
            assert taken == list(range(1010)), f"after {looks} looks"
    assert repeats > 5


def has_committed(directory: Path) -> bool:
    """Tell whether there was a commit of events, and not just of where the log begins."""
    state = Checkpoint(Context("test", directory / "state")).load()
    return state is not None and '"offset":0' not in json.dumps(state.source, separators=(",", ":"))


def _items(server: Server, body: bytes) -> list[dict[str, str]]:
    return next(request.items for request in server.requests if request.body == body)


def test_a_receiver_that_takes_some_and_dies_before_its_answer_gets_the_same_again(tmp_path: Path) -> None:
    rng = random.Random(7)

    def decide(request: Request) -> Act:
        return rng.choice([Reply(), Reply(), Reply(500), Reply(missing=4), Reply(close=True)])

    append(tmp_path / "audit.log", range(200))
    with Server(decide=decide) as server:
        context = Context("test", tmp_path / "state")
        source = Tail(paths=[str(tmp_path / "audit.log")], block_bytes=3000, watch=False)
        sink = Webhook(url=server.url, batch_max_size=7, throttle_enable=False, initial_backoff=0.0)
        assert Pipeline(context, source, [], {"webhook": sink}).run(threading.Event(), once=True)
        kept = dict.fromkeys(server.bodies)
        taken = [int(item["auditID"]) for body in kept for item in _items(server, body)]
        assert taken == list(range(200))
        assert len(server.bodies) > len(kept)


def test_kills_of_sender_and_receiver_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    log, out = tmp_path / "audit.log", tmp_path / "out"
    log.touch()
    port = free_port()
    config = tmp_path / "sender.yaml"
    sink = {
        "type": "webhook",
        "url": f"http://127.0.0.1:{port}/k8s/audit",
        "batch_max_size": 50,
        "batch_max_wait": 0.2,
        "throttle_enable": False,
        "initial_backoff": 0.05,
    }
    pipeline = {"source": {"type": "tail", "paths": [str(log)], "poll_interval": 0.1}, "sinks": [sink]}
    config.write_text(yaml.safe_dump({"state_dir": str(tmp_path / "sender"), "pipelines": {"ship": pipeline}}))
    environment = os.environ | {
        "LISTEN": f"127.0.0.1:{port}",
        "OUT_DIR": str(out),
        "STATE_DIR": str(tmp_path / "receiver"),
    }

    def start(path: Path, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", MAIN, "run", *options, str(path)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    written = 0
    commits: set[bytes] = set()
    stop, timer = threading.Event(), threading.Event()

    def write() -> None:
        nonlocal written
        while not stop.wait(0.05):
            count = rng.choice([1, 3, 10, 40, 160])
            append(log, range(written, written + count))
            written += count

    writer = threading.Thread(target=write)
    processes = {CONFIG: start(CONFIG), config: start(config)}
    writer.start()
    try:
        for _ in range(KILLS):
            timer.wait(rng.uniform(0.3, 2.0))  # the random moment itself, not a wait for something
            victim = rng.choice([CONFIG, config, config])
            processes[victim].send_signal(signal.SIGKILL)
            processes[victim].wait()
            with contextlib.suppress(FileNotFoundError):
                commits.add((tmp_path / "sender" / "ship" / "checkpoint.json").read_bytes())
            processes[victim] = start(victim)
    finally:
        stop.set()
        writer.join()
        processes[config].kill()
        processes[config].wait()
    wait_until(lambda: is_open(port))
    assert start(config, "--once").wait(60) == 0
    processes[CONFIG].kill()
    processes[CONFIG].wait()
    assert start(CONFIG, "--once").wait(60) == 0
    found = Counter(line for path in out.rglob("*.gz") for line in gzip.decompress(path.read_bytes()).splitlines())
    print(f"{written} events, {len(commits)} commits seen")
    expected = {event(number) for number in range(written)}
    lost, repeated = expected - set(found), [line for line, times in found.items() if times > 1]
    assert (len(lost), len(repeated)) == (0, 0)
    assert len(found) == written
