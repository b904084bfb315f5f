"""The state directory is removed while its pipeline runs: what it held is known, and no first start takes its place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from reloading import Running, append, numbers, tail
from waiting import wait_until

RESTORED = "the checkpoint was removed while its pipeline ran; it was written again and nothing is lost by that"


@pytest.fixture
def running(tmp_path: Path) -> Running:
    append(tmp_path / "audit.log", 0, 100)
    made = Running(tmp_path)
    made.write({"audit": tail(tmp_path / "audit.log", tmp_path / "out.log")})
    return made


def arrived(running: Running, end: int) -> None:
    """Wait until the output is exactly this, and the pipeline has opened what stood there before."""
    wait_until(lambda: running.pipeline().condition.state == "running")
    wait_until(lambda: numbers(running.directory / "out.log") == list(range(end)))
    wait_until(lambda: running.pipeline().counts.uncommitted_since is None)


def test_pipeline_at_rest_writes_its_checkpoint_again_and_says_so(running: Running) -> None:
    with running:
        arrived(running, 100)
        shutil.rmtree(running.state)
        wait_until(lambda: bool(running.log.all(RESTORED)))
        [said] = running.log.all(RESTORED)
        assert said["path"] == str(running.state / "audit" / "checkpoint.json")
        append(running.directory / "audit.log", 100, 200)
        arrived(running, 200)
    assert running.code == 0
    append(running.directory / "audit.log", 200, 300)
    with running:
        arrived(running, 300)


def test_pipeline_at_work_or_told_to_stop_repeats_nothing(running: Running) -> None:
    for end in range(100, 800, 100):
        with running:
            arrived(running, end)
            append(running.directory / "audit.log", end, end + 50)
            shutil.rmtree(running.state, ignore_errors=True)
            append(running.directory / "audit.log", end + 50, end + 100)
    with running:
        arrived(running, 800)


def test_changed_pipeline_does_not_start_afresh(running: Running) -> None:
    with running:
        arrived(running, 100)
        running.write({"audit": tail(running.directory / "audit.log", running.directory / "out.log", tag="b")})
        shutil.rmtree(running.state)
        assert running.reload() == {"restarted": ["audit"]}
        append(running.directory / "audit.log", 100, 200)
        arrived(running, 200)
    assert running.code == 0


def test_lost_dead_letter_is_named_with_what_to_do(running: Running) -> None:
    with (running.directory / "audit.log").open("ab") as file:
        file.write(b"no event\n")
    filters = [{"type": "drop", "when": 'verb == "get"'}]  # who looks at no field notices nothing
    running.write({"audit": tail(running.directory / "audit.log", running.directory / "out.log", filters=filters)})
    lost = running.state / "audit" / "dead-letter.jsonl"
    with running:
        wait_until(lost.exists)
        arrived(running, 100)
        shutil.rmtree(running.state)
        with (running.directory / "audit.log").open("ab") as file:
            file.write(b"no event either\n")
        wait_until(lambda: running.pipeline().condition.state == "failed")
    assert running.code == 1
    for _ in range(2):  # and so is the next start
        assert running.pipeline().condition.cause.startswith(f"{lost} ")
        assert "tailrace state forget" in running.pipeline().condition.cause
        with running:
            wait_until(lambda: running.pipeline().condition.state == "failed")
    assert numbers(running.directory / "out.log") == list(range(100))
