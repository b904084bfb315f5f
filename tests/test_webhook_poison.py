"""Poisoned events and hostile names on their way from the webhook to a file per user."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import subprocess
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest
from poison import HOUR, READABLE, UNREADABLE, USERS, dead_letter, directory_of, event
from test_webhook_kill import CONFIG, free_port
from waiting import wait_until
from webhook import Running, event_list

from tailrace.config import load
from tailrace.registry import Registry
from tailrace_plugins.receiving.events import BadBody, cut

GOOD: Final = [event(f"good-{number}", b'"user-%d"' % (number % 5)) for number in range(399)]
TIMELESS: Final = b"{}\r"


class Place:
    """Where `configs/audit-by-user.yaml` writes, and what it has written there."""

    def __init__(self, directory: Path) -> None:
        self.state, self.out = directory / "state", directory / "out"
        environ = {"OUT_DIR": str(self.out), "STATE_DIR": str(self.state), "LISTEN": "127.0.0.1:0"}
        (self.plan,) = load([CONFIG], Registry.standard(), environ).plans

    def run(self) -> Running:
        """Run its stages; the receiver of the config listens as `Running` does."""
        (sink,) = self.plan.sinks.values()
        return Running(self.state, sink)

    def files(self) -> dict[str, list[bytes]]:
        """Give the lines of each file."""
        found = {}
        for path in self.out.rglob("*.gz"):
            assert path.parent.parent == self.out
            name = str(path.relative_to(self.out))
            found[name] = gzip.decompress(path.read_bytes()).removesuffix(b"\n").split(b"\n")
        return found


def wait_for(running: Running, events: int) -> None:
    """Wait until so many events have come through; all of them are committed when the pipeline has stopped."""
    counts = running.pipeline.counts
    wait_until(lambda: counts.events_out + counts.rejected >= events)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def file_of(line: bytes) -> str:
    """Name the file in which a line belongs, by Python's decoder."""
    user = json.loads(line.decode("utf-8", "surrogateescape"), parse_int=str).get("user") or {}
    directory = directory_of(json.dumps(user.get("username")).encode())
    return f"{directory}/audit.{'_unparsed' if line == TIMELESS else HOUR}.log.gz"


def sorted_out(lines: Iterable[bytes]) -> dict[str, list[bytes]]:
    files = defaultdict(list)
    for line in lines:
        files[file_of(line)].append(line)
    return dict(files)


def ways(item: bytes) -> Iterator[tuple[list[bytes], bytes, str]]:
    """Give the ways to send an item: the events, the body, and its type."""
    try:
        yield list(map(bytes, cut(item).items)), item, "application/json"
    except BadBody:
        yield [], item, "application/json"
    yield [*GOOD[:200], item.strip(), *GOOD[200:]], event_list([*GOOD[:200], item, *GOOD[200:]]), "application/json"
    yield [GOOD[0], item, TIMELESS], b"\n".join([GOOD[0], item, TIMELESS, b""]), "application/x-ndjson"


def test_poisoned_events_are_in_the_file_of_their_user_and_cost_no_neighbour(place: Place) -> None:
    expected = []
    with place.run() as running:
        for item in READABLE.values():
            for events, body, kind in ways(item):
                assert running.post(body, Content_Type=kind).json == {"accepted": len(events)}
                expected += events
        wait_for(running, len(expected))
    assert place.files() == sorted_out(expected)
    assert not (place.state / "dead-letter.jsonl").exists()


def test_what_is_no_event_is_in_the_dead_letter_verbatim_and_costs_no_neighbour(place: Place) -> None:
    expected = []
    with place.run() as running:
        for item in UNREADABLE.values():
            for events, body, kind in ways(item):
                answer = running.post(body, Content_Type=kind)
                assert answer.json == {"accepted": len(events)} if events else answer.status == 400
                expected += events
        wait_for(running, len(expected))
    bad = [line for line in expected if line not in GOOD and line != TIMELESS]
    assert len(bad) > 2 * len(UNREADABLE)
    assert dead_letter(place.state) == bad
    assert place.files() == sorted_out(line for line in expected if line not in bad)


def test_an_event_that_is_cut_off_is_refused_in_a_list_and_put_aside_as_a_line(place: Place) -> None:
    torn = event("torn")[:-9]
    with place.run() as running:
        assert running.post(torn).status == 400
        assert running.post(event_list([*GOOD[:9], torn, *GOOD[9:]])).status == 400  # who knows what belongs to it
        assert running.post(b"\n".join([*GOOD, torn]), Content_Type="application/x-ndjson").json == {"accepted": 400}
        wait_for(running, 400)
    assert dead_letter(place.state) == [torn]
    assert place.files() == sorted_out(GOOD)


