"""Positions of another collector, stored for pipelines that have never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace import lock
from tailrace.beginning import BeginError, begin_at
from tailrace.checkpoint import CURRENT, PREVIOUS, decode


def test_both_generations_say_where_to_begin(tmp_path: Path) -> None:
    begin_at(tmp_path / "state", {"one": {"/log": 7}, "two": {"/other": {"queue": []}}})
    for name, position in (("one", {"/log": 7}), ("two", {"/other": {"queue": []}})):
        for file in (CURRENT, PREVIOUS):
            state = decode((tmp_path / "state" / name / file).read_bytes())
            assert (state.source, state.sinks) == (position, {})


def test_a_pipeline_that_has_run_keeps_its_position_and_the_others_get_none(tmp_path: Path) -> None:
    begin_at(tmp_path, {"one": {"/log": 7}})
    with pytest.raises(BeginError, match=r"one/checkpoint\.json is there already"):
        begin_at(tmp_path, {"other": {"/log": 1}, "one": {"/log": 1}})
    assert decode((tmp_path / "one" / CURRENT).read_bytes()).source == {"/log": 7}
    assert not (tmp_path / "other").exists()


def test_a_damaged_checkpoint_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / PREVIOUS).write_text("torn")
    with pytest.raises(BeginError, match="is there already"):
        begin_at(tmp_path, {"one": {"/log": 1}})


def test_nothing_is_stored_while_a_process_holds_the_directory(tmp_path: Path) -> None:
    with lock.hold(tmp_path), pytest.raises(BeginError, match="one process per state directory"):
        begin_at(tmp_path, {"one": {"/log": 1}})
    assert not (tmp_path / "one").exists()
