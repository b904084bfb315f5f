"""`tailrace state verify`: all that is wrong with a state directory is found, with the place and what to do."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from state_directory import Stored, files_of, tailrace

from tailrace import lock
from tailrace.letters import REPLAY_FILE
from tailrace_plugins.sinks.compression import compressor


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path)


def verify(stored: Stored) -> tuple[int, str]:
    result = tailrace("state", "verify", stored.state_dir)
    assert result.stderr == ""
    return result.exit_code, result.stdout


def wrong(stored: Stored) -> str:
    """Verify what is not whole, and give the only thing that is wrong with what is to be done."""
    code, text = verify(stored)
    assert code == 1
    assert ": 1 things are wrong\n" in text
    return text.partition("  WRONG ")[2].partition("\n  note:")[0].removesuffix("\n")


def forget(stored: Stored, path: Path) -> str:
    return f"tailrace state forget {stored.state_dir} audit {path}"


def test_what_is_whole_is_said_to_be_whole(stored: Stored) -> None:
    size = sum(path.stat().st_size for path in [*stored.out.iterdir(), stored.dead_letter])
    assert verify(stored) == (
        0,
        f"{stored.state_dir}: no process holds it\n"
        f"audit: generation {stored.load().generation}, 6 files, {size} bytes committed: whole\n",
    )


def test_verifying_changes_nothing(stored: Stored, tmp_path: Path) -> None:
    stored.checkpoint.write_bytes(b"damaged")
    before = files_of(tmp_path)
    assert verify(stored)[0] == 1
    assert files_of(tmp_path) == before


def test_a_directory_that_is_held_can_be_verified(stored: Stored) -> None:
    with lock.hold(stored.state_dir):
        code, text = verify(stored)
    assert code == 0
    assert text.startswith(f"{stored.state_dir}: held by process {os.getpid()}\n")


@pytest.mark.parametrize("name", ["checkpoint", "previous"])
def test_a_generation_that_is_damaged_is_found(stored: Stored, name: str) -> None:
    path: Path = getattr(stored, name)
    path.write_bytes(path.read_bytes()[:-5])
    assert wrong(stored) == (
        f"{path}: the checksum does not match the content\n"
        "    to do: `tailrace state repair` puts it aside; the other generation is whole"
    )


def test_without_a_whole_generation_a_person_has_to_decide(stored: Stored) -> None:
    for path in (stored.checkpoint, stored.previous):
        path.write_bytes(bytes(100))
    code, text = verify(stored)
    assert code == 1
    assert "audit: no checkpoint can be read, 0 files, 0 bytes committed: 2 things are wrong\n" in text
    assert text.count("to do: restore it from a backup, or move it away and start from the beginning") == 2
    stored.checkpoint.rename(stored.directory / "checkpoint.damaged-1.json")
    stored.previous.unlink()
    assert wrong(stored).startswith(f"{stored.checkpoint}: it is gone\n")


@pytest.mark.parametrize("name", ["gzip", "zstd", "plain", "dead_letter"])
def test_a_file_that_is_gone_is_found(stored: Stored, name: str) -> None:
    path: Path = getattr(stored, name)
    length = path.stat().st_size
    path.unlink()
    assert wrong(stored) == (
        f"{path}: it is gone; {length} bytes of it are recorded\n"
        f"    to do: restore it from a backup, or accept the loss: {forget(stored, path)}"
    )


@pytest.mark.parametrize("name", ["gzip", "zstd", "plain", "dead_letter"])
def test_a_file_that_is_shorter_than_recorded_is_found(stored: Stored, name: str) -> None:
    path: Path = getattr(stored, name)
    length = path.stat().st_size
    os.truncate(path, length - 3)
    assert wrong(stored).startswith(
        f"{path} at offset {length - 3}: it ends here, but {length} bytes of it are recorded\n"
    )


def test_a_file_that_was_announced_and_never_made_is_in_order(stored: Stored) -> None:
    state = stored.load()
    state.sinks["file"] = {str(stored.out / "other.log"): 0}
    stored.save(state)
    assert verify(stored)[0] == 0
    (stored.out / "other.log").touch()
    assert verify(stored)[0] == 0


def test_a_gzip_member_with_wrong_bytes_is_found_with_its_place(stored: Stored) -> None:
    data = bytearray(stored.gzip.read_bytes())
    second = data.index(b"\x1f\x8b\x08", 1)
    data[second + 20] ^= 0xFF
    stored.gzip.write_bytes(data)
    text = wrong(stored)
    assert text.startswith(f"{stored.gzip} at offset {second}: damaged gzip member: ")
    assert f"`tailrace gzip salvage {stored.gzip}` copies what is whole" in text
    assert text.endswith(f"let the pipeline go on with it: {forget(stored, stored.gzip)}")


def test_a_gzip_file_whose_first_bytes_are_zeros_is_no_plain_file(stored: Stored) -> None:
    data = stored.gzip.read_bytes()
    stored.gzip.write_bytes(bytes(10) + data[10:])
    assert wrong(stored).startswith(f"{stored.gzip} at offset 0: damaged gzip member: ")


def test_a_zstd_frame_with_wrong_bytes_is_found(stored: Stored) -> None:
    data = stored.zstd.read_bytes()
    stored.zstd.write_bytes(data[:4] + bytes(4) + data[8:])
    assert wrong(stored).startswith(f"{stored.zstd} at offset 0: damaged zstd member: ")


def test_compression_is_known_by_the_first_bytes_where_the_name_does_not_tell(stored: Stored) -> None:
    state = stored.load()
    renamed = stored.gzip.rename(stored.out / "packed")
    (sink,) = [sink for sink in state.sinks.values() if str(stored.gzip) in sink]
    length = sink.pop(str(stored.gzip))
    sink[str(renamed)] = length
    stored.save(state)
    assert verify(stored)[0] == 0
    data = renamed.read_bytes()
    renamed.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "damaged gzip member" in wrong(stored)


@pytest.mark.parametrize("name", ["gzip", "zstd", "plain"])
def test_a_last_event_without_newline_is_found(stored: Stored, name: str) -> None:
    path: Path = getattr(stored, name)
    more = compressor({"plain": "none"}.get(name, name), None)(b"more")
    with path.open("ab") as file:
        file.write(more)
    state = stored.load()
    (sink,) = [sink for sink in state.sinks.values() if str(path) in sink]
    sink[str(path)] += len(more)
    stored.save(state)
    length = path.stat().st_size
    assert f"{path} at offset {length}: the last event has no newline" in wrong(stored)


def test_a_dead_letter_that_cannot_be_read_is_found_with_its_place(stored: Stored) -> None:
    data = stored.dead_letter.read_bytes()
    stored.dead_letter.write_bytes(b"[" + data[1:])
    assert wrong(stored).startswith(f"{stored.dead_letter} at offset 0: no envelope of a rejected event: ")


def test_a_link_in_the_place_of_a_file_is_found(stored: Stored) -> None:
    stored.plain.rename(stored.out / "other")
    stored.plain.symlink_to("other")
    assert "output goes to regular files only: move it away" in wrong(stored)
    stored.plain.unlink()
    stored.plain.mkdir()
    assert wrong(stored).startswith(f"{stored.plain}: it is no regular file\n    to do: move it away; restore it")


def test_bytes_behind_the_record_are_not_looked_at(stored: Stored) -> None:
    length = stored.gzip.stat().st_size
    with stored.gzip.open("ab") as file:
        file.write(b"torn")
    code, text = verify(stored)
    assert code == 0
    assert f"  note: {stored.gzip}: what follows offset {length} is being written, or will be cut off" in text


def test_what_a_crash_left_behind_is_noted(stored: Stored) -> None:
    (stored.directory / "checkpoint.json.tmp").write_bytes(b"{")
    (stored.directory / REPLAY_FILE).write_bytes(b"{}\n")
    (stored.directory / "checkpoint.damaged-1.json").write_bytes(b"{")
    code, text = verify(stored)
    assert code == 0
    for name in ("checkpoint.json.tmp", REPLAY_FILE):
        assert f"  note: {stored.directory / name}: left behind by a process that died" in text
    assert f"  note: {stored.directory}/checkpoint.damaged-1.json: was put aside" in text


def test_a_directory_copied_from_another_machine_is_told_to_miss_its_outputs(stored: Stored) -> None:
    shutil.rmtree(stored.out)
    code, text = verify(stored)
    assert code == 1
    assert text.count(": it is gone; ") == 5
    stored.dead_letter.unlink()
    assert "note: none of its output files is here: if this directory was copied from another" in verify(stored)[1]


def test_a_directory_that_was_moved_says_where_it_was(stored: Stored, tmp_path: Path) -> None:
    stored.state_dir = stored.state_dir.rename(tmp_path / "moved")
    assert wrong(stored).endswith(
        f"this state directory was moved or copied: what is here was written in {tmp_path}/state/audit; put it back"
    )


def test_a_dead_letter_that_has_only_the_name_of_a_replay_is_named(stored: Stored) -> None:
    other = stored.dead_letter.rename(stored.directory / REPLAY_FILE)
    assert wrong(stored).endswith(f"under another name: mv {other} {stored.dead_letter}")


def test_a_state_directory_that_is_none_is_told(stored: Stored, tmp_path: Path) -> None:
    for command in ("verify", "repair"):
        result = tailrace("state", command, tmp_path / "nowhere")
        assert result.exit_code == 2
        assert result.stderr.startswith(f"{tmp_path}/nowhere is no directory; give the state_dir of the config")
        assert not (tmp_path / "nowhere").exists()
        result = tailrace("state", command, stored.directory)
        assert result.exit_code == 2
        assert result.stderr == (
            f"{stored.directory} is the directory of one pipeline; give the state directory: {stored.state_dir}\n"
        )
    result = tailrace("state", "verify", tmp_path / "out")
    assert (result.exit_code, result.stdout.splitlines()[1]) == (0, "no pipeline has committed anything yet")


def test_what_may_not_be_read_is_told(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    really_open, really_read = os.open, os.pread

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        """Refuse one file, as the kernel does for anybody but root, who may run the tests."""
        if path == str(stored.plain):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    assert wrong(stored) == (
        f"{stored.plain}: it cannot be opened: Permission denied\n    to do: verify as the user that runs the pipeline"
    )
    monkeypatch.undo()

    def fail(descriptor: int, size: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == stored.gzip.stat().st_ino:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return really_read(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", fail)
    assert wrong(stored).startswith(
        f"{stored.gzip}: it cannot be read: Input/output error\n    to do: look at the disk"
    )
