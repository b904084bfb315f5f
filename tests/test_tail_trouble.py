"""The source `tail` where files are missing, unreadable, or no files."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_tail import Follower, append, details
from test_tail_rotation import Lumberjack

from tailrace_plugins.tailing.wakeup import Wakeup


@contextmanager
def without_root() -> Iterator[None]:
    """Be somebody to whom modes apply."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a directory that others may look into, unlike `tmp_path`."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage().split(";")[0]) for record in caplog.records]


def test_missing_file_is_said_once_and_read_when_it_appears(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    follower = Follower(tmp_path, "new/audit.log")
    follower.later()
    follower.later()
    path = tmp_path / "new" / "audit.log"
    assert follower.source.incomplete() == [f"{path}: missing: no such file"]
    path.parent.mkdir()
    append(path, b"a\n")
    assert follower.drain() == [b"a"]
    assert said(caplog) == [("WARNING", "file is missing"), ("INFO", "file can be read now")]
    assert details(caplog.records[0], "path") == str(path)
    assert follower.source.incomplete() == []


def test_missing_file_is_still_incomplete_after_close_and_a_restart(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    follower.drain()
    follower.restart()
    follower.drain()
    follower.source.close()
    assert len(follower.source.incomplete()) == 1


def test_moment_between_rename_and_create_is_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\n")
    follower = Follower(tmp_path)
    follower.drain()
    path.rename(tmp_path / "audit.log.1")
    assert follower.later(0.5) == []
    assert follower.later(0.4) == []
    append(path, b"b\n")
    assert follower.later(0.1) == [b"b"]
    assert said(caplog) == []


def test_file_that_stays_away_is_said_to_be_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\n")
    follower = Follower(tmp_path)
    follower.drain()
    path.unlink()
    follower.later(5)
    follower.later(5)
    assert said(caplog) == [("WARNING", "file is missing")]
    assert follower.source.incomplete() == []


def test_directory_is_no_log_until_it_is_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "audit.log"
    path.mkdir()
    follower = Follower(tmp_path)
    assert follower.later() == []
    assert follower.later() == []
    assert said(caplog) == [("ERROR", "path is not a file")]
    assert "not a file" in follower.source.incomplete()[0]
    path.rmdir()
    append(path, b"a\n")
    assert follower.later() == [b"a"]


def test_directories_that_a_glob_matches_are_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.log").mkdir()
    (tmp_path / "audit.log.1").mkdir()
    append(tmp_path / "audit.log", b"a\n")
    assert Follower(tmp_path, "*").drain() == [b"a"]
    assert said(caplog) == []


def test_pipe_in_the_place_of_a_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "audit.log")
    append(tmp_path / "b.log", b"b\n")
    assert Follower(tmp_path, "audit.log", "b.log").drain() == [b"b"]


def test_file_in_the_place_of_a_directory_is_a_missing_log(tmp_path: Path) -> None:
    (tmp_path / "dir").touch()
    follower = Follower(tmp_path, "dir/audit.log")
    assert follower.drain() == []
    assert "missing" in follower.source.incomplete()[0]


def test_disk_that_cannot_read_one_file_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append(tmp_path / "b.log", b"b\n")
    follower = Follower(tmp_path, "b.log")
    follower.source.close()
    # a regular file of which every read fails with EIO
    follower.options["paths"] = ["/proc/self/mem", str(tmp_path / "b.log")]
    follower.start()
    assert follower.drain() == [b"b"]
    assert follower.later() == []
    assert said(caplog) == [("WARNING", "file is unreadable")]
    assert follower.source.incomplete() == ["/proc/self/mem: unreadable: Input/output error"]


def test_unreadable_file_is_said_once_and_read_when_it_can_be(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = place / "audit.log"
    append(path, b"a\n")
    append(place / "b.log", b"b\n")
    path.chmod(0)
    with without_root():
        follower = Follower(place, "audit.log", "b.log")
        assert follower.drain() == [b"b"]
        assert follower.later() == []
    assert len(follower.source.incomplete()) == 1
    path.chmod(0o644)
    with without_root():
        assert follower.later() == [b"a"]
    assert said(caplog) == [("WARNING", "file is unreadable"), ("INFO", "file can be read now")]


def test_known_file_that_becomes_unreadable_is_waited_for(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = Lumberjack(place / "audit.log")
    log.write(b"a")
    follower = Follower(place)
    follower.drain()
    follower.source.close()
    log.write(b"b")
    log.path.chmod(0)
    with without_root():
        follower.start()
        assert follower.later() == []
    assert said(caplog) == [("WARNING", "file is unreadable")]
    assert follower.source.reports.lost_files == 0
    log.path.chmod(0o644)
    with without_root():
        assert follower.later() == [b"b"]


def test_unreadable_rotated_file_is_said_once_and_read_late(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = Lumberjack(place / "audit.log")
    log.write(b"a")
    follower = Follower(place)
    follower.drain()
    follower.source.close()
    log.write(b"b")
    known = log.rotate()
    log.write(b"c")
    new = log.rotate()
    log.write(b"d")
    known.chmod(0)
    new.chmod(0)
    with without_root():
        follower.start()
        assert follower.later() == [b"d"]
        assert follower.later() == []
    assert said(caplog) == [("WARNING", "file is unreadable")] * 2
    assert follower.source.incomplete() == [
        f"{new}: cannot be read: Permission denied",
        f"{known}: cannot be read: Permission denied",
    ]
    known.chmod(0o644)
    new.chmod(0o644)
    with without_root():
        assert follower.later() == [b"b", b"c"]
    assert follower.source.incomplete() == []


def test_directory_that_cannot_be_listed_costs_only_its_history(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = Lumberjack(place / "audit.log")
    for number in range(3):
        log.write(b"%d" % number)
        log.rotate()
    log.write(b"3")
    place.chmod(0o711)
    with without_root():
        follower = Follower(place)
        assert follower.drain() == [b"3"]
    log.write(b"4")
    log.rotate()
    log.write(b"5")
    with without_root():
        assert follower.drain() == [b"4", b"5"]
        follower.later()
    assert said(caplog) == [("WARNING", "file is unreadable")]
    place.chmod(0o755)
    with without_root():
        assert sorted(follower.later()) == [b"0", b"1", b"2"]


def test_directory_that_cannot_be_listed_any_more_is_said(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = Lumberjack(place / "audit.log")
    log.write(b"a")
    with without_root():
        follower = Follower(place)
        assert follower.drain() == [b"a"]
    place.chmod(0o711)
    with without_root():
        assert follower.later() == []
    assert said(caplog) == [("WARNING", "file is unreadable")]
    log.write(b"b")
    log.rotate()
    log.write(b"c")
    place.chmod(0o755)
    with without_root():
        assert follower.later() == [b"b", b"c"]


def test_finished_files_are_not_remembered_for_ever_where_they_cannot_be_seen(place: Path) -> None:
    log = Lumberjack(place / "audit.log")
    place.chmod(0o711)
    with without_root():
        follower = Follower(place)
    expected = []
    for number in range(100):
        log.write(b"%d" % number)
        expected.append(b"%d" % number)
        log.rotate()
        with without_root():
            follower.later()
    assert follower.lines == expected
    assert len(follower.state()["done"]) < 80


def test_compressed_file_that_the_disk_cannot_read_is_not_called_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "audit.log.1.gz").symlink_to("/proc/self/mem")
    append(tmp_path / "audit.log", b"a\n")
    follower = Follower(tmp_path)
    assert follower.drain() == [b"a"]
    assert said(caplog) == [("WARNING", "file is unreadable")]
    assert follower.source.incomplete() == [f"{tmp_path}/audit.log.1.gz: cannot be read: Input/output error"]


def test_lost_file_is_not_looked_for_in_one_that_cannot_be_read(place: Path) -> None:
    log = Lumberjack(place / "audit.log")
    log.write(b"a")
    follower = Follower(place)
    follower.drain()
    follower.source.close()
    log.write(b"b")
    log.rotate().unlink()
    log.write(b"c")
    unreadable = log.rotate()
    unreadable.chmod(0)
    log.write(b"d")
    with without_root():
        follower.start()
        assert follower.later() == [b"d"]
    # which of the two depends on whether the live file has got the inode of the deleted one
    assert follower.source.reports.lost_files + follower.source.reports.truncations == 1
    unreadable.chmod(0o644)
    with without_root():
        assert follower.later() == [b"c"]


def test_open_file_that_cannot_be_read_any_more_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The command line of a process is a file without a newline, and an error once the process has ended."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    follower = Follower(tmp_path, f"/proc/{process.pid}/cmdline")
    assert follower.drain() == []
    process.communicate()
    assert follower.later() == []
    assert follower.source.reports.truncations == 0
    assert follower.source.reports.lost_files == 0


def test_removed_directory_is_not_taken_for_a_lack_of_inotify(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wakeup = Wakeup(lambda: None, logging.getLogger())
    wakeup.watch([str(tmp_path / "gone")])
    wakeup.watch([str(tmp_path)])
    wakeup.watch([str(tmp_path)])
    wakeup.close()
    assert said(caplog) == []


def test_log_that_is_mounted_as_a_single_file_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append(tmp_path / "audit.log", b"a\n")
    append(tmp_path / "other.txt", b"b\n")
    (tmp_path / "dir.log").mkdir()
    points = [tmp_path, tmp_path / "audit.log", tmp_path / "other.txt", tmp_path / "dir.log", tmp_path / "gone.log"]
    table = "".join(f"{n} 22 254:0 /x {point} rw,relatime - ext4 /dev/vda rw\n" for n, point in enumerate(points))
    (tmp_path / "mounts").write_text(table)
    monkeypatch.setattr("tailrace.machine.MOUNTS", str(tmp_path / "mounts"))
    follower = Follower(tmp_path, "*.log")
    assert follower.drain() == [b"a"]
    follower.source.open(None)
    [warning] = [record for record in caplog.records if "mounted" in record.getMessage()]
    assert details(warning, "path") == str(tmp_path / "audit.log")
    assert "mount its directory" in warning.getMessage()


def test_real_mount_of_a_single_file_is_recognised(tmp_path: Path) -> None:
    log, mounted = tmp_path / "audit.log", tmp_path / "mounted.log"
    log.write_bytes(b'{"n":1}\n')
    mounted.touch()
    config = tmp_path / "tailrace.yaml"
    config.write_text(
        f"state_dir: {tmp_path}/state\n"
        "pipelines:\n"
        f"  audit: {{schema: any, source: {{type: tail, paths: ['{mounted}']}}, sinks: [{{type: 'null'}}]}}\n"
    )
    command = [sys.executable, "-m", "tailrace", "run", "--once", str(config)]
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount --bind "$0" "$1" || exit 99; shift; exec "$@"',
            log,
            mounted,
            *command,
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("needs the right to mount")
    assert done.returncode == 0, done.stderr
    assert "log is mounted as a single file" in done.stderr


def test_link_that_leads_to_itself_hides_no_rotated_file(tmp_path: Path) -> None:
    (tmp_path / "audit-2026-11-23T05-00-00.000.log").symlink_to("audit-2026-11-23T05-00-00.000.log")
    append(tmp_path / "audit-2026-11-23T06-00-00.000.log", b"a\n")
    append(tmp_path / "audit.log", b"b\n")
    follower = Follower(tmp_path, "audit.log")
    assert follower.drain() == [b"a", b"b"]
    assert follower.source.incomplete() == []
