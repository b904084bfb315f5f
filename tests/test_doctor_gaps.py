"""`tailrace doctor`: holes in the time of events where one file of a log follows another."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from examining import START, Machine, about, event, moment, named, pack, write
from log_writer import event as numbered
from rotating_log import Writer
from rotations import BEHAVIOURS, DOWN, UP

from tailrace_plugins.examining.ends import EndFinder, Ends, Moment, seconds, spell
from tailrace_plugins.examining.gaps import Part, duration, holes, judge

MIB = 1 << 20


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def second(text: str) -> str:
    return text[:19] + "Z"


def test_hole_between_two_files_is_reported_with_both_files_both_times_and_the_offset(machine: Machine) -> None:
    older = write(machine.log, [0, 1, 2, 300], rotated=400)
    write(machine.log, [400, 401])
    alarm = machine.alarm()
    assert alarm.severity == "warning"
    assert alarm.where == f"{older}:{len(event(0) + event(1) + event(2))}"
    assert f"no event for 1 min 40 s: the last one here is of {second(moment(300))}" in alarm.what
    assert f"({machine.log}:0) of {second(moment(400))}" in alarm.what
    assert "no file is missing: nothing was written" in alarm.what


def test_hole_after_the_rotation_is_a_file_that_is_missing(machine: Machine) -> None:
    write(machine.log, range(100), rotated=100)
    write(machine.log, range(100, 200), rotated=200).unlink()
    write(machine.log, range(200, 300))
    alarm = machine.alarm()
    assert f"rotated at {second(moment(100))}, so what was written then is gone: a file" in alarm.what
    assert "who removes" in alarm.remedy


def test_no_hole_is_seen_where_files_follow_each_other_compressed_or_not(machine: Machine) -> None:
    for start in range(0, 500, 50):
        rotated = write(machine.log, range(start, start + 50), rotated=start + 50)
        if start % 100:
            pack(rotated)
    write(machine.log, [500])
    findings = machine.findings()
    assert not [finding for finding in findings if finding.is_alarming]
    summary = about(findings, "with events from")
    assert summary.what == f"11 files, with events from {second(moment(0))} to {second(moment(500))}"


def test_holes_on_both_sides_of_a_compressed_file_are_found(machine: Machine) -> None:
    write(machine.log, [0, 10], rotated=200)
    middle = pack(write(machine.log, [200, 210, 220], rotated=400))
    write(machine.log, [400])
    first, last = machine.alarms()
    assert f"({middle}:0)" in first.what
    assert last.where == f"{middle}:{len(event(200) + event(210))}"


def test_gap_option_says_how_long_a_hole_is_worth_a_word(machine: Machine) -> None:
    write(machine.log, [0], rotated=50)
    write(machine.log, [50])
    assert not machine.alarms()
    assert not machine.alarms(gap=50.0)
    assert "50 s" in machine.alarm(gap=49.0).what


def test_files_of_logrotate_are_compared_but_nobody_knows_whether_one_is_missing(machine: Machine) -> None:
    write(machine.log, [0])
    os.rename(machine.log, f"{machine.log}.1")
    write(machine.log, [100])
    alarm = machine.alarm()
    assert alarm.where == f"{machine.log}.1:0"
    assert "the log was silent, or a file between them is gone" in alarm.what


def test_empty_files_and_files_without_times_are_no_holes(machine: Machine) -> None:
    write(machine.log, [0], rotated=10)
    write(machine.log, [], rotated=20)
    machine.log.write_bytes(b"no event\n" * 10)
    machine.log.rename(named(machine.log, 30))
    write(machine.log, [40])
    assert not machine.alarms()


def test_log_of_another_kind_is_said_to_have_no_times(machine: Machine) -> None:
    machine.log.write_bytes(b"plain text\n" * 10)
    assert about(machine.findings(), "no event with a time was found").severity == "note"


def test_last_event_stands_before_the_half_line_that_is_being_written(machine: Machine) -> None:
    machine.log.write_bytes(event(0) + event(1) + event(5000)[:-20])
    assert f"to {second(moment(1))}" in about(machine.findings(), "with events from").what


# Content that is not to be trusted


SECRET = "do-not-print-me"
HOSTILE = {
    "nothing": b"",
    "no line": b"{" * 100_000,
    "deep": b"[" * 100_000 + b"\n",
    "not UTF-8": b'{"stageTimestamp":"\xff\xfe"}\n' * 3,
    "no text": b'{"stageTimestamp":17}\n{"stageTimestamp":{"a":1}}\n{"stageTimestamp":null}\n',
    "no time": b'{"stageTimestamp":"yesterday"}\n{"stageTimestamp":"2026-11-23T07:00:00"}\n',
    "no year": b'{"stageTimestamp":"0001-01-01T00:00:00Z"}\n{"stageTimestamp":"9999-12-31T23:59:59-23:59"}\n',
    "secret": f'{{"user":"{SECRET}","stageTimestamp":"{SECRET}"}}\n{SECRET}\n'.encode() * 3,
    "newlines": b"\n" * 1000,
    "NULs": b"\0" * 5000,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_hostile_lines_are_neither_an_end_nor_the_end(machine: Machine, content: bytes, packed: bool) -> None:
    older = named(machine.log, 0)
    older.write_bytes(content + event(1) + content.removesuffix(b"\n") + b"\n")
    if packed:
        pack(older)
    write(machine.log, [2])
    text = repr(machine.findings())
    assert SECRET not in text
    assert f"to {second(moment(2))}" in text or "s after 1970" in text


def test_line_as_long_as_a_source_takes_is_read_whole(machine: Machine) -> None:
    line = event(7, user="x" * (15 * MIB))
    older = named(machine.log, 10)
    older.write_bytes(line)
    packed = pack(named(machine.log, 10))
    write(machine.log, [100])
    assert machine.alarm().where == f"{packed}:0"
    packed.unlink()
    older.write_bytes(event(5) + line)
    assert machine.alarm().where == f"{older}:{len(event(5))}"


def test_line_that_is_longer_than_a_source_takes_costs_no_more_than_itself(tmp_path: Path) -> None:
    path = tmp_path / "audit.log.gz"
    path.write_bytes(gzip.compress(event(1) + b"y" * (3 * MIB) + b"\n" + event(2) + b"z" * (3 * MIB)))
    ends = EndFinder(MIB, 1 << 30).find(str(path))
    assert ends.first == Moment(START + 1, 0)
    assert ends.last == Moment(START + 2, len(event(1)) + 3 * MIB + 1)
    (tmp_path / "audit.log").write_bytes(b"y" * (3 * MIB) + b"\n" + event(2))
    assert EndFinder(MIB, 0).find(str(tmp_path / "audit.log")).first == Moment(START + 2, 3 * MIB + 1)


def test_ends_of_every_sample_are_those_that_a_plain_reading_finds(tmp_path: Path) -> None:
    lines = [numbered(number)[1] + b"\n" for number in range(3000)]
    (tmp_path / "a.log").write_bytes(b"".join(lines))
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(b"".join(lines[:1000])) + gzip.compress(b"".join(lines[1000:])))
    finder = EndFinder(MIB, 1 << 30)
    plain, packed = finder.find(str(tmp_path / "a.log")), finder.find(str(tmp_path / "a.log.gz"))
    assert plain == packed
    assert plain.last is not None
    assert plain.last.offset == sum(map(len, lines[:-1]))


def test_damaged_archive_is_a_finding_and_no_hole_is_made_up_behind_it(machine: Machine) -> None:
    packed = pack(write(machine.log, range(500), rotated=500))
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])
    write(machine.log, [900])
    alarm = machine.alarm()
    assert alarm.where == str(packed)
    assert "cannot be read to its end" in alarm.what
    packed.write_bytes(b"not gzip at all")
    assert machine.alarm().where == str(packed)


def test_no_more_is_decompressed_than_the_budget_allows_and_that_is_said(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace_plugins.examining.logs.UNPACKED_BYTES", 2 * MIB)
    for start in (0, 200, 400):
        older = named(machine.log, start + 100)
        older.write_bytes(event(start) + (b"x" * 999 + b"\n") * 1500 + event(start + 1))
        pack(older)
    write(machine.log, [600])
    findings = machine.findings()
    assert about(findings, "too much to decompress").what.startswith("of its compressed files, 2 were not read")
    [hole] = [finding for finding in findings if finding.is_alarming]
    assert hole.where.startswith(f"{named(machine.log, 500)}.gz:")  # the newest were read


def test_head_of_nuls_is_reported_and_what_follows_is_read(machine: Machine) -> None:
    with machine.log.open("wb") as file:
        file.truncate(1 << 30)  # a hole
        file.seek(1 << 30)
        file.write(event(3))
    alarm = machine.alarm()
    assert alarm.where == f"{machine.log}:0"
    assert "begins with 1,073,741,824 NUL bytes" in alarm.what
    assert "copytruncate" in alarm.remedy


def test_file_that_cannot_be_read_is_an_error_with_its_reason(machine: Machine) -> None:
    write(machine.log, [1])
    named(machine.log, -2).symlink_to("/proc/self/mem")  # its first byte cannot be read, even by root
    named(machine.log, -1).symlink_to(f"/proc/self/task/{os.getpid()}/mem")
    alarm = machine.alarm()
    assert (alarm.severity, alarm.where) == ("error", str(named(machine.log, -2)))
    assert alarm.what == "it cannot be read: Input/output error (2 files of its log)"


def test_live_file_that_cannot_be_read_proves_little_to_another_user_than_that_of_the_service(machine: Machine) -> None:
    machine.log.symlink_to("/proc/self/mem")
    assert machine.alarm().severity == "error"
    (machine.root / "proc" / "9").symlink_to("/proc/1" if os.geteuid() else machine.directory / "theirs")
    theirs = machine.directory / "theirs"
    theirs.mkdir()
    if not os.geteuid():
        os.chown(theirs, 65534, 65534)
    assert machine.alarm(is_running=True).severity == "warning"  # nobody knows whose it is
    alarm = machine.alarm(is_running=True, holder=9)
    assert alarm.severity == "warning"
    assert "ask as the user of the service" in alarm.remedy


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_whatever_happens_to_a_log_is_looked_at_without_a_traceback(machine: Machine, name: str) -> None:
    machine.log.parent.rmdir()
    machine.log.parent.mkdir()
    for moment_ in BEHAVIOURS[name](Writer(machine.log)):
        if moment_ not in (DOWN, UP):
            machine.findings()


# The rule by itself


def part(path: str, first: float | None, last: float | None, renamed: float | None = None, trouble: str = "") -> Part:
    one, other = (None if time is None else Moment(time, 0) for time in (first, last))
    return Part(path, Ends(one, other, trouble=trouble), renamed)


TABLE: dict[str, tuple[list[Part], list[tuple[str, str]]]] = {
    "no file": ([], []),
    "one file": ([part("a", 1, 900)], []),
    "one after the other": ([part("a", 1, 100), part("b", 101, 200)], []),
    "just as long as allowed": ([part("a", 1, 100), part("b", 160, 200)], []),
    "longer": ([part("a", 1, 100), part("b", 161, 200)], [("a", "b")]),
    "over an empty file": ([part("a", 1, 100), part("b", None, None), part("c", 300, 400)], [("a", "c")]),
    "beginning without times": ([part("a", None, None), part("b", 300, 400)], []),
    "not read to its end": ([part("a", 1, 100, trouble="damaged"), part("b", 300, 400)], []),
    "and the one behind it": (
        [part("a", 1, None, trouble="x"), part("b", 300, 400), part("c", 500, 600)],
        [("b", "c")],
    ),
    "backwards": ([part("a", 1, 1000), part("b", 300, 400), part("c", 410, 600)], []),
}


@pytest.mark.parametrize(("parts", "expected"), TABLE.values(), ids=TABLE)
def test_holes_lie_between_the_last_event_and_the_next_one(parts: list[Part], expected: list[tuple[str, str]]) -> None:
    assert [(hole.before.path, hole.after.path) for hole in holes(parts, 60)] == expected


def test_reason_of_a_hole_is_told_by_the_time_of_the_rotation() -> None:
    for renamed, words in ((1000.0, "no file is missing"), (939.0, "is gone: a file"), (None, "was silent, or")):
        [hole] = holes([part("a", 1, 100, renamed), part("b", 1000, 1001)], 60)
        assert words in judge(hole, 60).what


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T07:00:00Z", START),
        ("2026-11-23T08:00:00.000000+01:00", START),
        ("2026-11-23T07:00:00", None),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        ("\ud800", None),
    ],
)
def test_time_that_is_none_is_not_taken_for_one(text: str, expected: float | None) -> None:
    assert seconds(text) == expected


def test_spans_and_times_are_spelled_for_people() -> None:
    assert [duration(each) for each in (0, 59.6, 61, 3600, 90_061, 0.2)] == [
        *("0 s", "1 min", "1 min 1 s", "1 h", "1 d 1 h", "0 s")
    ]
    assert spell(1e18).endswith("s after 1970")
