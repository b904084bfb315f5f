"""Positions of other collectors, taken over: the first run goes on where they stopped."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from converting import Said, convert, run_once

from tailrace import lock

OLD = "audit-2026-11-23T06-00-00.000.log"
ROTATED = "audit-2026-11-23T07-04-36.411.log"


def events(first: int, number: int) -> bytes:
    return b"".join(json.dumps({"auditID": f"{first + each}"}).encode() + b"\n" for each in range(number))


def config(directory: Path) -> Path:
    path = directory / "old.conf"
    source = f"@type tail\npath {directory}/logs/audit.log\npos_file {directory}/pos\nformat json\ntag k"
    output = f"@type file\npath {directory}/out\nadd_path_suffix false\nformat json\n<buffer tag>\n</buffer>"
    path.write_text(f"<source>\n{source}\n</source>\n<match k>\n{output}\n</match>\n")
    return path


def logs(directory: Path, **files: bytes) -> dict[str, Path]:
    """Write a log's files, the oldest first."""
    (directory / "logs").mkdir()
    paths = {"old": OLD, "rotated": ROTATED, "live": "audit.log"}
    made = {}
    for name, content in files.items():
        made[name] = directory / "logs" / paths[name]
        made[name].write_bytes(content)
    return made


def pos_file(directory: Path, *positions: tuple[object, int, int]) -> Path:
    path = directory / "pos"
    path.write_text("".join(f"{path}\t{offset:016x}\t{inode:016x}\n" for path, offset, inode in positions))
    return path


def sincedb(directory: Path, *lines: Sequence[object]) -> Path:
    path = directory / "sincedb"
    path.write_text("".join(" ".join(map(str, line)) + "\n" for line in lines))
    return path


def import_(directory: Path, positions: Path, *more: str) -> Said:
    return convert(
        config(directory), "-o", directory / "new.yaml", "--state-dir", directory / "state",
        "--import-positions", positions, *more,
    )  # fmt: skip


def rest(directory: Path) -> list[int]:
    """Run the new config; give the events that it wrote."""
    assert run_once(directory / "new.yaml") == 0
    return [int(json.loads(line)["auditID"]) for line in (directory / "out").read_text().splitlines()]


def test_reading_goes_on_in_the_file_that_was_rotated_since(tmp_path: Path) -> None:
    made = logs(tmp_path, old=events(0, 10), rotated=events(10, 10), live=events(20, 10))
    made["old"].with_suffix(".log.gz").write_bytes(gzip.compress(made["old"].read_bytes()))
    made["old"].unlink()
    live = tmp_path / "logs" / "audit.log"
    positions = pos_file(tmp_path, (live, len(events(10, 4)), made["rotated"].stat().st_ino))
    result = import_(tmp_path, positions)
    assert result.returncode == 0, result.stderr
    assert f"position: {positions}:1: {made['rotated']} from byte {len(events(10, 4))} on" in result.stderr
    assert rest(tmp_path) == list(range(14, 30))
    with live.open("ab") as file:
        file.write(events(30, 5))
    assert rest(tmp_path) == list(range(14, 35)), "and a second run goes on after the first"


def test_a_sincedb_tells_of_several_files_of_a_log(tmp_path: Path) -> None:
    made = logs(tmp_path, old=events(0, 10), rotated=events(10, 10), live=events(20, 10))
    keys = {name: path.stat() for name, path in made.items()}
    device = keys["live"].st_dev
    positions = sincedb(
        tmp_path,
        (keys["rotated"].st_ino, os.major(device), os.minor(device), len(events(10, 7))),
        (keys["live"].st_ino, 0, device, len(events(20, 2)), "1796000000.25", made["live"]),
    )
    result = import_(tmp_path, positions)
    assert result.returncode == 0, result.stderr
    assert rest(tmp_path) == [17, 18, 19, *range(22, 30)]


def test_a_file_that_is_read_to_its_end_gives_nothing_more(tmp_path: Path) -> None:
    made = logs(tmp_path, old=events(0, 10), live=events(10, 10))
    positions = pos_file(
        tmp_path,
        (made["live"], 5, 1),
        (made["live"], 0xFFFFFFFFFFFFFFFF, 2),
        (made["live"], len(events(10, 3)), made["live"].stat().st_ino),
        (made["live"], len(events(10, 10)), made["live"].stat().st_ino),
    )
    result = import_(tmp_path, positions)
    assert result.returncode == 3
    assert f"not taken over: {positions}:1: {made['live']}: no file with the inode 1 is there" in result.stderr
    assert f"position: {positions}:2: {made['live']} was let go of" in result.stderr
    assert run_once(tmp_path / "new.yaml") == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("offset", "words", "first"),
    [
        (10_000, "the position, 10000, is beyond its end, ", 10),
        (len(events(10, 3)) + 4, "is in the midst of a line; it is read from where that begins, ", 13),
        (3, "it is read from where that begins, 0,", 10),
    ],
)
def test_an_offset_that_cannot_be_is_said_and_nothing_is_lost(
    tmp_path: Path, offset: int, words: str, first: int
) -> None:
    made = logs(tmp_path, old=events(0, 10), live=events(10, 10))
    result = import_(tmp_path, pos_file(tmp_path, (made["live"], offset, made["live"].stat().st_ino)))
    assert result.returncode == 3
    assert words in result.stderr
    assert rest(tmp_path) == list(range(first, 20))


def test_nothing_is_written_where_no_position_can_be_taken_over(tmp_path: Path) -> None:
    made = logs(tmp_path, live=events(0, 10))
    inode = made["live"].stat().st_ino
    for positions in (
        pos_file(tmp_path, ("/elsewhere", 0, inode)),
        sincedb(tmp_path, (inode, 99, 99, 0)),
        sincedb(tmp_path, (inode + 1, 0, made["live"].stat().st_dev, 0)),
    ):
        result = import_(tmp_path, positions)
        assert result.returncode == 3
        assert "no position could be taken over, so nothing was written" in result.stderr
        assert not (tmp_path / "new.yaml").exists()
        assert not (tmp_path / "state").exists()


def test_a_pipeline_that_has_run_or_a_process_that_runs_is_left_alone(tmp_path: Path) -> None:
    made = logs(tmp_path, live=events(0, 10))
    positions = pos_file(tmp_path, (made["live"], 0, made["live"].stat().st_ino))
    with lock.hold(tmp_path / "state"):
        result = import_(tmp_path, positions)
    assert result.returncode == 1
    assert f"is held by process {os.getpid()}" in result.stderr
    assert not (tmp_path / "new.yaml").exists()
    assert import_(tmp_path, positions).returncode == 0
    stored = (tmp_path / "state" / "k" / "checkpoint.json").read_bytes()
    result = import_(tmp_path, positions, "--force")
    assert result.returncode == 1
    assert "checkpoint.json is there already" in result.stderr
    assert (tmp_path / "state" / "k" / "checkpoint.json").read_bytes() == stored


@pytest.mark.parametrize("text", ["/log\t12\n", "/log\tx\ty\n", "1 2 3\n", "no\n", "/log\t-1\t5\n"])
def test_a_file_that_holds_no_positions_is_named(tmp_path: Path, text: str) -> None:
    logs(tmp_path, live=b"")
    (tmp_path / "pos").write_text("\n" + text)
    result = import_(tmp_path, tmp_path / "pos")
    assert result.returncode == 2
    assert f"{tmp_path}/pos:2:1: this is neither a line of a pos_file" in result.stderr
