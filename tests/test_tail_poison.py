"""Poisoned events in a log file: each passes byte for byte or is put aside, and none costs a neighbour."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from poison import READABLE, UNREADABLE, USERS, dead_letter, event
from test_tail_rotation import Lumberjack

from tailrace.context import Context
from tailrace.names import encode_name
from tailrace.pipeline import Pipeline
from tailrace_plugins.filters.drop_keys import DropKeys
from tailrace_plugins.filters.extract import Extract
from tailrace_plugins.filters.rewrite_tag import RewriteTag
from tailrace_plugins.sinks.file import File
from tailrace_plugins.sources.tail import Tail

BOM = b"\xef\xbb\xbf"
MORE = {
    "BOM": BOM + event("bom"),
    "CRLF": event("crlf") + b"\r",
    "lone surrogate as the user": event("u1", b'"\\ud800"'),
    "1e400 as the user": event("u2", b"1e400"),
    "70 bits as the user": event("u3", b"1180591620717411303424"),
    "user twice": event("u4", more=b'"user":{"username":"bob","username":"eve"},'),
    "NUL inside": event("u5", b'"a\\u0000b"'),
    "audit id again": event("u4"),
    "15 MB": event("long", more=b'"requestObject":"%b",' % (b"x" * 15_000_000)),
}


class Place:
    """A log, and a pipeline that writes all of it into one file and once more into a file for each user."""

    def __init__(self, directory: Path) -> None:
        self.log = Lumberjack(directory / "audit.log")
        self.state, self._out = directory / "state", directory / "out"

    def run(self, block_bytes: int = 524_288) -> None:
        pipeline = Pipeline(
            Context(pipeline="poison", state_dir=self.state),
            Tail(paths=[str(self.log.path)], tag="audit", watch=False, block_bytes=block_bytes, rotate_wait=0),
            [
                Extract(field="user.username", into="name", default="nobody"),
                RewriteTag(tag="{tag}.{name}"),
                DropKeys(keys=["name"]),
            ],
            {"file": File(path=f"{self._out}/all.log"), "file-2": File(path=f"{self._out}/by/{{tag[1:]}}.log")},
        )
        pipeline.run(threading.Event(), once=True)

    def lines(self) -> list[bytes]:
        path = self._out / "all.log"
        return path.read_bytes().removesuffix(b"\n").split(b"\n") if path.exists() else []

    def by_user(self) -> dict[str, list[bytes]]:
        files = sorted((self._out / "by").rglob("*"))
        assert all(path.parent == self._out / "by" for path in files)
        return {path.stem: path.read_bytes().removesuffix(b"\n").split(b"\n") for path in files}

    def put_aside(self) -> list[bytes]:
        return dead_letter(self.state) if (self.state / "dead-letter.jsonl").exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def between_good_ones(items: Sequence[bytes]) -> list[bytes]:
    lines = [event("first")]
    for number, item in enumerate(items):
        lines += [item, event(f"good-{number}")]
    return lines


@pytest.mark.parametrize("block_bytes", [100, 524_288])
def test_events_that_can_be_read_pass_byte_for_byte(place: Place, block_bytes: int) -> None:
    lines = between_good_ones([*READABLE.values(), *MORE.values()])
    place.log.write(*lines)
    place.run(block_bytes)
    assert place.put_aside() == []
    same = place.lines() == lines
    assert same, [name for name, line in {**READABLE, **MORE}.items() if line not in place.lines()]
    assert sum(map(len, place.by_user().values())) == len(lines)


@pytest.mark.parametrize("block_bytes", [100, 524_288])
def test_what_is_no_event_is_put_aside_verbatim(place: Place, block_bytes: int) -> None:
    bad = [line for name, line in UNREADABLE.items() if name != "NUL head"]
    bad += [b"", BOM, b"\xff\xfe", b"[" * 10_000]
    lines = between_good_ones(bad)
    place.log.write(*lines)
    place.run(block_bytes)
    assert place.put_aside() == bad
    assert place.lines() == [line for line in lines if line not in bad]


def test_each_of_them_alone_costs_no_neighbour(place: Place) -> None:
    """One rotated file for each, compressed, so that each is the first and the last line of its file once."""
    items = [*READABLE.values(), *(line for name, line in UNREADABLE.items() if name != "NUL head")]
    for number, item in enumerate(items):
        place.log.write(item) if number % 2 else place.log.write(event("before"), item)
        rotated = place.log.rotate()
        rotated.with_name(rotated.name + ".gz").write_bytes(gzip.compress(rotated.read_bytes().removesuffix(b"\n")))
        rotated.unlink()
    place.run()
    assert [line for line in place.lines() if line != event("before")] == list(READABLE.values())
    assert place.put_aside() == items[len(READABLE) :]
    assert place.lines().count(event("before")) == (len(items) + 1) // 2


def test_nul_bytes_before_an_event_are_no_part_of_it(place: Place) -> None:
    place.log.write(event("a"), UNREADABLE["NUL head"], b"\0" * 5000 + event("b"))
    place.run()
    assert place.lines() == [event("a"), UNREADABLE["NUL head"].lstrip(b"\0"), event("b")]


def test_a_line_of_20_megabytes_is_put_aside_in_pieces_and_costs_no_neighbour(place: Place) -> None:
    long = event("long", more=b'"requestObject":"%b",' % (b"x" * 20_000_000))
    place.log.write(event("a"), long, event("b"))
    place.run()
    assert place.lines() == [event("a"), event("b")]
    assert b"".join(place.put_aside()) == long


def test_hostile_names_get_files_of_their_own(place: Place) -> None:
    place.log.write(*(event(f"user-{number}", user) for number, user in enumerate(USERS.values())))
    place.run()
    expected: dict[str, list[bytes]] = {}
    for number, user in enumerate(USERS.values()):
        expected.setdefault(encode_name(json.loads(user)), []).append(event(f"user-{number}", user))
    assert place.by_user() == expected


def test_a_truncated_last_line_waits_and_is_put_aside_when_its_file_has_ended(place: Place) -> None:
    place.log.write(event("a"))
    with place.log.path.open("ab") as file:
        file.write(event("cut")[:50])
    place.run()
    assert (place.lines(), place.put_aside()) == ([event("a")], [])
    place.log.rotate()
    place.log.write(event("b"))
    place.run()
    assert (place.lines(), place.put_aside()) == ([event("a"), event("b")], [event("cut")[:50]])
