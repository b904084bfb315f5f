"""The dead letter keeps what could not be processed, verbatim and exactly once."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tailrace.checkpoint import merge
from tailrace.context import Clock, Context
from tailrace.deadletter import FILE, DeadLetter, envelope
from tailrace.durable import Disk
from tailrace.faults import Crash, FaultyDisk
from tailrace.reject import Reject


class FixedClock(Clock):
    def time(self) -> float:
        return 1_700_000_000.5


def reject(line: bytes, reason: str = "not JSON", **fields: Any) -> Reject:
    return Reject(line, reason, fields.get("tag", "audit"), fields.get("origin", {"path": "/a.log"}), 7, "not_json")


def dead_letter(directory: Path, disk: Disk | None = None) -> DeadLetter:
    return DeadLetter(Context(pipeline="t", state_dir=directory, disk=disk or Disk(), clock=FixedClock()))


def letters(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / FILE).read_bytes().splitlines()]


def test_a_rejected_event_is_kept_with_reason_and_place(tmp_path: Path) -> None:
    made = dead_letter(tmp_path)
    made.open({})
    made.add([reject(b'{"broken":\r')])
    assert made.prepare() == {str(tmp_path / FILE): 0}
    assert made.flush() == {str(tmp_path / FILE): (tmp_path / FILE).stat().st_size}
    assert letters(tmp_path) == [
        {
            "time": "2023-11-14T22:13:20.500+00:00",
            "kind": "not_json",
            "reason": "not JSON",
            "tag": "audit",
            "origin": {"path": "/a.log"},
            "offset": 7,
            "event": '{"broken":\r',
        }
    ]


def test_nothing_rejected_makes_no_file(tmp_path: Path) -> None:
    made = dead_letter(tmp_path)
    made.open({})
    made.add([])
    assert (made.prepare(), made.flush()) == ({}, {})
    assert list(tmp_path.iterdir()) == []


def test_each_event_is_written_once(tmp_path: Path) -> None:
    made = dead_letter(tmp_path)
    made.open({})
    position: dict[str, Any] = {}
    for lines in ([b"1", b"2"], [], [b"3"]):
        made.add([reject(line) for line in lines])
        position = merge(position, made.prepare())
        position = merge(position, made.flush())
    assert [letter["event"] for letter in letters(tmp_path)] == ["1", "2", "3"]
    made.add([reject(b"4")])
    made.flush()
    made.add([reject(b"lost with the process, and read again")])
    made.open(position)
    assert made.flush() == {}
    assert [letter["event"] for letter in letters(tmp_path)] == ["1", "2", "3"]


@given(st.binary(max_size=30), st.text(st.characters(), max_size=5), st.text(st.characters(), max_size=5))
def test_every_event_can_be_restored_byte_for_byte(line: bytes, reason: str, name: str) -> None:
    letter = json.loads(envelope(reject(line, reason, tag=name, origin={"path": name}), "now"))
    if "event" in letter:
        assert letter["event"].encode() == line
    else:
        assert base64.b64decode(letter["event_base64"]) == line
        assert b"\n" not in envelope(reject(line), "now")


def test_what_utf8_cannot_hold_is_escaped_in_names_and_base64_in_events() -> None:
    poison = "\ud800 \udcff"
    letter = json.loads(envelope(reject(b"\xff", poison, tag=poison, origin={"path": f"/logs/{poison}"}), "now"))
    assert letter == {
        "time": "now",
        "kind": "not_json",
        "reason": r"\ud800 \udcff",
        "tag": r"\ud800 \udcff",
        "origin": {"path": r"/logs/\ud800 \udcff"},
        "offset": 7,
        "event_base64": "/w==",
    }


def test_a_crash_at_every_operation_keeps_each_event_once(tmp_path: Path) -> None:
    for operation in range(1, 20):
        directory = tmp_path / str(operation)
        directory.mkdir()
        disk = FaultyDisk(operation)
        position: dict[str, Any] = {}
        finished = False
        try:
            made = dead_letter(directory, disk)
            made.open(position)
            made.add([reject(b"bad")])
            position = merge(position, made.prepare())
            position = merge(position, made.flush())
            finished = True
        except Crash:
            pass
        disk.lose_unsynced()
        again = dead_letter(directory)
        again.open(position)
        if finished:
            assert [letter["event"] for letter in letters(directory)] == ["bad"]
            return
        again.add([reject(b"bad")])
        again.prepare()
        again.flush()
        assert [letter["event"] for letter in letters(directory)] == ["bad"]
    raise AssertionError("it never ran to its end")
