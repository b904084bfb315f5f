"""Rotated names and wanted paths."""

from __future__ import annotations

import itertools
from glob import glob
from pathlib import Path

import pytest
from test_tail import Follower, append

from tailrace_plugins.tailing.names import rotation
from tailrace_plugins.tailing.patterns import Patterns


@pytest.mark.parametrize(
    ("name", "live", "scheme"),
    [
        ("audit-2026-11-23T07-04-36.411.log", "audit.log", "lumberjack"),
        ("audit.v1-2026-11-23T07-04-36.411.log", "audit.v1.log", "lumberjack"),
        ("kube-audit-2026-11-23T07-04-36.411", "kube-audit", "lumberjack"),
        ("-2026-11-23T07-04-36.411.hidden", ".hidden", "lumberjack"),
        ("audit.log-20261123", "audit.log", "date"),
        ("audit.log-2026112307", "audit.log", "date"),
        ("audit.log-20261123-070436", "audit.log", "date"),
        ("audit.log-20261123-1795417476", "audit.log", "date"),
        ("0.log.20261123-070436", "0.log", "date"),
        ("audit.log.1", "audit.log", "number"),
        ("audit.log.120", "audit.log", "number"),
    ],
)
@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
def test_rotated_name_says_of_which_log_it_is(name: str, live: str, scheme: str, compression: str) -> None:
    rotated = rotation(name + compression)
    assert rotated is not None
    assert (rotated.live, rotated.plain, rotated.compression, rotated.scheme) == (live, name, compression, scheme)


@pytest.mark.parametrize(
    "name",
    [
        "audit.log",
        "audit.log.gz",
        "audit-2026-11-23.log",
        "audit-2026-11-23T07:04:36.411.log",
        "-2026-11-23T07-04-36.411",
        "audit.log.01",
        "audit.log.2026",
        ".1",
        "audit.log-2026",
        "20261123",
    ],
)
def test_other_names_are_not_rotated_ones(name: str) -> None:
    assert rotation(name) is None


@pytest.mark.parametrize(
    "names",
    [
        [
            "audit-2025-12-31T23-59-59.999.log",
            "audit-2026-01-01T00-00-00.000.log.gz",
            "audit-2026-01-01T00-00-00.001.log",
        ],
        ["audit.log.10", "audit.log.9.gz", "audit.log.2", "audit.log.1", "audit.log.0"],
        ["audit.log-20251231", "audit.log-20260101", "audit.log-20260101-010000"],
    ],
)
def test_names_of_one_scheme_are_in_the_order_of_rotation(names: list[str]) -> None:
    rotations = [rotation(name) for name in names]
    orders = [rotated.order for rotated in rotations if rotated is not None]
    assert len(orders) == len(names)
    assert all(one < other for one, other in itertools.pairwise(orders))


PATHS = [
    "a.log",
    "b.log",
    ".hidden.log",
    "pods/a.log",
    "pods/one/0.log",
    "pods/one/two/0.log",
    "pods/.x/0.log",
    "[a].log",
]


@pytest.mark.parametrize(
    "pattern",
    [
        "*.log",
        "?.log",
        "[ab].log",
        ".*.log",
        "**/*.log",
        "**",
        "pods/**/0.log",
        "pods/*/0.log",
        "*/*.log",
        "a.log",
        "**/one/**",
    ],
)
def test_a_path_matches_exactly_where_glob_finds_it(tmp_path: Path, pattern: str) -> None:
    for name in PATHS:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    patterns = Patterns([f"{tmp_path}/{pattern}"], [])
    found = set(glob(f"{tmp_path}/{pattern}", recursive=True))
    for name in PATHS:
        assert patterns.matches(str(tmp_path / name)) == (str(tmp_path / name) in found), name


def test_relative_paths_mean_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Patterns(["audit.log"], []).literals == [str(tmp_path / "audit.log")]


def test_watched_directories_are_the_parts_of_patterns_without_wildcards() -> None:
    patterns = Patterns(["/a/b/c.log", "/d/*/e/*.log", "/f/g/**"], [])
    assert patterns.directories() == {"/a/b", "/d", "/f/g"}


@pytest.mark.parametrize("exclude", ["b.log", "*/b.log", "**/logs/b.*"])
def test_excluded_files_are_not_read(tmp_path: Path, exclude: str) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    for name in ("a.log", "b.log"):
        append(directory / name, name.encode() + b"\n")
    whole = exclude if exclude != "*/b.log" else f"{directory}/b.log"
    assert Follower(directory, "*.log", exclude=[whole]).drain() == [b"a.log"]
    assert Follower(directory, "a.log", "b.log", exclude=[whole]).drain() == [b"a.log"]


def test_excluded_rotated_files_are_not_history(tmp_path: Path) -> None:
    append(tmp_path / "audit.log.1", b"old\n")
    append(tmp_path / "audit.log", b"new\n")
    assert Follower(tmp_path, "audit.log*", exclude=["*.1"]).drain() == [b"new"]


def test_new_files_and_directories_of_a_glob_are_found(tmp_path: Path) -> None:
    follower = Follower(tmp_path, "**/*.log", watch=True)
    assert follower.drain() == []
    for number in range(3):
        directory = tmp_path / f"pod-{number}"
        directory.mkdir()
        append(directory / "0.log", b"%d\n" % number)
        assert follower.drain() == [b"%d" % number]
