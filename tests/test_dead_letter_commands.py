"""`tailrace dead-letter`: what is in it and why, and putting it through again, as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from state_directory import tailrace

from tailrace import lock
from tailrace.checkpoint import Checkpoint, State
from tailrace.config import load
from tailrace.context import Context
from tailrace.deadletter import envelope
from tailrace.letters import REPLAY_FILE, Letter, decode
from tailrace.lettertext import Summary, pattern, render
from tailrace.registry import Registry
from tailrace.reject import Reject
from tailrace.replay import begin
from tailrace.service import Service

STAGES = '''
import threading

from tailrace import Filter, Sink


class Refuse(Filter, kw_only=True):
    """Rejects events of some verbs."""

    verbs: list[str] = []
    bug: bool = False

    def reads(self):
        return ["verb"]

    def apply(self, batch):
        if self.bug:
            raise KeyError("bug")
        for index, verb in enumerate(batch["verb"]):
            if verb in self.verbs:
                batch.reject(index, f"the verb '{verb}' is refused by rule {len(batch)}")


class Stuck(Sink, kw_only=True):
    """Never finishes a flush."""

    def open(self, position): pass
    def encode(self, batch): pass
    def write(self, payload): pass

    def flush(self):
        self.context.log.info("stuck")
        threading.Event().wait()
'''

EVENTS = [b'{"verb":"%s","n":%d}' % ((b"get", b"list", b"watch")[n % 3], n) for n in range(9)]
LONG = b'{"verb":"get","n":9,"x":"%s"}' % (b"x" * 150)
POISON = b'{"verb":"\x1b[31m\xff\r'
LINES = [*EVENTS[:5], POISON, *EVENTS[5:], LONG]


class Place:
    """A pipeline that rejects some of its events, and the directory of it all."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "tailrace.yaml"
        self.state_dir = directory / "state"
        self.state = self.state_dir / "audit"
        self.output = directory / "out.log"
        (directory / "stages").mkdir()
        (directory / "stages" / "stages.py").write_text(STAGES)
        (directory / "audit.log").write_bytes(b"".join(line + b"\n" for line in LINES))
        self.configure(verbs="[list, watch]")
        plans = load([self.config], Registry.standard(), {}).plans
        assert Service(plans).run(once=True) == 0

    def configure(self, *, verbs: str = "[]", limit: int = 60, more: str = "", sink: str = "") -> None:
        self.config.write_text(
            f"""
state_dir: {self.state_dir}
plugins: [stages]
pipelines:
  audit:
    source: {{type: tail, paths: [{self.directory}/audit.log], tag: audit, max_line_bytes: {limit}, block_bytes: 60}}
    filters: [{{type: refuse, verbs: {verbs}{more}}}]
    sinks: [{{type: file, path: {self.output}}}{sink}]
"""
        )

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tailrace", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def replay(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("dead-letter", "replay", self.config, "audit", *options)

    def show(self, *options: str) -> str:
        result = tailrace("dead-letter", "show", self.state_dir, *options)
        assert (result.exit_code, result.stderr) == (0, "")
        return result.stdout

    def written(self) -> list[bytes]:
        return self.output.read_bytes().splitlines()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# Showing


def test_a_summary_says_how_many_why_and_from_where(place: Place) -> None:
    heading, times, *lines = place.show().splitlines()
    assert heading == "audit: 10 events in the dead letter"
    assert times.startswith("  put aside from 20")
    assert lines.pop(3).startswith("         1  not_json: not JSON: ")  # the rest are Python's words
    assert lines == [
        "  reasons",
        "         6  filter: the verb … is refused by rule N",
        "         2  too_long: line longer than N bytes (part N, at offset N)",
        "         1  too_long: line longer than N bytes (part N, the last, at offset N)",
        "  origins",
        f"        10  {place.directory}/audit.log",
    ]


def test_events_are_shown_so_that_they_cannot_steer_a_terminal(place: Place) -> None:
    text = place.show("--events")
    assert all(char.isprintable() for char in text.replace("\n", ""))
    assert '    {"verb":"\\x1b[31m\\udcff\\r\n' in text
    assert f"{place.directory}/audit.log at {len(EVENTS[0]) + 1}: the verb 'list' is refused by rule " in text


def test_only_events_with_a_reason_can_be_asked_for(place: Place) -> None:
    assert place.show("--reason", "'list'").startswith("audit: 3 events in the dead letter\n")
    assert place.show("--reason", "'list'", "--reason", "JSON").startswith("audit: 4 events in the dead letter\n")
    assert place.show("--reason", "no such reason") == "audit: 0 events in the dead letter\n"


