"""What a machine does to a collector: a clock that is set, a read-only disk, a state directory from elsewhere."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from state_directory import EVENTS, Stored
from test_cli import EVENTS as EVENTS_OF_CLI
from test_cli import Place, running, tailrace
from waiting import wait_until

from tailrace.context import Clock, Context
from tailrace.durable import Disk
from tailrace.lock import LockError, Locks, hold
from tailrace.machine import DESCRIPTORS, network_file_system, raise_descriptor_limit, warn_of_few_descriptors
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace_plugins.sinks.file import File
from tailrace_plugins.sources.tail import Tail

# The clock


class ClockThatIsSet(Clock):
    """Goes back by a day at every look."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        self.now -= 86_400.0
        return self.now


def test_commits_and_slices_and_retention_go_on_while_the_clock_goes_back(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(b"".join(line + b"\n" for line in EVENTS[:10]))
    sink = File(path=f"{tmp_path}/out/%Y%m%d%H.log", keep_for="1d", keep_files=99)
    context = Context(pipeline="audit", state_dir=tmp_path / "state", clock=ClockThatIsSet())
    made = Pipeline(context, Tail(paths=[str(log)], watch=False), [], {"file": sink}, commit_interval=0.01)
    stop = threading.Event()
    runner = threading.Thread(target=made.run, args=(stop,))
    runner.start()

    def written() -> list[bytes]:
        return [line for path in sorted((tmp_path / "out").glob("*.log")) for line in path.read_bytes().splitlines()]

    def has_written(count: int) -> bool:
        return len(written()) == count

    try:
        for end in (10, 20, 30):
            wait_until(partial(has_written, end))
            commits = made.counts.commits
            with log.open("ab") as file:
                file.write(b"".join(line + b"\n" for line in EVENTS[end : end + 10]))
        wait_until(lambda: made.counts.uncommitted_since is None)
    finally:
        stop.set()
        made.source.wake()
        runner.join()
    assert made.counts.commits >= commits >= 2
    assert made.counts.recoveries == 0
    assert sorted(written()) == sorted(EVENTS)


# A file system that gets read-only


class ReadOnlyDisk(Disk):
    """While `directory` is set, what lies below it can be read only."""

    directory: Path | None = None

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        if self.directory is not None and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self._refuse(path)
        return super().open(path, flags, mode)

    def rename(self, source: str, target: str) -> None:
        self._refuse(target)
        super().rename(source, target)

    def mkdir(self, path: str, mode: int) -> None:
        self._refuse(path)
        super().mkdir(path, mode)

    def _refuse(self, path: str) -> None:
        if self.directory is not None and Path(path).is_relative_to(self.directory):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)


@pytest.mark.parametrize("part", ["state", "out"])
def test_disk_that_gets_read_only_for_a_while_is_waited_for_and_nothing_is_lost_or_repeated(
    tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace.pipeline.BACKOFF", (0.001,))
    disk = ReadOnlyDisk()
    log, output = tmp_path / "audit.log", tmp_path / "out" / "all.log"
    log.write_bytes(EVENTS[0] + b"\n")
    context = Context(pipeline="audit", state_dir=tmp_path / "state", disk=disk)
    made = Pipeline(context, Tail(paths=[str(log)], watch=False), [], {"file": File(path=str(output))})
    stop = threading.Event()
    runner = threading.Thread(target=made.run, args=(stop,))
    runner.start()
    try:
        wait_until(lambda: made.counts.commits > 0 and made.counts.uncommitted_since is None)
        disk.directory = tmp_path / part
        with log.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in EVENTS[1:]))
        wait_until(lambda: made.counts.recoveries > 2)
        assert made.condition.state == "recovering"
        assert made.condition.cause.startswith(f"Read-only file system: {tmp_path / part}")
        disk.directory = None
        wait_until(lambda: output.read_bytes().count(b"\n") == len(EVENTS) and made.condition.state == "running")
    finally:
        disk.directory = None
        stop.set()
        made.source.wake()
        runner.join()
    assert output.read_bytes().splitlines() == EVENTS


def test_start_on_a_read_only_state_directory_is_refused_with_what_to_do(tmp_path: Path) -> None:
    disk = ReadOnlyDisk()
    disk.directory = tmp_path
    message = "cannot be used: Read-only file system: .*; mount it writable"
    with pytest.raises(LockError, match=message), hold(tmp_path / "state", disk):
        raise AssertionError("held")


def test_start_on_a_file_system_that_is_mounted_read_only_is_refused_with_what_to_do(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert tailrace("run", place.config, "--once").returncode == 0
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 99; exec "$@"'
    command = [sys.executable, "-m", "tailrace", "run", str(place.config)]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, str(place.state), *command],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("needs the right to mount")
    assert done.returncode == 1
    assert f"state directory {place.state} cannot be used: Read-only file system" in done.stderr
    assert "mount it writable" in done.stderr


# File systems and descriptors

