"""What the source `tail` counts, as it is shown on the page of metrics."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

from test_metrics import Page
from test_tail import Follower, append

from tailrace.context import Context
from tailrace.pipeline import Pipeline
from tailrace.testing import ListSink
from tailrace_plugins.sources.tail import Tail


class Life:
    """A pipeline over all logs of a directory, run with `--once` now and then."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source = Tail(paths=[str(directory / "*.log")], watch=False, max_line_bytes=100, max_open_files=2)
        context = Context(pipeline="audit", state_dir=directory / "state")
        self.pipeline = Pipeline(context, self.source, [], {"memory": ListSink()})

    def run(self) -> Page:
        self.pipeline.run(threading.Event(), once=True)
        return self.page()

    def page(self) -> Page:
        return Page(self.pipeline)

    def figures(self) -> dict[str, float]:
        """Give those that are not 0."""
        values = {
            name.removeprefix("tailrace_tail_"): value
            for (name, labels), value in self.page().series.items()
            if name.startswith("tailrace_tail_") and not name.endswith("_created")
            if ("stage", "tail") in labels
        }
        return {name: value for name, value in values.items() if value}


def test_figures_are_there_before_anything_happens(tmp_path: Path) -> None:
    life = Life(tmp_path)
    assert life.figures() == {}
    assert life.page().value("tail_truncations_total", stage="tail") == 0


def test_numbers_of_logs_and_files_are_shown(tmp_path: Path) -> None:
    for name in "abc":
        append(tmp_path / f"{name}.log", b"line\n")
        append(tmp_path / f"{name}.log.1", b"older\n")
    life = Life(tmp_path)
    life.source.open(None)
    while life.source.read(0) is not None:
        pass
    assert life.figures() == {"logs": 3, "unfinished_files": 6, "open_files": 2}
    append(tmp_path / "a.log", b"12345\n")
    assert life.page().value("lag_bytes") == 6
    life.source.close()
    assert "open_files" not in life.figures()


def test_whatever_went_wrong_is_counted(tmp_path: Path) -> None:
    names = ["cut", "gone", "long", "nuls"]
    for name in names:
        append(tmp_path / f"{name}.log", b"first line of %s\n" % name.encode())
    life = Life(tmp_path)
    life.run()
    assert life.figures() == {"logs": 4, "unfinished_files": 4}
    append(tmp_path / "gone.log", b"never read\n")
    os.replace(tmp_path / "gone.log", tmp_path / "put aside")
    append(tmp_path / "gone.log", b"another file\n")
    (tmp_path / "cut.log").write_bytes(b"anew\n")
    append(tmp_path / "long.log", b"x" * 250 + b"\n")
    append(tmp_path / "nuls.log", b"\0" * 7 + b"line\n")
    life.run()
    figures = life.figures()
    assert figures == {
        "logs": 4,
        "unfinished_files": figures["unfinished_files"],
        "truncations_total": 1,
        "lost_files_total": 1,
        "long_lines_total": 1,
        "skipped_nul_bytes_total": 7,
    }


def test_damaged_files_are_counted(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", b"line\n")
    (tmp_path / "audit.log.1.gz").write_bytes(gzip.compress(b"older\n" * 1000)[:-9])
    follower = Follower(tmp_path)
    follower.drain()
    follower.later()
    figures = {measure.name: measure.value for measure in follower.source.measures()}
    assert figures["tail_damaged_files_total"] == 1