def test_json_gives_the_envelopes_as_they_are(place: Place) -> None:
    text = place.show("--json")
    assert text.encode() == (place.state / "dead-letter.jsonl").read_bytes()
    (line,) = place.show("--json", "--reason", "JSON").splitlines()
    assert decode(line.encode()).line == POISON


def test_a_pipeline_can_be_picked(place: Place) -> None:
    other = place.state_dir / "other"
    shutil.copytree(place.state, other)
    assert [line for line in place.show().splitlines() if "events" in line] == [
        "audit: 10 events in the dead letter",
        "other: 10 events in the dead letter",
    ]
    assert place.show("audit").count("events in the dead letter") == 1
    shutil.rmtree(other)
    result = tailrace("dead-letter", "show", place.state_dir, "audits")
    assert (result.exit_code, result.stderr) == (
        2,
        f"{place.state_dir} holds no pipeline 'audits'; it holds: audit\n",
    )


def test_what_is_not_committed_is_not_shown(place: Place) -> None:
    before = place.show("--json")
    with (place.state / "dead-letter.jsonl").open("ab") as file:
        file.write(b'{"torn')
    assert place.show("--json") == before
    for path in place.state.glob("checkpoint*"):  # then nobody knows, and all is shown
        path.write_bytes(b"damaged")
    text = place.show()
    assert text.startswith("audit: 11 events in the dead letter\n")
    assert "no envelope of a rejected event: " in text


def test_a_reader_that_has_seen_enough_is_no_error(place: Place) -> None:
    command = [sys.executable, "-m", "tailrace", "dead-letter", "show", str(place.state_dir), "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.stderr == b""


def test_a_long_event_is_shown_in_part(place: Place) -> None:
    letter = Letter(b"x" * 1001, "why", origin={"path": "/a", "stream": "b"})
    _, line = render([letter])
    assert line == "    " + "x" * 1000 + " … 1001 bytes in all"
    assert next(render([letter])) == " /a stream=b at 0: why"


@pytest.mark.parametrize(
    ("reason", "same"),
    [
        ("not JSON: Expecting value at column 17", "not JSON: Expecting value at column N"),
        ('cannot change a: "x\\"y" and \'z\' of 3', "cannot change a: … and … of N"),
        ("plain", "plain"),
    ],
)
def test_reasons_are_counted_without_what_varies(reason: str, same: str) -> None:
    assert pattern(reason) == same


def test_a_summary_is_bounded_whatever_the_reasons_are() -> None:
    summary = Summary()
    for number in range(12_000):
        name = "".join("abcdefghij"[int(digit)] for digit in str(number))
        summary.add(Letter(b"", name, origin={"path": name}))
    lines = list(summary.lines())
    assert f"{2000:>10}  (others)" in lines
    assert lines.count("            and 9981 more") == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[]", "Expected `object`"),
        (b'{"event":"x"}', "missing required field `reason`"),
        (b'{"reason":"x"}', "it holds no event"),
        (b'{"reason":"x","event_base64":"!"}', "base64"),
        (b'{"reason":"\xff","event":""}', "utf-8"),
        (b"", "truncated"),
    ],
)
def test_what_is_no_envelope_is_told(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"(?i)no envelope of a rejected event: .*{reason}"):
        decode(line)


def test_an_envelope_is_read_as_it_was_written() -> None:
    for event in (b"text", b"\xff\n"):
        letter = decode(envelope(Reject(event, "why", "tag", {"path": "/a", "part": "2"}, 7, "too_long"), "now"))
        assert letter == Letter(event, "why", "now", "tag", {"path": "/a", "part": "2"}, 7, "too_long")
        assert letter.part == (2, False)
    assert [Letter(b"", "", origin={"part": text}).part for text in ("3 of 3", "3 of 4", "0", "")] == [
        (3, True),
        (0, False),
        (0, False),
        (0, False),
    ]


# Replaying


def test_replay_puts_through_what_was_fixed(place: Place) -> None:
    place.configure(verbs="[watch]", limit=1000)
    done = place.replay()
    assert (done.returncode, done.stdout) == (
        0,
        "audit: 8 events put through again: 4 passed, 0 were dropped by filters, 4 are in the dead letter again\n",
    )
    assert sorted(place.written()) == sorted([*(line for line in EVENTS if b"watch" not in line), LONG])
    assert place.show().startswith("audit: 4 events in the dead letter\n")
    assert place.run("run", "--once", place.config).returncode == 0
    assert len(place.written()) == 7
    assert tailrace("state", "verify", place.state_dir).exit_code == 0


