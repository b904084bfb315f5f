"""One process per state directory."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tailrace.durable import Disk
from tailrace.lock import LockError, hold, holder

HOLD = """
import sys
from pathlib import Path
from tailrace.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


class FullDisk(Disk):
    def write(self, descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def start_holder(state_dir: Path) -> subprocess.Popen[str]:
    """Start a process that holds the state directory until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_missing_state_directory_is_made_and_is_nobody_elses_business(tmp_path: Path) -> None:
    state_dir = tmp_path / "deep" / "state"
    with hold(state_dir):
        assert stat.S_IMODE(state_dir.stat().st_mode) & 0o007 == 0
        assert (state_dir / "lock").read_text() == f"{os.getpid()}\n"


def test_second_holder_is_refused_with_the_process_id_of_the_first(tmp_path: Path) -> None:
    with start_holder(tmp_path) as process:
        with pytest.raises(LockError, match=f"/lock is held by process {process.pid}: one"), hold(tmp_path):
            raise AssertionError("held twice")
        assert holder(tmp_path) == str(process.pid)


def test_lock_ends_with_its_block(tmp_path: Path) -> None:
    with hold(tmp_path):
        assert holder(tmp_path) == str(os.getpid())
    assert holder(tmp_path) is None
    with hold(tmp_path):
        pass


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with start_holder(tmp_path) as process:
        process.kill()
        process.wait()
    assert holder(tmp_path) is None
    with hold(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_longer_process_id_of_a_former_holder_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1234567890123\n")
    with hold(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_holder_that_has_not_written_its_process_id_is_unknown(tmp_path: Path) -> None:
    with hold(tmp_path):
        (tmp_path / "lock").write_text("")
        assert holder(tmp_path) == "(unknown)"


def test_directory_without_lock_file_is_held_by_nobody(tmp_path: Path) -> None:
    assert holder(tmp_path) is None


def test_state_directory_that_cannot_be_made_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "state"
    with pytest.raises(LockError, match=f"state directory {below} cannot be used: "), hold(below):
        raise AssertionError("held")


def test_full_disk_is_an_error_that_says_so_and_lets_go_of_the_lock(tmp_path: Path) -> None:
    no_space = "cannot be used: No space left on device: .*/lock"
    with pytest.raises(LockError, match=no_space), hold(tmp_path, FullDisk()):
        raise AssertionError("held")
    assert holder(tmp_path) is None
