"""What the benchmarks' own tools measure, compare and record."""

from __future__ import annotations

import gzip
import itertools
import json
import sys
import time
from pathlib import Path

import pytest
from benchmarks import bench_latency, bench_pipeline, page, regression, results, workload
from benchmarks.bench_latency import Sight
from benchmarks.measure import Failed, environment, run

JOB: dict[str, str | int] = {"input": "workload", "megabytes": 1}


def test_what_is_measured_keeps_its_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert "PYTHONDONTWRITEBYTECODE" not in environment()
    run([sys.executable, "-c", "import sys; sys.exit(sys.dont_write_bytecode)"])


def test_memory_and_cpu_of_children_count() -> None:
    child = "import time; x = b'x' * 50_000_000; end = time.process_time() + 0.1\nwhile time.process_time() < end: 0"
    alone = run([sys.executable, "-c", child])
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); {child}"
    both = run([sys.executable, "-c", parent])
    assert alone.cpu >= 0.1
    assert alone.peak > 50_000_000
    assert both.cpu >= 0.2
    assert both.peak > 100_000_000


def test_command_that_never_ends_is_told_to_when_its_work_is_done(tmp_path: Path) -> None:
    done = tmp_path / "done"
    command = f"import pathlib, signal; pathlib.Path({str(done)!r}).touch(); signal.pause()"
    assert run([sys.executable, "-c", command], is_done=done.exists).wall < 30


def test_command_that_fails_or_takes_too_long_gives_no_figures() -> None:
    with pytest.raises(Failed, match=r"ended with 1 .*\n.*no such thing"):
        run([sys.executable, "-c", "raise SystemExit('\\nno such thing')"])
    with pytest.raises(Failed, match="after 0 s"):
        run([sys.executable, "-c", "import signal; signal.pause()"], limit=0.1)


def test_work_of_others_is_told_from_our_own() -> None:
    begun = results.Busy.now()
    mine = time.process_time() + 0.2
    while time.process_time() < mine:
        pass
    after = results.Busy.now()
    assert after.ours - begun.ours >= 0.15
    assert after.machine - begun.machine >= 0.1
    assert begun.others() >= 0


def test_ratio_over_a_quarter_worse_than_recorded_fails(tmp_path: Path) -> None:
    recorded = tmp_path / "baseline.json"
    regression.record(recorded, JOB, 4.0)
    assert regression.check(recorded, JOB, 3.0) == "3.00 × the floor, 4.00 × recorded: -25%"
    assert regression.check(recorded, JOB, 5.0).endswith("+25%")
    with pytest.raises(regression.Worse, match=r"5\.01 × the floor, 4\.00 × recorded: \+25%, more than 25% worse"):
        regression.check(recorded, JOB, 5.01)
    with pytest.raises(regression.Incomparable, match=r"not about \{'input': 'workload', 'megabytes': 2\}"):
        regression.check(recorded, JOB | {"megabytes": 2}, 4.0)


def test_bench_fails_where_the_main_job_costs_more_than_recorded(tmp_path: Path) -> None:
    recorded = tmp_path / "baseline.json"
    regression.record(recorded, JOB, 0.01)
    command = ["--workload", "--size", "1", "--runs", "1", "--starts", "1", "--dir", str(tmp_path)]
    with pytest.raises(SystemExit, match="more than 25% worse"):
        bench_pipeline.main([*command, "--baseline", str(recorded), "--check"])
    assert json.loads(recorded.read_text())[regression.RATIO] == 0.01


def test_recorded_ratio_is_that_of_what_make_bench_measures() -> None:
    assert json.loads(regression.BASELINE.read_text())["job"] == {"input": "audit-sample.log.gz", "megabytes": 400}


def test_line_is_readable_from_the_first_checkpoint_that_covers_it(tmp_path: Path) -> None:
    path, ends = tmp_path / "slice.log.gz", []
    for marks in ((100, 200), (300,)):
        with path.open("ab") as file:
            file.write(gzip.compress(b"".join(b"{" + bench_latency.MARK % mark + b"}\n" for mark in marks)))
            ends.append(file.tell())
    sights = [Sight(1_000, {}), Sight(2_000, {str(path): ends[0]}), Sight(3_000, {str(path): ends[1]})]
    found = bench_latency.latencies(sights)
    assert [mark for mark, _ in found] == [100, 200, 300]
    assert [took for _, took in found] == pytest.approx([1.9e-6, 1.8e-6, 2.7e-6])


def test_latency_of_a_running_pipeline_covers_every_line(tmp_path: Path) -> None:
    figures = bench_latency.measure_pace(tmp_path, rate=1_000, seconds=0.5, warm=0.5)
    assert 200 <= figures["lines"] <= 500
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["most_ms"]
    assert figures["commits_per_second"] > 0


def test_idle_pipeline_is_measured_after_its_first_files(tmp_path: Path) -> None:
    figures = bench_latency.measure_idle(tmp_path, seconds=0.1, settle=0.0)
    assert 20e6 < figures["idle_bytes"] < 200e6
    assert 0 <= figures["idle_cpu_share"] < 1


def test_blocks_of_a_page_are_replaced_and_no_other_text() -> None:
    text = "a\n<!-- made: one -->\nold\nold\n<!-- end -->\nb\n<!-- made: x.two -->\n<!-- end -->\n"
    made = page.rewrite(text, {"one": "new", "x.two": "2"})
    assert made == "a\n<!-- made: one -->\nnew\n<!-- end -->\nb\n<!-- made: x.two -->\n2\n<!-- end -->\n"
    assert page.rewrite(made, {"one": "new", "x.two": "2"}) == made
    with pytest.raises(KeyError):
        page.rewrite(text, {"one": "new"})


def test_tables_of_the_readme_are_those_of_the_saved_figures() -> None:
    text = page.PAGE.read_text()
    assert page.rewrite(text, page.blocks(results.load())) == text


def test_pace_is_kept_and_each_line_has_the_time_of_its_append(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    before = time.monotonic_ns()
    made = bench_latency.append(log, list(workload.lines(1, 50)), 1_000, 0.2)
    lines = log.read_bytes().splitlines()
    marks = [int(line.partition(b'"auditID":"')[2][:36]) for line in lines]
    assert len(lines) == made <= 200
    assert all(before < mark < time.monotonic_ns() for mark in marks)
    assert all(one <= other for one, other in itertools.pairwise(marks))
