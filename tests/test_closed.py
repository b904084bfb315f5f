"""`tailrace state verify` on the files that the checkpoint has forgotten."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from state_directory import Stored, files_of, tailrace

from tailrace.checkpoint import State
from tailrace.closed import closed_slices
from tailrace_plugins.sinks.compression import compressor


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    """Give one whose hours 0 to 2 are closed, and 5 is not."""
    made = Stored(tmp_path, idle_close=1e-9)
    made.write([b'{"n":99,"stageTimestamp":"2026-11-23T05:00:00Z"}'])
    made.run()
    assert not any(str(made.gzip) in position for position in made.load().sinks.values())
    return made


def verify(stored: Stored, *options: str) -> tuple[int, str]:
    result = tailrace("state", "verify", stored.state_dir, *options)
    assert result.stderr == ""
    return result.exit_code, result.stdout


def test_closed_files_are_counted_and_whole(stored: Stored, tmp_path: Path) -> None:
    before = files_of(tmp_path)
    code, text = verify(stored)
    assert (code, text.count("note:")) == (0, 0)
    assert ", 3 closed files: whole\n" in text
    assert "closed files" not in verify(stored, "--recorded")[1]
    assert files_of(tmp_path) == before


def test_damaged_member_of_a_closed_file_is_found_with_its_place(stored: Stored) -> None:
    data = bytearray(stored.gzip.read_bytes())
    second = data.index(b"\x1f\x8b\x08", 1)
    data[second + 20] ^= 0xFF
    stored.gzip.write_bytes(data)
    code, text = verify(stored)
    assert code == 1
    assert ", 3 closed files: 1 things are wrong\n" in text
    assert f"  WRONG {stored.gzip} at offset {second}: damaged gzip member: " in text
    assert f"to do: `tailrace gzip salvage {stored.gzip}` copies what is whole; put that in its place\n" in text
    assert verify(stored, "--recorded")[0] == 0


@pytest.mark.parametrize("change", ["cut", "longer", "empty"])
def test_closed_file_that_holds_more_or_less_than_whole_members_is_found(stored: Stored, change: str) -> None:
    size = stored.gzip.stat().st_size
    if change == "longer":
        with stored.gzip.open("ab") as file:
            file.write(b"torn")
    else:
        os.truncate(stored.gzip, size - 3 if change == "cut" else 0)
    code, text = verify(stored)
    assert code == 1
    second = stored.gzip.read_bytes().find(b"\x1f\x8b\x08", 1)
    place = {"cut": f" at offset {second}: ", "longer": f" at offset {size}: ", "empty": ": it is empty"}[change]
    assert f"  WRONG {stored.gzip}{place}" in text


def test_other_compressions_are_looked_at_and_plain_files_only_counted(stored: Stored) -> None:
    for path in (stored.zstd, stored.plain):
        assert tailrace("state", "forget", stored.state_dir, "audit", path).exit_code == 0
    with stored.plain.open("ab") as file:
        file.write(b"whatever")
    assert ", 5 closed files: whole\n" in verify(stored)[1]
    data = stored.zstd.read_bytes()
    stored.zstd.write_bytes(data[:4] + bytes(4) + data[8:])
    code, text = verify(stored)
    assert code == 1
    assert f"  WRONG {stored.zstd} at offset 0: damaged zstd member: " in text
    assert "to do: restore it from a backup\n" in text


def test_closed_file_of_another_mode_is_noted(stored: Stored) -> None:
    stored.gzip.chmod(0o666)
    code, text = verify(stored)
    assert code == 0
    assert f"  note: {stored.gzip}: has the mode 0666 and others 0640; 1 files do\n" in text


def test_link_in_the_place_of_a_closed_file_is_none(stored: Stored) -> None:
    stored.gzip.rename(stored.out / "aside")
    stored.gzip.symlink_to("aside")
    code, text = verify(stored)
    assert code == 0
    assert ", 2 closed files: whole\n" in text


def test_closed_file_that_cannot_be_read_is_found(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    really_open, really_read = os.open, os.pread

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        """Refuse one file, as the kernel does for anybody but root, who may run the tests."""
        if path == str(stored.gzip):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    code, text = verify(stored)
    assert code == 1
    assert f"  WRONG {stored.gzip}: it cannot be opened: Permission denied\n" in text
    assert "note:" not in text
    monkeypatch.undo()

    def fail(descriptor: int, size: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == stored.gzip.stat().st_ino:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return really_read(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", fail)
    assert f"  WRONG {stored.gzip}: it cannot be read: Input/output error\n" in verify(stored)[1]


def test_file_that_is_written_again_or_deleted_meanwhile_is_not_called_damaged(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stored.gzip.open("ab") as file:
        file.write(b"in flight")
    assert verify(stored)[0] == 1
    state = stored.load()
    deleted = stored.out / "02.log.gz"
    really_open = os.open

    def late(path: str, flags: int, mode: int = 0o777) -> int:
        """Just before the file is looked at, a late event for it is announced, and retention deletes another one."""
        if path == str(stored.gzip):
            [sink] = [position for name, position in state.sinks.items() if "%H" in name]
            sink[path] = stored.gzip.stat().st_size - len(b"in flight")
            stored.save(state)
        elif path == str(deleted):
            deleted.unlink()
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", late)
    assert verify(stored)[0] == 0
    assert not deleted.exists()


def test_foreign_files_and_sinks_without_a_template_are_left_out(stored: Stored) -> None:
    (stored.out / "notes.gz").write_bytes(b"no gzip")
    (stored.out / "1.log.gz").write_bytes(b"no gzip")
    (stored.out / "98.log.gz").write_bytes(compressor("gzip", None)(b"no newline is asked for"))
    assert ", 4 closed files: whole\n" in verify(stored)[1]
    for name in (
        "stdout",
        "file",
        "file relative/%H.gz",
        "file /x/{a",
        "file /x/{a}%H{b}",
        "file /x/{a}/../b",
        "null-2",
    ):
        assert list(closed_slices(State(sinks={name: {}}), [])) == []


def test_directory_that_cannot_be_listed_is_noted(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    really_scan = os.scandir

    def refuse(path: str) -> Any:
        """Refuse as the kernel does for anybody but root, who may run the tests."""
        if Path(path) == stored.out:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return really_scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert f"  note: {stored.out}/: it cannot be listed: Permission denied\n" in verify(stored)[1]