def test_replay_says_what_is_left_because_it_is_no_event(place: Place) -> None:
    place.configure()
    done = place.replay()
    assert done.returncode == 0
    assert done.stdout.endswith(
        "4 are in the dead letter again, 3 of them as they are, "
        "for they are damaged, or pieces of lines too long or not all there\n"
    )


def test_dry_run_says_what_would_come_of_it_and_changes_nothing(place: Place) -> None:
    place.configure(verbs="[watch]", limit=1000)
    before = {path: path.read_bytes() for path in place.state.iterdir()}, place.written()
    with lock.hold(place.state_dir):  # while the pipeline runs, too
        done = place.replay("--dry-run")
    heading, _, _, *reasons = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        heading
        == "audit: 8 events would be put through again: 4 would pass, 0 would be dropped by filters, 4 would come back"
    )
    assert "         3  filter: the verb … is refused by rule N" in reasons
    assert ({path: path.read_bytes() for path in place.state.iterdir()}, place.written()) == before


def test_nothing_is_replayed_while_the_pipeline_runs(place: Place) -> None:
    with lock.hold(place.state_dir):
        done = place.replay()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"{place.state_dir}/lock is held by process {os.getpid()}: "
        "one process per state directory; stop that one first\n"
    )


def test_an_empty_dead_letter_is_told(place: Place) -> None:
    place.configure(limit=1000)
    (place.state / "dead-letter.jsonl").unlink()
    checkpoint = Checkpoint(Context(pipeline="audit", state_dir=place.state))
    checkpoint.save(State(generation=9))
    for options in ([], ["--dry-run"]):
        done = place.replay(*options)
        assert (done.returncode, done.stdout, done.stderr) == (0, "audit: nothing is in the dead letter\n", "")


def test_a_replay_that_fails_is_told_and_finished_by_the_next_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.configure(limit=1000, more=", bug: true")
    for options in ([], ["--dry-run"]):
        failed = place.replay(*options)
        assert failed.returncode == 1
        assert "pipeline failed by a bug" in failed.stderr
    assert (place.state / REPLAY_FILE).exists()
    assert "  a replay was begun and is not finished; run it again, and it goes on\n" in place.show()
    assert place.show().startswith("audit: 10 events in the dead letter\n")
    monkeypatch.chdir(place.directory)  # the paths in the checkpoint are others than those that are given here
    assert tailrace("dead-letter", "show", "state").stdout == place.show()
    assert tailrace("state", "repair", "state").stdout == "there is nothing to repair\n"
    (shown,) = json.loads(tailrace("state", "show", place.state_dir, "--json").stdout)["pipelines"]
    assert shown["dead_letters"] == 10
    place.configure(limit=1000)
    assert place.replay().returncode == 0
    assert len(place.written()) == 10
    assert not (place.state / REPLAY_FILE).exists()


def test_a_replay_that_is_killed_is_finished_by_the_next_one(place: Place) -> None:
    place.configure(limit=1000, sink=", {type: stuck}")
    command = [sys.executable, "-m", "tailrace", "dead-letter", "replay", str(place.config), "audit"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if json.loads(line)["message"] == "stuck":
                break
        process.send_signal(signal.SIGKILL)
    place.configure(limit=1000)
    assert place.replay().returncode == 0
    assert sorted(place.written()) == sorted([*EVENTS, LONG])


def test_a_dead_letter_that_was_cut_is_not_replayed(place: Place) -> None:
    letter = place.state / "dead-letter.jsonl"
    os.truncate(letter, 100)
    done = place.replay()
    assert done.returncode == 1
    assert f"{letter} has 100 bytes, but " in done.stderr


def test_what_does_not_exist_is_told(place: Place) -> None:
    done = place.run("dead-letter", "replay", place.config, "audits")
    assert (done.returncode, done.stderr) == (2, f"{place.config} declares no pipeline 'audits'; it declares: audit\n")
    place.state_dir.rename(place.directory / "elsewhere")
    done = place.replay()
    assert (done.returncode, done.stderr) == (1, f"audit has never run: {place.state} does not exist\n")
    assert not place.state_dir.exists()


def test_a_replay_that_was_begun_keeps_the_limit_that_was_said_then(place: Place) -> None:
    context = Context(pipeline="audit", state_dir=place.state)
    source = begin(context, 10)
    again = begin(context, 1000)
    assert source is not None
    assert again is not None
    assert (source.max_line_bytes, again.max_line_bytes) == (10, 10)
