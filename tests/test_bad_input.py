"""Bad input of every kind, through the real command: a clear word, the right exit code, and nothing lost."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[1] / "configs" / "audit-by-namespace.yaml"
TIME = b'"stageTimestamp":"2026-11-23T05:00:00.000000Z"'
NAME = "audit-default.2026112305.log.gz"


def event(text: bytes = b"", namespace: bytes = b'"default"') -> bytes:
    return b'{"objectRef":{"namespace":' + namespace + b"}," + TIME + b',"x":"' + text + b'"}'


class Place:
    """Directories for one run, and the runs in them."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "kube-audit"
        self.out = directory / "out"
        self.state = directory / "state"
        self.config = CONFIG

    def write(self, *lines: bytes) -> None:
        self.log.write_bytes(b"".join(line + b"\n" for line in lines))

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {"AUDIT_LOG": str(self.log), "OUT_DIR": str(self.out), "STATE_DIR": str(self.state)}
        return subprocess.run(
            [sys.executable, "-m", "tailrace", *words],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def run(self) -> subprocess.CompletedProcess[str]:
        return self.command("run", "--once", str(self.config))

    def files(self) -> dict[str, list[bytes]]:
        return {path.name: gzip.decompress(path.read_bytes()).split(b"\n")[:-1] for path in self.out.glob("*.gz")}

    def dead_letters(self) -> list[dict[str, object]]:
        path = self.state / "audit-by-namespace" / "dead-letter.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


GOOD = [event(b"before"), event(b"after")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not JSON at all", "not JSON"),
        (b'{"objectRef":{"namespace":"default"},' + TIME, "not JSON"),
        (b"[1,2,3]", "not a JSON object but an array"),
        (b"", "empty line"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\0\0\0{}", "NUL"),
    ],
    ids=["text", "cut", "array", "empty", "deep", "nul"],
)
def test_a_line_that_is_no_event_is_put_aside_whole_and_costs_no_neighbour(
    place: Place, line: bytes, reason: str
) -> None:
    place.write(GOOD[0], line, GOOD[1])
    result = place.run()
    assert result.returncode == 0, result.stderr
    if reason == "NUL":  # what a truncation leaves in front of a line is no part of it
        assert place.files() == {NAME: GOOD, "audit-_none._unparsed.log.gz": [b"{}"]}
        assert "NUL" in result.stderr
        return
    assert place.files() == {NAME: GOOD}
    (letter,) = place.dead_letters()
    assert letter["event"] == line.decode()
    assert reason in str(letter["reason"])
    assert letter["origin"] == {"path": str(place.log)}
    assert letter["offset"] == len(GOOD[0]) + 1


@pytest.mark.parametrize(
    "line",
    [
        event(b"\xff\xfe not UTF-8"),
        event(b"\\ud800"),
        event()[:-1] + b',"n":1e400,"m":1.10,"o":-0,"p":18446744073709551616,"q":' + b"1" * 5000 + b"}",
        event()[:-1] + b',"k":1,"k":2}',
        event() + b"\r",
        event() + b" \t ",
        event()[:-1] + b',"requestObject":[{"op":"add"}],"responseObject":null}',
        event()[:-1] + b',"user":"text","annotations":7}',
        event(b"y" * 2_000_000),
        b'{"timestamp":"2026-11-23T05:00:00Z","metadata":{},"objectRef":{"namespace":"default"}}',
        b'{ "objectRef" : { "namespace" : "default" } , ' + TIME + b" }",
    ],
    ids=["utf8", "surrogate", "numbers", "twice", "crlf", "space", "objects", "types", "long", "v1beta1", "spaced"],
)
def test_a_strange_event_passes_byte_for_byte(place: Place, line: bytes) -> None:
    place.write(GOOD[0], line, GOOD[1])
    assert place.run().returncode == 0
    assert place.files() == {NAME: [GOOD[0], line, GOOD[1]]}
    assert place.dead_letters() == []


@pytest.mark.parametrize("namespace", [b'".."', b'"_none"', b'""', b'"a/../../b"', b'"\\n"', b"7", b"[]", b'"\\ud800"'])
def test_a_hostile_namespace_gets_a_file_of_its_own_in_the_directory(place: Place, namespace: bytes) -> None:
    place.write(event(), event(namespace=namespace), event(namespace=b"null"))
    assert place.run().returncode == 0
    files = place.files()
    assert len(files) == 3
    assert files["audit-_none.2026112305.log.gz"] == [event(namespace=b"null")]
    assert sum(map(len, files.values())) == 3


def test_a_line_over_the_limit_goes_whole_to_the_dead_letter_in_pieces(place: Place, tmp_path: Path) -> None:
    place.config = tmp_path / "config.yaml"
    place.config.write_text(
        CONFIG.read_text().replace("      tag: audit", "      tag: audit\n      max_line_bytes: 1000")
    )
    long = event(b"z" * 2500)
    place.write(GOOD[0], long, GOOD[1])
    assert place.run().returncode == 0
    assert place.files() == {NAME: GOOD}
    letters = place.dead_letters()
    assert "".join(str(letter["event"]) for letter in letters) == long.decode()
    assert [letter["origin"] for letter in letters] == [
        {"path": str(place.log), "part": part} for part in ("1", "2", "3 of 3")
    ]
    assert [letter["offset"] for letter in letters] == [len(GOOD[0]) + 1 + 1000 * part for part in range(3)]


def test_a_log_that_is_not_there_is_named_and_run_once_fails(place: Place) -> None:
    result = place.run()
    assert result.returncode == 1
    assert str(place.log) in result.stderr


def damage_shorter(place: Place) -> str:
    os.truncate(place.out / NAME, 10)
    return f"{place.out / NAME} has 10 bytes, but the checkpoint has"


def damage_gone(place: Place) -> str:
    (place.out / NAME).unlink()
    return f"{place.out / NAME} is gone"


def damage_checkpoints(place: Place) -> str:
    for path in (place.state / "audit-by-namespace").glob("checkpoint*.json"):
        path.write_bytes(b"\0" * 100)
    return "the checkpoint cannot be read"


@pytest.mark.parametrize("damage", [damage_shorter, damage_gone, damage_checkpoints])
def test_damage_on_disk_stops_the_pipeline_with_a_word_on_what_to_do(
    place: Place, damage: Callable[[Place], str]
) -> None:
    place.write(GOOD[0])
    assert place.run().returncode == 0
    said = damage(place)
    place.write(*GOOD)
    result = place.run()
    assert result.returncode == 1
    assert said in result.stderr


def test_a_lost_output_file_can_be_given_up(place: Place) -> None:
    place.write(GOOD[0])
    assert place.run().returncode == 0
    (place.out / NAME).unlink()
    place.write(*GOOD)
    assert place.run().returncode == 1
    assert (
        place.command("state", "forget", str(place.state), "audit-by-namespace", str(place.out / NAME)).returncode == 0
    )
    assert place.run().returncode == 0
    assert place.files() == {NAME: [GOOD[1]]}


def test_one_damaged_checkpoint_is_reported_and_the_one_before_is_used(place: Place) -> None:
    place.write(GOOD[0])
    assert place.run().returncode == 0
    place.write(*GOOD)
    assert place.run().returncode == 0
    (place.state / "audit-by-namespace" / "checkpoint.json").write_bytes(b"\0" * 300)
    place.write(*GOOD, event(b"third"))
    result = place.run()
    assert result.returncode == 0
    assert "checkpoint is damaged" in result.stderr
    assert place.files() == {NAME: [*GOOD, event(b"third")]}


def test_mistakes_in_a_config_are_all_shown_with_their_places(place: Place, tmp_path: Path) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text(
        """state_dir: /tmp/x
pipelines:
  one:
    source: {type: tial, paths: [x]}
    filters:
      - {type: extract, feild: objectRef.namespace, into: namespace}
      - {type: drop_keys, keys: namespace}
    sinks:
      - {type: file, path: "/out/{objectRef.namespace}.%Q.gz"}
  two:
    source: {type: tail, paths: ["${NO_SUCH_VARIABLE}"]}
    sinks:
      - {type: file, path: "/out/{objectRef.namspace}.gz"}
      - {type: file, path: /out/all.gz}
      - {type: file, path: /out/./all.gz}
"""
    )
    for words in (["check"], ["run", "--once"]):
        result = place.command(*words, str(config))
        assert result.returncode == 2
        for said in (
            f"{config}:4:",
            "tail",
            f"{config}:6:",
            "field",
            f"{config}:7:",
            f"{config}:9:",
            "%Q",
            f"{config}:11:",
            "NO_SUCH_VARIABLE",
            f"{config}:13:",
            'did you mean "objectRef.namespace"',
            f"{config}:15:",
        ):
            assert said in result.stderr, said
        assert "Traceback" not in result.stderr
