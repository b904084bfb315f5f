"""`tailrace state repair` does what is safe, says so, and leaves the rest to a person."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from state_directory import EVENTS, Stored, files_of, tailrace

from tailrace import lock
from tailrace.context import Context
from tailrace.durable import Disk
from tailrace.faults import Crash, FaultyDisk
from tailrace.letters import REPLAY_FILE
from tailrace.repair import steps
from tailrace.verification import verify_pipeline


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path)


def repair(stored: Stored, *options: str) -> tuple[int, list[str]]:
    result = tailrace("state", "repair", stored.state_dir, *options)
    assert result.stderr == ""
    return result.exit_code, result.stdout.splitlines()


def break_what_can_be_repaired(stored: Stored) -> dict[Path, bytes]:
    """Do what crashes and disks do; give what stands behind the record of each file."""
    stored.checkpoint.write_bytes(b"damaged")
    state = stored.load()  # puts the damage aside, as a start does
    (aside,) = stored.directory.glob("checkpoint.damaged-*")
    aside.rename(stored.checkpoint)
    recorded = {path: length for sink in state.sinks.values() for path, length in sink.items()}
    stored.dead_letter.write_bytes(stored.dead_letter.read_bytes() + b'{"torn')
    (stored.directory / "checkpoint.json.tmp").write_bytes(b"{")
    (stored.directory / REPLAY_FILE).write_bytes(b"{}\n")
    tails = {Path(path): Path(path).read_bytes()[length:] for path, length in recorded.items()}
    return {path: tail for path, tail in tails.items() if tail}


def asides(stored: Stored) -> list[bytes]:
    return sorted(path.read_bytes() for path in stored.directory.glob("cut-*"))


def test_what_is_in_order_is_left_alone(stored: Stored, tmp_path: Path) -> None:
    before = files_of(stored.directory) | files_of(stored.out)
    assert repair(stored) == (0, ["there is nothing to repair"])
    assert files_of(stored.directory) | files_of(stored.out) == before


def test_bytes_behind_the_record_are_cut_off_and_kept(stored: Stored) -> None:
    length = stored.gzip.stat().st_size
    with stored.gzip.open("ab") as file:
        file.write(b"torn")
    code, (line,) = repair(stored)
    (aside,) = stored.directory.glob("cut-*")
    assert (code, line) == (0, f"audit: keep what follows offset {length} of {stored.gzip} as {aside}, and cut it off")
    assert (stored.gzip.stat().st_size, aside.read_bytes()) == (length, b"torn")
    assert aside.stat().st_mode & 0o777 == 0o640


def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_is_used(stored: Stored) -> None:
    tails = break_what_can_be_repaired(stored)
    code, lines = repair(stored)
    assert code == 0
    (aside,) = stored.directory.glob("checkpoint.damaged-*")
    assert aside.read_bytes() == b"damaged"
    assert not stored.checkpoint.exists()
    assert lines[0] == (
        f"audit: put aside {stored.checkpoint} (the first line is not a checkpoint header); "
        f"generation {stored.load().generation} is used"
    )
    assert asides(stored) == sorted(tails.values())
    assert not (stored.directory / "checkpoint.json.tmp").exists()
    assert not (stored.directory / REPLAY_FILE).exists()
    assert tailrace("state", "verify", stored.state_dir).exit_code == 0
    assert repair(stored) == (0, ["there is nothing to repair"])
    stored.run()
    assert stored.plain.read_bytes().splitlines() == EVENTS


def test_a_damaged_former_checkpoint_is_put_aside(stored: Stored) -> None:
    stored.previous.write_bytes(b"damaged")
    generation = stored.load().generation
    code, (line,) = repair(stored)
    assert code == 0
    assert f"put aside {stored.previous} " in line
    assert f"generation {generation} is used" in line
    assert not stored.previous.exists()


def test_a_dry_run_says_the_same_and_changes_nothing(stored: Stored, tmp_path: Path) -> None:
    break_what_can_be_repaired(stored)
    before = files_of(tmp_path)
    code, would = repair(stored, "--dry-run")
    assert files_of(tmp_path) == before
    assert repair(stored) == (code, [line.replace("audit: would ", "audit: ") for line in would])


def test_what_would_lose_events_is_left_to_a_person(stored: Stored) -> None:
    stored.plain.write_bytes(b"")
    length = stored.recorded(stored.plain)
    with stored.gzip.open("ab") as file:
        file.write(b"torn")
    code, lines = repair(stored)
    assert code == 1
    assert "cut it off" in lines[0]
    assert lines[1:] == [
        f"audit: NOT DONE {stored.plain} at offset 0: it ends here, but {length} bytes of it are recorded",
        f"    to do: restore it from a backup, or accept the loss: "
        f"tailrace state forget {stored.state_dir} audit {stored.plain}",
    ]


def test_damage_in_what_is_committed_can_be_ended_by_what_the_message_says(stored: Stored) -> None:
    data = stored.gzip.read_bytes()
    second = data.index(b"\x1f\x8b\x08", 1)
    stored.gzip.write_bytes(data[: second - 8] + bytes(4) + data[second - 4 :])
    code, lines = repair(stored)
    assert code == 1
    *_, remedy = lines
    assert f"`tailrace gzip salvage {stored.gzip}`" in remedy
    assert tailrace("gzip", "salvage", stored.gzip).exit_code == 1
    stored.gzip.with_name("01.log.salvaged.gz").rename(stored.gzip)
    assert tailrace(*remedy.rpartition(": tailrace ")[2].split()).exit_code == 0
    assert tailrace("state", "verify", stored.state_dir).exit_code == 0
    stored.write([EVENTS[1]])
    stored.run()
    assert tailrace("state", "verify", stored.state_dir).exit_code == 0


def test_without_a_whole_checkpoint_nothing_is_touched(stored: Stored, tmp_path: Path) -> None:
    for path in (stored.checkpoint, stored.previous):
        path.write_bytes(bytes(10))
    before = files_of(stored.directory) | files_of(stored.out)
    code, lines = repair(stored)
    assert code == 1
    assert sum("NOT DONE" in line for line in lines) == 2
    assert files_of(stored.directory) | files_of(stored.out) == before


def test_a_directory_that_is_held_is_not_repaired(stored: Stored) -> None:
    with lock.hold(stored.state_dir):
        for options in ([], ["--dry-run"]):
            result = tailrace("state", "repair", stored.state_dir, *options)
            assert result.exit_code == 1
            assert f"is held by process {os.getpid()}" in result.stderr
            assert "stop that one first" in result.stderr


def test_the_rest_of_a_replay_that_could_still_be_needed_is_kept(stored: Stored) -> None:
    stored.dead_letter.rename(stored.directory / REPLAY_FILE)
    assert repair(stored)[0] == 1
    assert (stored.directory / REPLAY_FILE).exists()


@pytest.mark.parametrize("power_cut", [True, False])
def test_death_at_every_step_loses_no_byte(tmp_path: Path, power_cut: bool) -> None:
    for operation in range(1, 100):
        stored = Stored(tmp_path / f"{operation}", FaultyDisk())
        tails = break_what_can_be_repaired(stored)
        found = verify_pipeline(stored.state_dir, stored.directory)
        disk = FaultyDisk(operation, seed=operation)
        finished = False
        try:
            for step in steps(found, Context(pipeline="audit", state_dir=stored.directory, disk=disk)):
                step.run()
            finished = True
        except Crash:
            pass
        if power_cut:
            disk.lose_unsynced()
        else:
            disk.die()
        assert repair(stored)[0] == 0
        assert set(tails.values()) <= set(asides(stored))
        assert tailrace("state", "verify", stored.state_dir).exit_code == 0
        stored.run(FaultyDisk())
        assert stored.plain.read_bytes().splitlines() == EVENTS
        shutil.rmtree(tmp_path / f"{operation}")
        if finished:
            break
    assert operation > 20


def test_a_full_disk_ends_a_repair_with_the_reason_and_no_loss(stored: Stored) -> None:
    with stored.gzip.open("ab") as file:
        file.write(b"torn")
    found = verify_pipeline(stored.state_dir, stored.directory)
    full = FaultyDisk(2, error=errno.ENOSPC)
    (step,) = steps(found, Context(pipeline="audit", state_dir=stored.directory, disk=full))
    with pytest.raises(OSError, match="No space left on device"):
        step.run()
    assert stored.gzip.read_bytes().endswith(b"torn")


class ReadOnly(Disk):
    """A file system that the kernel has made read-only."""

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return super().open(path, flags, mode)


def test_a_read_only_file_system_is_named_with_its_usual_cause(stored: Stored) -> None:
    with pytest.raises(lock.LockError) as caught, lock.hold(stored.state_dir, ReadOnly()):
        raise AssertionError("held")
    assert str(caught.value) == (
        f"state directory {stored.state_dir} cannot be used: Read-only file system: {stored.state_dir}/lock; "
        "mount it writable; the kernel makes a file system read-only when its disk fails, dmesg tells"
    )


def test_on_a_read_only_mount_it_is_verified_and_said_why_it_is_not_repaired(stored: Stored) -> None:
    """On a real mount, in a mount namespace of its own."""
    with stored.gzip.open("ab") as file:
        file.write(b"torn")
    own_namespace = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = f"mount --bind {stored.state_dir} {stored.state_dir} && mount -o remount,bind,ro {stored.state_dir}"
    if subprocess.run([*own_namespace, "sh", "-c", mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel or container does not let us mount; the test above shows the same without")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = f"{mount} && exec {sys.executable} -m tailrace state {' '.join(arguments)} {stored.state_dir}"
        return subprocess.run([*own_namespace, "sh", "-c", code], capture_output=True, text=True, check=False)

    assert run("verify").returncode == 0
    dry = run("repair", "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert "would keep what follows offset" in dry.stdout
    refused = run("repair")
    assert refused.returncode == 1
    assert "cannot be used: Read-only file system" in refused.stderr
    assert "mount it writable" in refused.stderr
    assert stored.gzip.read_bytes().endswith(b"torn")