def test_an_event_on_several_lines_becomes_one_line_or_goes_to_the_dead_letter(place: Place) -> None:
    values = [
        b'"\\ud800"',
        b'"\xff"',
        b"1e400",
        *(b"[" * depth + b"\n" + b"]" * depth for depth in range(900, 1000, 3)),
    ]
    items = [b'{"n":%d,\n"x":\n%b\n}' % (number, value) for number, value in enumerate(values)]
    with place.run() as running:
        assert running.post(event_list(items)).json == {"accepted": len(items)}
        for item in items:
            assert running.post(item).json == {"accepted": 1}
        wait_for(running, 2 * len(items))
    written = [line for lines in place.files().values() for line in lines]
    rejected = dead_letter(place.state)  # how deep a decoder goes depends on who calls it
    assert sorted([*written, *(item.replace(b"\n", b" ") for item in rejected)]) == sorted(
        [item.replace(b"\n", b" ") for item in items] * 2
    )
    assert not set(rejected) - set(items)
    assert not set(items[:3]) & set(rejected)


def test_hostile_user_names_stay_below_their_directory_and_share_no_file(place: Place, tmp_path: Path) -> None:
    lines = [event(f"{name}-{number}", user) for number in range(3) for name, user in USERS.items()]
    lines.append(event("nobody").replace(b'"username":"alice"', b""))
    with place.run() as running:
        assert running.post(event_list(lines)).json == {"accepted": len(lines)}
        wait_for(running, len(lines))
    files = place.files()
    assert files == sorted_out(lines)
    assert len(files) == len(USERS) + 1  # nobody shares one
    assert files[f"kube-audit-_none/audit.{HOUR}.log.gz"] == lines[-1:]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "state"}
    names = {path.name for path in place.out.iterdir()}
    assert len(names) == len(files)
    assert all(name.isascii() and name.isprintable() and " " not in name for name in names)


def test_an_event_of_20_mb_passes_alone_and_among_others(place: Place) -> None:
    big = [event(name, more=b'"requestObject":{"a":"%b"},' % (name.encode() * (20 << 20))) for name in "ab"]
    with place.run() as running:
        assert running.post(big[0]).json == {"accepted": 1}
        assert running.post(event_list([*GOOD[:9], big[1], *GOOD[9:]])).json == {"accepted": 400}
        wait_for(running, 401)
    files = place.files()
    assert files.pop(f"kube-audit-alice/audit.{HOUR}.log.gz") == big
    assert files == sorted_out(GOOD)


def test_lists_are_written_once_whether_empty_equal_repeated_or_in_chunks(place: Place) -> None:
    bodies = [event_list([event("same", b'"%b"' % user)] * 2) for user in (b"a", b"b")]
    with place.run() as running:
        assert running.post(event_list([])).json == {"accepted": 0}
        assert running.post(bodies[0]).json == {"accepted": 2}  # equal events of one list are two
        assert running.post([bodies[1][:50], bodies[1][50:]]).json == {"accepted": 2}
        assert running.post(bodies[1]).json == {"accepted": 0, "repeated": 2}
        assert running.post(gzip.compress(bodies[0]), Content_Encoding="gzip").json == {"accepted": 0, "repeated": 2}
        wait_for(running, 4)
    assert place.files() == sorted_out([event("same", b'"a"')] * 2 + [event("same", b'"b"')] * 2)


def test_the_tag_is_made_of_what_the_path_says_and_stays_one_part_of_it(tmp_path: Path) -> None:
    parts = {
        "/c/%E6%94%AF": "%E6%94%AF",
        "/c/a%3Fb%23c": "a%3Fb%23c",
        "/c/%2e%2e": "%2E.",
        "/c/a.b": "a.b",
        "/c": "_none",
    }
    with Running(tmp_path, tag="audit.{path[1]}") as running:
        for number, path in enumerate(parts):
            assert running.post(b'{"n":%d}' % number, path).status == 200
        running.lines(len(parts))
        assert running.memory.tags == [f"audit.{part}" for part in parts.values()]


def bomb() -> bytes:
    """Make a gzip stream of about 1 MB that unpacks to 1 GiB of blanks in front of an event."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    piece = packer.compress(b" " * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # from here on it repeats itself
    end = packer.compress(b"{}") + packer.flush()
    return gzip.compress(b"", mtime=0)[:10] + piece * 1024 + end + bytes(8)


def memory_of(process: int, name: str) -> int:
    """Give a figure of /proc/PID/status, in MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) >> 10


def test_a_gzip_bomb_of_1_gib_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    port = free_port()
    environ = {"LISTEN": f"127.0.0.1:{port}", "OUT_DIR": str(tmp_path / "out"), "STATE_DIR": str(tmp_path / "state")}
    body = bomb()
    assert 1_000_000 < len(body) < 1_200_000
    command = [sys.executable, "-m", "tailrace", "run", str(CONFIG)]
    process = subprocess.Popen(command, env=os.environ | environ, stderr=subprocess.DEVNULL)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def status(body: bytes, encoding: str) -> int:
        connection.request("POST", "/", body, {"Content-Type": "application/json", "Content-Encoding": encoding})
        response = connection.getresponse()
        response.read()
        return response.status

    def is_up() -> bool:
        try:
            return status(b"{}", "identity") == 200
        except OSError:
            connection.close()
            return False

    try:
        wait_until(is_up)
        before = memory_of(process.pid, "VmRSS")
        assert [status(body, "gzip") for _ in range(3)] == [413] * 3
        assert status(event_list(GOOD), "identity") == 200
        assert memory_of(process.pid, "VmHWM") - before < 64 + 48  # MiB: max_body_bytes, and some
    finally:
        connection.close()
        process.terminate()
        process.wait(20)