TABLE = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /mnt/shared\\040disk rw,relatime shared:5 - nfs4 server:/export rw,vers=4.2
31 30 254:1 / /mnt/shared\\040disk/local rw - xfs /dev/vdb rw
32 22 0:41 / /mnt/other rw,relatime - cifs //server/share rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/mnt/shared disk", "nfs4"),
        ("/mnt/shared disk/a/b", "nfs4"),
        ("/mnt/shared disks/a", None),
        ("/mnt/shared disk/local/state", None),
        ("/mnt/other/state", "cifs"),
        ("/var/lib/tailrace", None),
    ],
)
def test_file_system_of_a_path_is_that_of_the_innermost_mount(
    tmp_path: Path, path: str, kind: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounts").write_text(TABLE)
    monkeypatch.setattr("tailrace.machine.MOUNTS", str(tmp_path / "mounts"))
    assert network_file_system(Path(path)) == kind


def test_state_directory_on_a_network_file_system_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Locks() as locks:
        locks.take([tmp_path / "local"])  # by the real table
    assert caplog.records == []
    (tmp_path / "mounts").write_text(f"{TABLE}33 22 0:42 / {tmp_path}/far rw - nfs server:/x rw\n")
    monkeypatch.setattr("tailrace.machine.MOUNTS", str(tmp_path / "mounts"))
    with Locks() as locks:
        locks.take([tmp_path / "local", tmp_path / "far"])
        locks.take([tmp_path / "far"])
    [warning] = caplog.records
    assert (vars(warning)["path"], vars(warning)["type"]) == (f"{tmp_path}/far", "nfs")
    monkeypatch.setattr("tailrace.machine.MOUNTS", str(tmp_path / "none"))
    assert network_file_system(tmp_path / "far") is None


def test_process_takes_as_many_descriptors_as_it_may(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with running("run", place.config) as service:
        service.wait_for_events(place, EVENTS_OF_CLI)
        limits = Path(f"/proc/{service.process.pid}/limits").read_text()
    [line] = [line for line in limits.splitlines() if line.startswith("Max open files")]
    soft, hard = (DESCRIPTORS if limit == "unlimited" else int(limit) for limit in line.split()[3:5])
    assert soft >= min(hard, DESCRIPTORS)


def test_limit_of_descriptors_is_raised_and_never_lowered() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        raised = raise_descriptor_limit()
        most = DESCRIPTORS if before[1] == resource.RLIM_INFINITY else min(before[1], DESCRIPTORS)
        assert raised == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == most
        assert raise_descriptor_limit() == raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_more_open_files_than_the_process_may_have_are_warned_of_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    tail = Tail(paths=[str(tmp_path / "a.log")], max_open_files=limit - 64 - 1 - 20)
    warn_of_few_descriptors([tail, File(path="/x/a.log", max_open_files=17)])
    assert caplog.records == []
    warn_of_few_descriptors([tail, File(path="/x/a.log", max_open_files=18)])
    [warning] = caplog.records
    assert (vars(warning)["wanted"], vars(warning)["limit"]) == (limit + 1, limit)
    assert "lower max_open_files" in warning.getMessage()


def test_service_looks_at_the_limit_of_descriptors_when_it_starts(tmp_path: Path) -> None:
    config = tmp_path / "tailrace.yaml"
    config.write_text(
        f"state_dir: {tmp_path}/state\n"
        "pipelines:\n"
        "  audit:\n"
        "    schema: any\n"
        f"    source: {{type: tail, paths: ['{tmp_path}/*.log'], max_open_files: 1000}}\n"
        f"    sinks: [{{type: file, path: '{tmp_path}/out/a.log'}}]\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tailrace", "run", "--once", "--log-format", "json", str(config)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 512)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    [warning] = [json.loads(line) for line in done.stderr.splitlines() if "descriptors" in line]
    assert (warning["level"], warning["limit"], warning["wanted"]) == ("warning", 512, 64 + 1001 + 259)


# A state directory that comes from elsewhere


def copy_all(stored: Stored, directory: Path) -> None:
    """Bring log, outputs and state to another disk, as it were: the same names, other inodes."""
    for path in (stored.log, stored.out, stored.state_dir):
        aside = directory / "aside"
        path.rename(aside)
        if aside.is_dir():
            shutil.copytree(aside, path)
            shutil.rmtree(aside)
        else:
            shutil.copyfile(aside, path)
            # the inode shall not be used again by chance
            aside.rename(directory / "former.bak")


def test_all_of_it_copied_to_another_machine_goes_on_where_it_was(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "one")
    before = stored.plain.read_bytes()
    inode = stored.log.stat().st_ino
    copy_all(stored, tmp_path)
    assert stored.log.stat().st_ino != inode
    more = [b'{"n":%d,"stageTimestamp":"2026-11-23T01:00:00Z"}' % n for n in range(30, 40)]
    stored.write(more)
    stored.run()
    assert stored.plain.read_bytes() == before + b"".join(line + b"\n" for line in more)


def test_state_directory_copied_without_its_outputs_is_stopped_by_name_and_has_written_nothing(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "one")
    shutil.rmtree(stored.out)
    with pytest.raises(PipelineFailed, match=rf"{stored.out}/.* is gone; the checkpoint has \d+ bytes of it"):
        stored.run()
    assert not stored.out.exists()


def test_state_directory_copied_to_where_another_log_has_the_name_says_so_and_reads_that_from_its_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored = Stored(tmp_path / "one")
    before = stored.plain.read_bytes()
    stored.log.rename(tmp_path / "former.bak")
    theirs = [b'{"theirs":%d,"stageTimestamp":"2026-11-23T01:00:00Z"}' % n for n in range(99)]
    stored.write(theirs)
    stored.run()
    assert stored.plain.read_bytes() == before + b"".join(line + b"\n" for line in theirs)
    [said] = [vars(record) for record in caplog.records if vars(record).get("path") == str(stored.log)]
    assert said["message"].startswith("file is gone before it was read to its end; what followed is lost")
    assert said["offset"] > 0
