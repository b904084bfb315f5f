"""The disk that fails: it must be as bad as a real one, and no worse."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tailrace.durable import Disk, sync_directory
from tailrace.faults import Crash, FaultyDisk

APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
SEEDS = range(40)
Files = tuple[tuple[str, bytes], ...]


def append(disk: Disk, path: Path, data: bytes, *, sync: bool = False) -> None:
    descriptor = disk.open(str(path), APPEND)
    disk.write(descriptor, data)
    if sync:
        disk.fsync(descriptor)
    disk.close(descriptor)


def outcomes(tmp_path: Path, act: Callable[[FaultyDisk, Path], None], fail_at: int | None = None) -> set[Files]:
    """What is in the directory after `act` and a power cut, for many seeds."""
    found: set[Files] = set()
    for seed in SEEDS:
        directory = tmp_path / str(seed)
        directory.mkdir()
        (directory / "old").write_bytes(b"old")
        disk = FaultyDisk(fail_at, seed=seed)
        try:
            act(disk, directory)
        except Crash:
            assert fail_at is not None
        disk.lose_unsynced()
        names = sorted(path.name for path in directory.iterdir())
        found.add(tuple((name, (directory / name).read_bytes()) for name in names if (directory / name).is_file()))
    return found


def test_a_disk_that_is_told_nothing_only_counts(tmp_path: Path) -> None:
    disk = FaultyDisk()
    path = tmp_path / "a"
    append(disk, path, b"x", sync=True)
    assert disk.operations == 3
    descriptor = disk.open(str(path), os.O_RDWR)
    disk.truncate(descriptor, 0)
    disk.chmod(descriptor, 0o600)
    disk.chown(descriptor, -1, os.getgid())
    disk.close(descriptor)
    disk.mkdir(str(tmp_path / "d"), 0o750)
    disk.rename(str(path), str(tmp_path / "d" / "a"))
    disk.link(str(tmp_path / "d" / "a"), str(path))
    disk.unlink(str(tmp_path / "d" / "a"))
    assert disk.operations == 10


OPERATIONS: dict[str, Callable[[FaultyDisk, int, Path], object]] = {
    "create": lambda disk, _, path: disk.open(f"{path}.new", APPEND),
    "write": lambda disk, descriptor, _: disk.write(descriptor, b"x"),
    "fsync": lambda disk, descriptor, _: disk.fsync(descriptor),
    "truncate": lambda disk, descriptor, _: disk.truncate(descriptor, 0),
    "chmod": lambda disk, descriptor, _: disk.chmod(descriptor, 0o600),
    "chown": lambda disk, descriptor, _: disk.chown(descriptor, -1, -1),
    "rename": lambda disk, _, path: disk.rename(str(path), f"{path}.new"),
    "link": lambda disk, _, path: disk.link(str(path), f"{path}.new"),
    "unlink": lambda disk, _, path: disk.unlink(str(path)),
    "mkdir": lambda disk, _, path: disk.mkdir(f"{path}.d", 0o750),
    "rmdir": lambda disk, _, path: disk.rmdir(str(path.parent / "empty")),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_can_die_or_fail(tmp_path: Path, name: str) -> None:
    for error in (None, errno.EIO):
        path = tmp_path / f"a{error}"
        path.write_bytes(b"content")
        (tmp_path / "empty").mkdir(exist_ok=True)
        disk = FaultyDisk(1, error=error)
        descriptor = disk.open(str(path), os.O_RDWR)
        with pytest.raises((Crash, OSError), match="Input/output" if error else rf"{name} .*\(operation 1\)"):
            OPERATIONS[name](disk, descriptor, path)
        disk.die()


def test_what_is_dead_stays_dead(tmp_path: Path) -> None:
    disk = FaultyDisk(2)
    disk.mkdir(str(tmp_path / "a"), 0o750)
    for name in ("b", "c"):
        with pytest.raises(Crash):
            disk.mkdir(str(tmp_path / name), 0o750)
    assert not (tmp_path / "c").exists()


def test_an_error_lasts_as_many_operations_as_it_is_told(tmp_path: Path) -> None:
    disk = FaultyDisk(2, error=errno.ENOSPC, failures=2)
    path = tmp_path / "a"
    descriptor = disk.open(str(path), APPEND)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left") as caught:
            disk.write(descriptor, b"")
        assert caught.value.filename == str(path)
    disk.write(descriptor, b"x")
    disk.close(descriptor)
    assert path.read_bytes() == b"x"


def test_a_crash_is_no_exception_that_a_stage_could_catch() -> None:
    assert not issubclass(Crash, Exception)


def test_dying_gives_up_descriptors(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    disk = FaultyDisk()
    disk.open(str(tmp_path / "a"), APPEND)
    disk.die()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_failing_write_is_torn(tmp_path: Path) -> None:
    found = set()
    for seed in SEEDS:
        path = tmp_path / str(seed)
        with pytest.raises(OSError, match="Input/output"):
            append(FaultyDisk(2, error=errno.EIO, seed=seed), path, b"abc")
        found.add(path.read_bytes())
    assert found == {b"", b"a", b"ab", b"abc"}


def test_bytes_that_were_not_synced_may_be_lost_or_garbage(tmp_path: Path) -> None:
    found = {dict(outcome)["old"] for outcome in outcomes(tmp_path, lambda disk, d: append(disk, d / "old", b"+new"))}
    assert all(content.startswith(b"old") and len(content) <= 7 for content in found)
    assert {b"old", b"old+new", b"old\0\0\0\0"} <= found
    assert any(not b"old+new".startswith(content) and b"\0" not in content for content in found)


def test_synced_bytes_and_names_survive(tmp_path: Path) -> None:
    def act(disk: FaultyDisk, directory: Path) -> None:
        disk.mkdir(str(directory / "d"), 0o750)
        append(disk, directory / "new", b"new", sync=True)
        disk.rename(str(directory / "new"), str(directory / "newer"))
        disk.unlink(str(directory / "old"))
        sync_directory(disk, str(directory))

    assert outcomes(tmp_path, act) == {(("newer", b"new"),)}
    assert all((tmp_path / str(seed) / "d").is_dir() for seed in SEEDS)


def test_names_that_were_not_synced_are_lost_from_some_point_on(tmp_path: Path) -> None:
    def act(disk: FaultyDisk, directory: Path) -> None:
        append(disk, directory / "tmp", b"new", sync=True)
        disk.rename(str(directory / "old"), str(directory / "previous"))
        disk.rename(str(directory / "tmp"), str(directory / "old"))

    assert outcomes(tmp_path, act) == {
        (("old", b"old"),),
        (("old", b"old"), ("tmp", b"new")),
        (("previous", b"old"), ("tmp", b"new")),
        (("old", b"new"), ("previous", b"old")),
    }


def test_an_unsynced_removal_may_come_back(tmp_path: Path) -> None:
    assert outcomes(tmp_path, lambda disk, d: disk.unlink(str(d / "old"))) == {(), (("old", b"old"),)}


def test_a_second_name_that_was_not_synced_may_be_lost(tmp_path: Path) -> None:
    found = outcomes(tmp_path, lambda disk, directory: disk.link(str(directory / "old"), str(directory / "new")))
    assert found == {(("old", b"old"),), (("new", b"old"), ("old", b"old"))}


def test_an_unsynced_truncation_may_come_back(tmp_path: Path) -> None:
    def act(disk: FaultyDisk, directory: Path) -> None:
        descriptor = disk.open(str(directory / "old"), os.O_RDWR)
        disk.truncate(descriptor, 1)

    def act_and_sync(disk: FaultyDisk, directory: Path) -> None:
        act(disk, directory)
        append(disk, directory / "old", b"", sync=True)

    def act_and_rename(disk: FaultyDisk, directory: Path) -> None:
        act(disk, directory)
        disk.rename(str(directory / "old"), str(directory / "new"))
        sync_directory(disk, str(directory))

    for name in "abc":
        (tmp_path / name).mkdir()
    assert outcomes(tmp_path / "a", act) == {(("old", b"o"),), (("old", b"old"),)}
    assert outcomes(tmp_path / "b", act_and_sync) == {(("old", b"o"),)}
    assert outcomes(tmp_path / "c", act_and_rename) == {(("new", b"o"),), (("new", b"old"),)}


def test_a_rename_over_unsynced_bytes_leaves_nothing_in_danger(tmp_path: Path) -> None:
    def act(disk: FaultyDisk, directory: Path) -> None:
        append(disk, directory / "target", b"unsynced")
        disk.rename(str(directory / "old"), str(directory / "target"))
        sync_directory(disk, str(directory))

    assert outcomes(tmp_path, act) == {(("target", b"old"),)}


def test_unsynced_bytes_are_in_danger_under_their_new_name_too(tmp_path: Path) -> None:
    def act(disk: FaultyDisk, directory: Path) -> None:
        append(disk, directory / "a", b"x")
        disk.rename(str(directory / "a"), str(directory / "b"))
        sync_directory(disk, str(directory))

    assert {dict(outcome)["b"] for outcome in outcomes(tmp_path, act)} >= {b"", b"x"}


def test_an_unsynced_directory_may_be_lost_with_what_is_in_it(tmp_path: Path) -> None:
    def act(disk: FaultyDisk, directory: Path) -> None:
        disk.mkdir(str(directory / "d"), 0o750)
        append(disk, directory / "d" / "a", b"x")
        disk.unlink(str(directory / "d" / "a"))
        append(disk, directory / "d" / "a", b"y", sync=True)

    outcomes(tmp_path, act)
    assert {(tmp_path / str(seed) / "d").is_dir() for seed in SEEDS} == {True, False}


def test_an_unsynced_removal_of_a_directory_may_come_back(tmp_path: Path) -> None:
    for seed in SEEDS:
        (tmp_path / str(seed) / "d").mkdir(parents=True)
        disk = FaultyDisk(seed=seed)
        disk.rmdir(str(tmp_path / str(seed) / "d"))
        disk.lose_unsynced()
    assert {(tmp_path / str(seed) / "d").is_dir() for seed in SEEDS} == {True, False}


@pytest.mark.parametrize("operation", ["link", "unlink", "rename", "mkdir", "truncate"])
def test_an_operation_that_died_was_done_or_not(tmp_path: Path, operation: str) -> None:
    found = set()
    for seed in SEEDS:
        path = tmp_path / str(seed)
        path.write_bytes(b"content")
        disk = FaultyDisk(1, seed=seed)
        descriptor = disk.open(str(path), os.O_RDWR)
        with pytest.raises(Crash):
            OPERATIONS[operation](disk, descriptor, path)
        disk.die()
        found.add((path.exists() and path.read_bytes(), Path(f"{path}.new").exists(), Path(f"{path}.d").exists()))
    assert len(found) == 2


def test_an_emptied_file_is_in_danger_from_its_start(tmp_path: Path) -> None:
    def act(disk: FaultyDisk, directory: Path) -> None:
        descriptor = disk.open(str(directory / "old"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        disk.write(descriptor, b"new")

    assert {(("old", b""),), (("old", b"new"),)} <= outcomes(tmp_path, act)


def test_a_second_power_cut_takes_nothing_more(tmp_path: Path) -> None:
    for seed in SEEDS:
        disk = FaultyDisk(seed=seed)
        path = tmp_path / str(seed)
        append(disk, path, b"unsynced")
        disk.lose_unsynced()
        content = path.read_bytes() if path.exists() else None
        disk.lose_unsynced()
        assert (path.read_bytes() if path.exists() else None) == content


def test_the_same_seed_does_the_same(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        disk = FaultyDisk(3, seed=7)
        descriptor = disk.open(str(tmp_path / name / "f"), APPEND)
        disk.write(descriptor, b"x" * 100)
        with pytest.raises(Crash):
            disk.write(descriptor, b"y" * 100)
        disk.lose_unsynced()
        contents.append((tmp_path / name / "f").read_bytes() if (tmp_path / name / "f").exists() else None)
    assert contents[0] == contents[1]


def test_paths_below_the_working_directory_are_followed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in SEEDS:
        Path("old").write_bytes(b"old")
        disk = FaultyDisk(seed=seed)
        disk.unlink("old")
        if seed % 2:
            sync_directory(disk, "")
        disk.lose_unsynced()
        assert not (seed % 2 and Path("old").exists())


def test_an_unsynced_rename_over_a_file_may_be_undone(tmp_path: Path) -> None:
    def act(disk: FaultyDisk, directory: Path) -> None:
        append(disk, directory / "new", b"new", sync=True)
        sync_directory(disk, str(directory))
        disk.rename(str(directory / "new"), str(directory / "old"))

    assert outcomes(tmp_path, act) == {(("old", b"new"),), (("new", b"new"), ("old", b"old"))}


def test_a_rename_into_a_directory_that_is_lost_loses_the_file(tmp_path: Path) -> None:
    def act(disk: FaultyDisk, directory: Path) -> None:
        disk.mkdir(str(directory / "d"), 0o750)
        disk.rename(str(directory / "old"), str(directory / "d" / "old"))

    assert outcomes(tmp_path, act) == {(), (("old", b"old"),)}


def test_a_file_that_somebody_else_removed_has_nothing_to_lose(tmp_path: Path) -> None:
    disk = FaultyDisk()
    append(disk, tmp_path / "a", b"x")
    (tmp_path / "a").unlink()
    disk.lose_unsynced()
    assert list(tmp_path.iterdir()) == []
