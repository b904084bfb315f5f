"""The operations that make data survive a crash, on a real disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace.durable import SYNC_THREADS, Disk, make_directories, naming, replace_file, sync_directory, write_all
from tailrace.faults import FaultyDisk


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    mask: int = request.param
    before = os.umask(mask)
    yield mask
    os.umask(before)


class OneByteDisk(Disk):
    """A disk whose writes are as short as they may be."""

    def write(self, descriptor: int, data: bytes) -> int:
        return super().write(descriptor, data[:1])


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize("disk", [Disk(), OneByteDisk()])
@pytest.mark.parametrize("data", [b"", b"x", b"some bytes"])
def test_all_bytes_are_written_however_short_the_writes(tmp_path: Path, disk: Disk, data: bytes) -> None:
    path = tmp_path / "file"
    descriptor = disk.open(str(path), os.O_WRONLY | os.O_CREAT)
    write_all(disk, descriptor, data)
    disk.close(descriptor)
    assert path.read_bytes() == data


def test_descriptors_are_not_inherited(tmp_path: Path) -> None:
    disk = Disk()
    descriptor = disk.open(str(tmp_path / "file"), os.O_WRONLY | os.O_CREAT)
    assert not os.get_inheritable(descriptor)
    disk.close(descriptor)


def test_every_operation_does_what_its_name_says(tmp_path: Path) -> None:
    disk = Disk()
    path = tmp_path / "file"
    descriptor = disk.open(str(path), os.O_RDWR | os.O_CREAT)
    disk.write(descriptor, b"12345")
    disk.truncate(descriptor, 2)
    disk.fsync(descriptor)
    disk.chmod(descriptor, 0o604)
    disk.chown(descriptor, -1, os.getgid())
    disk.close(descriptor)
    assert (path.read_bytes(), mode(path)) == (b"12", 0o604)
    disk.rename(str(path), str(tmp_path / "other"))
    assert not path.exists()
    disk.unlink(str(tmp_path / "other"))
    disk.mkdir(str(path), 0o750)
    disk.rmdir(str(path))
    assert list(tmp_path.iterdir()) == []


class SyncDisk(Disk):
    """A disk that knows what was synced, and cannot sync one file."""

    def __init__(self, broken: int = -1) -> None:
        self.broken = broken
        self.synced: list[int] = []

    def fsync(self, descriptor: int) -> None:
        if descriptor == self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.synced.append(descriptor)


@pytest.mark.parametrize("count", [0, 1, 3, 2 * SYNC_THREADS + 1])
def test_files_that_are_synced_together_are_each_synced_once(count: int) -> None:
    disk = SyncDisk()
    disk.fsync_all({str(number): number for number in range(count)})
    assert sorted(disk.synced) == list(range(count))


@pytest.mark.parametrize("count", [1, 40])
def test_one_of_many_files_that_cannot_be_synced_is_named(count: int) -> None:
    with pytest.raises(OSError, match="Input/output") as caught:
        SyncDisk(broken=count - 1).fsync_all({f"/x/{number}": number for number in range(count)})
    assert caught.value.filename == f"/x/{count - 1}"


class Unsyncable(Disk):
    """A disk whose file system as a whole cannot be synced."""

    def __init__(self) -> None:
        self.tries = 0

    def sync_file_system(self, descriptor: int) -> None:
        self.tries += 1
        raise OSError(5, "Input/output error")


def test_a_sync_that_only_begins_early_promises_nothing_and_leaves_nothing_open(tmp_path: Path) -> None:
    disk, before = Unsyncable(), len(os.listdir("/proc/self/fd"))
    disk.begin_sync(str(tmp_path))
    disk.begin_sync(str(tmp_path / "gone"))
    Disk().begin_sync(str(tmp_path))
    assert disk.tries == 1
    assert len(os.listdir("/proc/self/fd")) == before


def test_directories_are_made_with_exactly_their_mode(tmp_path: Path, umask: int) -> None:
    make_directories(Disk(), str(tmp_path / "a" / "b" / "c"))
    make_directories(Disk(), str(tmp_path / "a" / "d") + "/", 0o2700)
    assert [mode(tmp_path / name) for name in ("a", "a/b", "a/b/c", "a/d")] == [0o750, 0o750, 0o750, 0o2700]


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o700)
    make_directories(Disk(), str(tmp_path / "a" / "b"))
    assert mode(tmp_path / "a") == 0o700


def test_directories_are_made_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_directories(Disk(), "a/b")
    make_directories(Disk(), "")
    make_directories(Disk(), "/")
    sync_directory(Disk(), "")
    assert (tmp_path / "a" / "b").is_dir()


def test_new_directories_survive_a_power_cut(tmp_path: Path) -> None:
    for seed in range(10):
        disk = FaultyDisk(seed=seed)
        make_directories(disk, str(tmp_path / str(seed) / "b" / "c"))
        disk.lose_unsynced()
        assert (tmp_path / str(seed) / "b" / "c").is_dir()


@pytest.mark.parametrize("name", ["file", "file/a", "file/a/b"])
def test_a_file_in_the_way_of_a_directory_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError) as caught:
        make_directories(Disk(), str(tmp_path / name))
    assert caught.value.filename == str(tmp_path / "file")


class RacingDisk(Disk):
    """A disk on which somebody else makes each directory just before we do."""

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(path, 0o700)
        super().mkdir(path, mode)


def test_a_directory_that_somebody_else_makes_meanwhile_is_taken_as_it_is(tmp_path: Path) -> None:
    make_directories(RacingDisk(), str(tmp_path / "a" / "b"))
    assert mode(tmp_path / "a" / "b") == 0o700


def test_replacing_a_file_keeps_the_former_one(tmp_path: Path) -> None:
    path, previous = tmp_path / "file", tmp_path / "previous"
    for content in (b"1", b"2", b"3"):
        replace_file(Disk(), path, content, previous=previous)
    assert (path.read_bytes(), previous.read_bytes()) == (b"3", b"2")
    replace_file(Disk(), path, b"4")
    assert (path.read_bytes(), previous.read_bytes()) == (b"4", b"2")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "previous"]


def test_a_file_is_replaced_with_exactly_its_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    for number in (0o600, 0o644):
        replace_file(Disk(), tmp_path / "file", b"data", mode=number)
        assert mode(tmp_path / "file") == number


def test_secret_is_not_written_to_where_somebody_else_reads(tmp_path: Path) -> None:
    path, trap = tmp_path / "file", tmp_path / "file.tmp"
    trap.symlink_to("elsewhere")
    replace_file(Disk(), path, b"secret", mode=0o600)
    assert not (tmp_path / "elsewhere").exists()
    trap.touch(mode=0o666)
    with trap.open() as reader:
        replace_file(Disk(), path, b"secret", mode=0o600)
        assert reader.read() == ""
    assert (path.read_bytes(), mode(path)) == (b"secret", 0o600)


def test_an_error_while_a_file_is_replaced_leaves_the_old_or_the_new_one(tmp_path: Path) -> None:
    outcomes = set()
    for operation in (1, 2, 3, 4, 5):  # create, write, fsync, rename, fsync the directory
        path = tmp_path / f"file{operation}"
        path.write_bytes(b"old")
        with pytest.raises(OSError, match="No space left"):
            replace_file(FaultyDisk(operation, error=errno.ENOSPC), path, b"new")
        outcomes.add(path.read_bytes())
    assert outcomes == {b"old", b"new"}


def test_a_failed_replacement_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for operation in (2, 3, 5):
        with pytest.raises(OSError, match="Input/output"):
            replace_file(FaultyDisk(operation, error=errno.EIO), tmp_path / str(operation), b"new")
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_error_of_a_descriptor_names_the_file() -> None:
    disk = Disk()
    descriptor = disk.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"), naming("/dev/full"):
            write_all(disk, descriptor, b"x")
    finally:
        disk.close(descriptor)
