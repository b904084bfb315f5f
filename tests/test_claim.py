"""One pipeline at a time writes the files of a template, whatever its state directory is."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli import EVENTS, Place, running, tailrace

from tailrace.claim import Claim
from tailrace.context import Context
from tailrace.durable import Disk
from tailrace.faults import FaultyDisk
from tailrace.stage import Damaged, Retry
from tailrace.template import Template


class Collector(Place):
    """A config and a state directory of its own, with output to a directory that others may have, too."""

    def __init__(self, directory: Path, out: Path) -> None:
        self._out = out
        directory.mkdir()
        super().__init__(directory)

    def output(self, name: str = "audit") -> Path:
        return self._out / "all.log"


def collectors(tmp_path: Path) -> tuple[Collector, Collector]:
    """Give two with one output directory, which the second one reaches by a link."""
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    return Collector(tmp_path / "one", tmp_path / "out"), Collector(tmp_path / "two", tmp_path / "link")


def test_second_process_is_refused_at_its_start_by_name_and_has_written_nothing(tmp_path: Path) -> None:
    one, two = collectors(tmp_path)
    with running("run", one.config) as first:
        first.wait_for_events(one, EVENTS)
        refused = tailrace("run", two.config)
        assert refused.returncode == 1
        path = two.output()
        holder = f"pipeline audit, state in {one.state}/audit, process {first.process.pid} on {os.uname()[1]}"
        assert f"{path} is the output of another pipeline ({holder})" in refused.stderr
        assert "end that one, or give this one a path of its own" in refused.stderr
        assert not (two.state / "audit" / "checkpoint.json").exists()
        assert one.written() == EVENTS
        one.write_events([b'{"verb":"list"}'])
        first.wait_for_events(one, [*EVENTS, b'{"verb":"list"}'])
        first.process.send_signal(signal.SIGTERM)
        assert first.end() == 0
    assert os.listdir(tmp_path / "out") == ["all.log"]


def test_lock_of_a_killed_process_hinders_nobody(tmp_path: Path) -> None:
    one, two = collectors(tmp_path)
    with running("run", one.config) as first:
        first.wait_for_events(one, EVENTS)
        first.process.kill()
        first.process.wait()
    assert len(os.listdir(tmp_path / "out")) == 2
    done = tailrace("run", two.config, "--once")
    assert done.returncode == 0
    assert two.written() == EVENTS * 2
    assert os.listdir(tmp_path / "out") == ["all.log"]


def context(directory: Path, disk: Disk | None = None) -> Context:
    return Context(pipeline="audit", state_dir=directory / "state", disk=disk or Disk())


def claim(path: str) -> Claim:
    return Claim(Template(path, time=True))


def test_other_templates_in_the_same_directory_are_nobodys_business(tmp_path: Path) -> None:
    held = [claim(f"{tmp_path}/{name}.%Y%m%d.log") for name in ("{tag}", "{tag[1:]}", "{user}", "x-{tag}", "{tag}/x")]
    for each in held:
        each.take(context(tmp_path))
    assert len({each.path for each in held}) == len(os.listdir(tmp_path)) == 5
    for path in (f"{tmp_path}/./{{tag}}.%Y%m%d.log", f"{tmp_path}//{{tag}}.%Y%m%d.log"):
        with pytest.raises(Damaged, match="is the output of another pipeline"):
            claim(path).take(context(tmp_path))
    for each in held:
        each.release(context(tmp_path))
        each.release(context(tmp_path))
    assert os.listdir(tmp_path) == []


def test_taking_it_again_changes_nothing(tmp_path: Path) -> None:
    held = claim(f"{tmp_path}/a.log")
    held.take(context(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    held.take(context(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before
    held.release(context(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_longer_words_of_a_killed_holder_leave_nothing_behind(tmp_path: Path) -> None:
    held = claim(f"{tmp_path}/a.log")
    Path(held.path).write_bytes(b"x" * 5000)
    held.take(context(tmp_path))
    assert Path(held.path).read_text() == (
        f"pipeline audit, state in {tmp_path}/state, process {os.getpid()} on {os.uname()[1]}\n"
    )
    held.release(context(tmp_path))


def test_full_disk_does_not_hinder_it_and_the_second_is_refused_all_the_same(tmp_path: Path) -> None:
    held = claim(f"{tmp_path}/a.log")
    held.take(context(tmp_path, FaultyDisk(2, error=errno.ENOSPC, seed=1)))  # what is done first is to make the file
    os.truncate(held.path, 0)
    with pytest.raises(Damaged, match="which has not said its name yet"):
        claim(f"{tmp_path}/a.log").take(context(tmp_path))
    held.release(context(tmp_path))


def test_file_that_cannot_be_removed_does_not_hinder_the_next_holder(tmp_path: Path) -> None:
    held = claim(f"{tmp_path}/a.log")
    held.take(context(tmp_path))
    held.release(context(tmp_path, FaultyDisk(1, error=errno.EIO)))
    again = claim(f"{tmp_path}/a.log")
    again.take(context(tmp_path))
    again.release(context(tmp_path))
    assert os.listdir(tmp_path) == []


class Interrupted(Disk):
    """Between opening the file and locking it, something happens once."""

    def __init__(self, then: Callable[[], object]) -> None:
        self._then = [then]

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        descriptor = super().open(path, flags, mode)
        if self._then:
            self._then.pop()()
        return descriptor


def test_lock_on_a_file_that_its_holder_removed_meanwhile_counts_for_nothing(tmp_path: Path) -> None:
    former, late, third = (claim(f"{tmp_path}/a.log") for _ in range(3))
    former.take(context(tmp_path))
    late.take(context(tmp_path, Interrupted(lambda: former.release(context(tmp_path)))))
    with pytest.raises(Damaged, match="is the output of another pipeline"):
        third.take(context(tmp_path))
    late.release(context(tmp_path))

    def exchange() -> None:
        former.release(context(tmp_path))
        third.take(context(tmp_path))

    former.take(context(tmp_path))
    with pytest.raises(Damaged, match="is the output of another pipeline"):
        late.take(context(tmp_path, Interrupted(exchange)))
    third.release(context(tmp_path))
    assert os.listdir(tmp_path) == []


def test_who_lost_the_file_to_somebody_else_does_not_remove_that_of_another(tmp_path: Path) -> None:
    one, two = claim(f"{tmp_path}/a.log"), claim(f"{tmp_path}/a.log")
    one.take(context(tmp_path))
    os.unlink(one.path)
    two.take(context(tmp_path))
    one.release(context(tmp_path))
    with pytest.raises(Damaged, match="is the output of another pipeline"):
        one.take(context(tmp_path))
    two.release(context(tmp_path))


def test_directory_that_cannot_be_written_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(Retry, match=f"output directory {tmp_path}/gone is not writable"):
        claim(f"{tmp_path}/gone/a.log").take(context(tmp_path))
