"""What the benchmarks run, and that they notice an output that is not whole."""

from __future__ import annotations

import gzip
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from benchmarks import bench_editing, compare, scaling, tally, workload
from benchmarks.contenders import BASELINES, Contender, contenders, written_by_rsyslog
from benchmarks.job import Job
from benchmarks.measure import Cost, run

EVENTS = 400


@pytest.fixture(scope="session")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("workload") / "audit.log"
    workload.write(path, workload.lines(1, EVENTS))
    return path.read_bytes()


@pytest.fixture
def log(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "audit.log"
    path.write_bytes(content)
    return path


def by_script(kind: str, spoil: str = "") -> Contender:
    """A script, after which one file may be spoilt."""

    def split(log: Path, directory: Path, events: int, size: int) -> Cost:
        cost = run([sys.executable, str(BASELINES), kind, str(log), str(directory / "out")])
        victim = max((directory / "out").iterdir())
        lines = gzip.decompress(victim.read_bytes()).splitlines(keepends=True)
        if spoil == "event":
            victim.write_bytes(gzip.compress(b"".join(lines[1:])))
        elif spoil == "byte":
            victim.write_bytes(gzip.compress(b" " + b"".join(lines)))
        elif spoil == "slice":
            victim.unlink()
        elif spoil == "gzip":
            victim.write_bytes(victim.read_bytes()[:-9])
        elif spoil == "text":
            victim.write_bytes(gzip.compress(b"".join(lines).replace(b"audit.k8s.io", b"AUDIT.k8s.io")))
        return cost

    return Contender(f"{kind} {spoil}", "gzip", "", split)


def compared(contender: Contender, log: Path, directory: Path) -> dict[str, object]:
    return compare.compare([contender], log, directory, 1, tally.expected(log))[0]


@pytest.mark.parametrize("kind", ["json", "orjson", "bare"])
def test_scripts_split_completely(kind: str, log: Path, tmp_path: Path) -> None:
    row = compared(by_script(kind), log, tmp_path / "run")
    assert row["failed"] == ""
    assert row["verbatim"]


def test_tailrace_splits_completely(log: Path, tmp_path: Path) -> None:
    (first, *_) = contenders()
    row = compared(first, log, tmp_path / "run")
    assert row["failed"] == ""
    assert row["verbatim"]


@pytest.mark.parametrize("spoil", ["event", "byte", "slice", "gzip"])
def test_output_that_is_not_whole_has_no_figures(spoil: str, log: Path, tmp_path: Path) -> None:
    row = compared(by_script("bare", spoil), log, tmp_path / "run")
    assert str(row["failed"]).startswith("1 slices are not as they should be")
    assert "wall_seconds" not in row
    assert "1 slices are not" in compare.as_table([row])


def test_changed_bytes_are_told(log: Path, tmp_path: Path) -> None:
    row = compared(by_script("bare", "text"), log, tmp_path / "run")
    assert row["failed"] == ""
    assert not row["verbatim"]
    assert "not verbatim" in compare.as_table([row])


def test_who_is_not_installed_or_fails_keeps_nobody_from_the_comparison(log: Path, tmp_path: Path) -> None:
    def split(log: Path, directory: Path, events: int, size: int) -> Cost:
        return run([sys.executable, "-c", "raise SystemExit('broken')"])

    absent = replace(by_script("bare"), name="absent", version=None)
    rows = compare.compare(
        [by_script("bare"), absent, Contender("broken", "", "", split)], log, tmp_path / "run", 1, tally.expected(log)
    )
    assert rows[1]["failed"] == "not installed"
    assert "broken" in rows[2]["failed"]
    table = compare.as_table(rows)
    assert "| absent |  | not installed |" in table.replace("| gzip |", "|  |")
    assert "1.00" in table


def test_peers_progress_is_read_from_its_statistics(tmp_path: Path) -> None:
    statistics = tmp_path / "statistics"
    assert written_by_rsyslog(statistics) == 0
    line = 'Fri Nov 27 07:01:14 2026: { "name": "slices", "origin": "core.action", "processed": %d, "failed": 0 }\n'
    statistics.write_text(line % 5 + line % 70 + (line % 900)[:60])
    assert written_by_rsyslog(statistics) == 70


def test_long_lines_have_the_length_that_was_asked_for() -> None:
    for length in (500, 20_000):
        assert all(length - 10 < len(line) <= length for line in islice(scaling.long_lines(length), 20))


def test_series_runs_on_tiny_sizes(tmp_path: Path) -> None:
    rows = scaling.one_series("slices", 0.001, False, 1, 0.1, tmp_path)
    assert [row["x"] for row in rows] == [1, 10]
    assert len({row["events"] for row in rows}) == 1
    assert all(row["micros_per_event"] > row["net_micros_per_event"] for row in rows)
    assert scaling.as_table("slices", rows).count("\n") == len(rows) + 1


@pytest.mark.parametrize("name", ["events", "size", "files"])
def test_points_of_a_series_have_the_events_that_they_say(name: str, tmp_path: Path) -> None:
    for point in scaling.SERIES[name](tmp_path, 0.0005, True):
        logs = list(point.job.log.parent.glob(point.job.log.name))
        assert sum(path.read_bytes().count(b"\n") for path in logs) == point.events


def test_point_whose_events_do_not_come_out_has_no_figures(log: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"holds {EVENTS} events of {EVENTS + 1}"):
        scaling.measure(scaling.Point(1, Job(log, tmp_path / "job"), EVENTS + 1), 1)


def test_filters_do_what_is_measured(log: Path, tmp_path: Path) -> None:
    costs = bench_editing.measure_filters(log, tmp_path, (EVENTS, log.stat().st_size), 1)
    rows = bench_editing.figures(costs, EVENTS)
    assert rows["edit_added_micros"] == pytest.approx(rows["edit_micros"] - rows["plain_micros"])


def test_event_that_was_not_edited_is_noticed(log: Path, tmp_path: Path) -> None:
    job = Job(log, tmp_path / "job")
    job.clear()
    (job.out / "one.log.gz").write_bytes(gzip.compress(log.read_bytes()))
    bench_editing.check(job, (EVENTS, log.stat().st_size))
    with pytest.raises(bench_editing.Wrong, match="edited"):
        bench_editing.check_edit(job)
    with pytest.raises(bench_editing.Wrong, match=rf"came out of \({EVENTS + 1}, 0\)"):
        bench_editing.check(job, (EVENTS + 1, 0))
