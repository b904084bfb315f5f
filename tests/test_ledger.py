"""Files that only grow and can be cut back to what was committed."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace.durable import Disk
from tailrace.faults import Crash, FaultyDisk
from tailrace.ledger import Ledger
from tailrace.stage import Damaged


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    mask: int = request.param
    before = os.umask(mask)
    yield mask
    os.umask(before)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def written(path: Path, *chunks: bytes) -> Ledger:
    """A ledger that has appended to one file."""
    ledger = Ledger(Disk())
    ledger.prepare([str(path)])
    ledger.append({str(path): chunks})
    return ledger


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_chunks_are_appended_in_order_and_lengths_told(tmp_path: Path) -> None:
    a, b = tmp_path / "deep" / "a", tmp_path / "b"
    ledger = Ledger(Disk())
    assert ledger.prepare([str(a), str(b)]) == {str(a): 0, str(b): 0}
    assert not a.exists()
    assert ledger.append({str(a): [b"one", b"two"], str(b): [b"x"]}) == {str(a): 6, str(b): 1}
    assert ledger.prepare([str(a)]) == {}
    assert ledger.append({str(a): [b"three"]}) == {str(a): 11}
    assert (a.read_bytes(), b.read_bytes()) == (b"onetwothree", b"x")
    assert ledger.lengths == {str(a): 11, str(b): 1}


def test_appending_without_an_announcement_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Ledger(Disk()).append({str(tmp_path / "a"): [b"x"]})
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_cut_back_to_what_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "a"
    written(path, b"committed")
    with path.open("ab") as file:
        file.write(b"torn")
    recovered = Ledger(Disk())
    assert recovered.recover({str(path): 9}) == 4
    assert path.read_bytes() == b"committed"
    assert recovered.append({str(path): [b"+"]}) == {str(path): 10}


def test_a_file_as_long_as_recorded_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    path.chmod(0o400)
    assert Ledger(FaultyDisk(1)).recover({str(path): 5}) == 0


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_was_announced_and_got_nothing_durable_goes_away(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "a"
    if there:
        path.write_bytes(b"torn")
    ledger = Ledger(Disk())
    assert ledger.recover({str(path): 0}) == (4 if there else 0)
    assert not path.exists()
    assert ledger.append({str(path): [b"new"]}) == {str(path): 3}
    assert path.read_bytes() == b"new"


def test_a_shorter_file_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1234")
    with pytest.raises(Damaged, match=f"{path} has 4 bytes, but the checkpoint has 5 of it; restore it, or run"):
        Ledger(Disk()).recover({str(path): 5})
    assert path.read_bytes() == b"1234"


def test_a_file_that_is_gone_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "a"
    with pytest.raises(Damaged, match=f"{path} is gone; the checkpoint has 5 bytes of it; restore it, or run"):
        Ledger(Disk()).recover({str(path): 5})


def test_a_file_removed_while_it_is_written_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a"
    ledger = written(path, b"12345")
    path.unlink()
    with pytest.raises(Damaged, match=f"{path} was removed while it was being written"):
        ledger.append({str(path): [b"6"]})
    assert not path.exists()


def test_bytes_that_were_there_before_are_never_cut(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"foreign")
    ledger = Ledger(Disk())
    announced = ledger.prepare([str(path)])
    assert announced == {str(path): 7}
    ledger.append({str(path): [b" ours"]})
    assert Ledger(Disk()).recover(announced) == 5
    assert path.read_bytes() == b"foreign"


@pytest.mark.parametrize("first", [b"", b"12345"])
def test_somebody_elses_append_is_noticed_and_nothing_is_added_to_it(tmp_path: Path, first: bytes) -> None:
    path = tmp_path / "a"
    ledger = written(path, first) if first else Ledger(Disk())
    ledger.prepare([str(path)])
    with path.open("ab") as file:
        file.write(b"foreign")
    before = open_descriptors()
    present, left = len(first) + 7, len(first)
    with pytest.raises(Damaged, match=f"{path} has {present} bytes where we left it with {left}: somebody else"):
        ledger.append({str(path): [b"ours"]})
    assert path.read_bytes() == first + b"foreign"
    assert open_descriptors() == before


def test_a_second_writer_on_another_descriptor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    ledger = written(path, b"12345")
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Damaged, match=f"{path} is being written by another process"):
            ledger.append({str(path): [b"6"]})
    assert ledger.append({str(path): [b"6"]}) == {str(path): 6}


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "ab")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_second_process_that_writes_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    ledger = written(path, b"12345")
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(Damaged, match="two writers would destroy it"):
            ledger.append({str(path): [b"6"]})
    assert ledger.append({str(path): [b"6"]}) == {str(path): 6}


def test_new_files_have_exactly_their_mode_and_enterable_directories(tmp_path: Path, umask: int) -> None:
    for number, (file_mode, directory_mode) in enumerate([(0o640, 0o750), (0o600, 0o700), (0o664, 0o775)]):
        path = tmp_path / str(number) / "deep" / "a"
        ledger = Ledger(Disk(), mode=file_mode)
        ledger.prepare([str(path)])
        ledger.append({str(path): [b"x"]})
        assert ledger.directory_mode == directory_mode
        assert mode(path) == file_mode
        assert (mode(path.parent), mode(path.parent.parent)) == (directory_mode, directory_mode)


def test_a_file_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    path.chmod(0o604)
    ledger = Ledger(Disk(), gid=os.getgid())
    ledger.prepare([str(path)])
    ledger.append({str(path): [b"y"]})
    assert mode(path) == 0o604


class OwnerDisk(Disk):
    """A disk that remembers to whom files were given."""

    def __init__(self) -> None:
        self.owners: list[tuple[int, int]] = []

    def chown(self, descriptor: int, uid: int, gid: int) -> None:
        super().chown(descriptor, -1, os.getgid())
        self.owners.append((uid, gid))


def test_new_files_are_given_to_their_owner(tmp_path: Path) -> None:
    disk = OwnerDisk()
    for name, uid, gid in (("a", 1234, -1), ("b", -1, 77), ("c", -1, -1)):
        ledger = Ledger(disk, uid=uid, gid=gid)
        ledger.prepare([str(tmp_path / name)])
        ledger.append({str(tmp_path / name): [b"x"]})
        ledger.append({str(tmp_path / name): [b"x"]})
    assert disk.owners == [(1234, -1), (-1, 77)]


@pytest.mark.parametrize("operation", [1, 2, 3, 4, 5, 6])
def test_a_failure_leaves_no_descriptor_open(tmp_path: Path, operation: int) -> None:
    path = str(tmp_path / "a")
    ledger = Ledger(FaultyDisk(operation, error=errno.EIO), gid=os.getgid())
    ledger.prepare([path])
    before = open_descriptors()
    with pytest.raises(OSError, match="Input/output"):
        ledger.append({path: [b"x"]})
    assert open_descriptors() == before
    assert ledger.lengths == {path: 0}


@pytest.mark.parametrize("target", ["there", "missing"])
def test_a_symlink_is_refused_and_its_target_untouched(tmp_path: Path, target: str) -> None:
    (tmp_path / "there").write_bytes(b"precious" * 100)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / target)
    for use in (lambda: Ledger(Disk()).prepare([str(link)]), lambda: Ledger(Disk()).recover({str(link): 3})):
        with pytest.raises(Damaged, match=f"{link} is a link, a directory or a device"):
            use()
    ledger = Ledger(Disk())
    ledger.lengths = {str(link): 0}  # it was put there after the announcement
    with pytest.raises(OSError, match="symbolic link"):
        ledger.append({str(link): [b"x"]})
    assert (tmp_path / "there").read_bytes() == b"precious" * 100
    assert not (tmp_path / "missing").exists()


def test_a_pipe_or_a_directory_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name in ("pipe", "directory"):
        with pytest.raises(Damaged, match="output goes to regular files only"):
            Ledger(Disk()).prepare([str(tmp_path / name)])


def test_a_pipe_that_came_after_the_announcement_is_not_waited_for_and_gets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    ledger = Ledger(Disk())
    ledger.lengths = {str(path): 0}
    with pytest.raises(OSError, match="No such device"):  # nobody reads it; recovery then says what is in the way
        ledger.append({str(path): [b"x"]})
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(Damaged, match="output goes to regular files only"):
        ledger.append({str(path): [b"x"]})
    assert os.read(reader, 1) == b""
    os.close(reader)


class CountingDisk(Disk):
    """A disk that knows how many files are open together at most."""

    def __init__(self) -> None:
        self.open_now: set[int] = set()
        self.most = 0

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        descriptor = super().open(path, flags, mode)
        self.open_now.add(descriptor)
        self.most = max(self.most, len(self.open_now))
        return descriptor

    def close(self, descriptor: int) -> None:
        self.open_now.remove(descriptor)
        super().close(descriptor)


def test_more_files_than_may_be_open_are_written_in_groups(tmp_path: Path) -> None:
    disk = CountingDisk()
    ledger = Ledger(disk, max_open=3)
    paths = [str(tmp_path / str(number % 2) / str(number)) for number in range(10)]
    ledger.prepare(paths)
    assert ledger.append({path: [path.encode()] for path in paths}) == {path: len(path) for path in paths}
    assert [Path(path).read_text() for path in paths] == paths
    assert disk.most <= 5  # and two for the directory, while its file system is synced
    assert disk.open_now == set()


def test_forgotten_files_are_not_watched_over(tmp_path: Path) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    ledger = Ledger(Disk())
    ledger.prepare([a, b])
    ledger.append({a: [b"1"], b: [b"2"]})
    assert ledger.forget([a]) == {a: None}
    assert ledger.lengths == {b: 1}
    assert ledger.prepare([a]) == {a: 1}


def test_a_path_below_the_working_directory_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(Disk())
    ledger.prepare(["a"])
    ledger.append({"a": [b"x"]})
    assert Ledger(Disk()).recover({"a": 0}) == 1
    assert not Path("a").exists()


@pytest.mark.parametrize("seed", range(8))
def test_what_recovery_took_away_does_not_come_back_after_a_power_cut(tmp_path: Path, seed: int) -> None:
    cut, removed = tmp_path / "cut", tmp_path / "removed"
    cut.write_bytes(b"committed and torn")
    removed.write_bytes(b"torn")
    disk = FaultyDisk(seed=seed)
    Ledger(disk).recover({str(cut): 9, str(removed): 0})
    disk.lose_unsynced()
    assert cut.read_bytes() == b"committed"
    assert not removed.exists()


@pytest.mark.parametrize("power_cut", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_a_crash_at_every_operation_is_undone_exactly(tmp_path: Path, seed: int, power_cut: bool) -> None:
    for operation in range(1, 100):
        directory = tmp_path / str(operation)
        directory.mkdir()
        old, foreign, new = (str(directory / name) for name in ("old", "foreign", "d/new"))
        recorded = dict(written(Path(old), b"committed").lengths)
        Path(foreign).write_bytes(b"foreign")
        disk = FaultyDisk(operation, seed=seed)
        ledger = Ledger(disk, max_open=2)
        finished = False
        try:
            ledger.recover(recorded)
            recorded |= ledger.prepare([foreign, new])
            recorded |= ledger.append({old: [b" and more"], foreign: [b" ours"], new: [b"new"]})
            finished = True
        except Crash:
            pass
        if power_cut:
            disk.lose_unsynced()
        else:
            disk.die()
        again = FaultyDisk(1 + operation % 3, seed=seed)  # and it dies once more while it recovers
        try:
            Ledger(again).recover(recorded)
        except Crash:
            again.lose_unsynced()
        Ledger(Disk()).recover(recorded)
        assert Path(old).read_bytes() == (b"committed and more" if finished else b"committed")
        assert Path(foreign).read_bytes() == (b"foreign ours" if finished else b"foreign")
        assert Path(new).exists() is finished
        if finished:
            return
    raise AssertionError("it never ran to its end")


def test_a_failed_append_takes_back_what_it_wrote_and_names_the_file(tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    first = Ledger(Disk())
    first.prepare([old])
    first.append({old: [b"committed"]})
    for operation in range(1, 12):
        disk = FaultyDisk(operation, error=errno.ENOSPC)
        ledger = Ledger(disk)
        ledger.recover({old: 9})
        ledger.prepare([new])
        named = None
        try:
            ledger.append({old: [b" and more"], new: [b"all of it"]})
        except OSError as error:
            named = error.filename
        if named is None:
            return
        assert named in (old, new, str(tmp_path))
        assert (tmp_path / "old").read_bytes() == b"committed"
        assert not (tmp_path / "new").exists()
    raise AssertionError("it never succeeded")


def test_no_link_is_followed_below_the_directory_that_the_files_share(tmp_path: Path) -> None:
    real, elsewhere = tmp_path / "real", tmp_path / "elsewhere"
    (real / "team").mkdir(parents=True)
    elsewhere.mkdir()
    base = tmp_path / "base"  # itself a link, which whoever wrote the config has meant
    base.symlink_to(real)
    good, bad, deep = (str(base / name) for name in ("team/a", "link/a", "link/new/a"))
    ledger = Ledger(Disk(), below=str(base))
    ledger.prepare([good, bad, deep])
    assert ledger.append({good: [b"one"]}) == {good: 3}
    (real / "link").symlink_to(elsewhere)
    for path in (bad, deep):
        with pytest.raises(Damaged, match=f"{base}/link is a link; output goes to real directories only"):
            ledger.append({good: [b"two"], path: [b"two"]})
    assert list(elsewhere.iterdir()) == []
    assert (real / "team" / "a").read_bytes() == b"one"  # what was written before is taken back
    assert Ledger(Disk()).recover({good: 3}) == 0


def test_recovery_cuts_nothing_behind_a_link_that_was_put_in_place_of_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "base" / "team" / "a"
    written(path, b"committed")
    path.parent.rename(tmp_path / "aside")
    (tmp_path / "base" / "team").symlink_to(tmp_path / "foreign")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "a").write_bytes(b"somebody else's, and long")
    with pytest.raises(Damaged, match=f"{tmp_path}/base/team is a link"):
        Ledger(Disk(), below=str(tmp_path / "base")).recover({str(path): 9})
    assert (tmp_path / "foreign" / "a").read_bytes() == b"somebody else's, and long"
