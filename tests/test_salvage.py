"""`tailrace gzip salvage`: what is whole in a damaged file is kept, and nothing else."""

from __future__ import annotations

import errno
import gzip
import os
import random
import stat
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from tailrace.cli import app
from tailrace.durable import Disk
from tailrace.faults import FaultyDisk
from tailrace.salvage import Part, Salvage, open_file, survey
from tailrace_plugins.sinks.compression import compressor


def lines(number: int, count: int = 50) -> bytes:
    rng = random.Random(number)
    return b"".join(b'{"member":%d,"n":%d,"x":"%x"}\n' % (number, n, rng.getrandbits(200)) for n in range(count))


def member(number: int, count: int = 50) -> bytes:
    return compressor("gzip", None)(lines(number, count))


def salvage(file: Path, *options: object) -> Result:
    return CliRunner().invoke(app, ["gzip", "salvage", str(file), *map(str, options)])


def parts(data: bytes, directory: Path) -> list[Part]:
    path = directory / "data.gz"
    path.write_bytes(data)
    descriptor, size = open_file(str(path))
    try:
        return list(survey(descriptor, size))
    finally:
        os.close(descriptor)


def kept(directory: Path, data: bytes, *options: str) -> bytes:
    """Salvage `data` and give what is in the file that comes of it."""
    file, out = directory / "x.log.gz", directory / "x.log.salvaged.gz"
    file.write_bytes(data)
    result = salvage(file, *options)
    assert result.exit_code == 1, result.output
    assert file.read_bytes() == data
    return gzip.decompress(out.read_bytes())


A, B, C = member(1), member(2), member(3)


@pytest.mark.parametrize("data", [A, A + B + C, gzip.compress(lines(9)), A + gzip.compress(b"")])
def test_a_whole_file_is_told_to_be_whole_and_not_copied(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "x.gz"
    file.write_bytes(data)
    result = salvage(file)
    assert (result.exit_code, result.stdout) == (0, f"{file}: whole, {len(data)} bytes; nothing was written\n")
    assert list(tmp_path.iterdir()) == [file]


def test_whole_members_in_front_of_a_torn_one_are_kept_byte_for_byte(tmp_path: Path) -> None:
    file, out = tmp_path / "x.gz", tmp_path / "out.gz"
    file.write_bytes(A + B + C[:12])  # a header and next to nothing
    result = salvage(file, "-o", out)
    assert result.exit_code == 1
    assert out.read_bytes() == A + B
    end = len(A + B)
    assert result.stdout == (
        f"kept  bytes 0 to {end}: whole: 2 members, 100 lines\n"
        f"lost  bytes {end} to {end + 12}: a member that is cut off (it ends too early)\n"
        f"{out}: 100 lines are saved\n"
    )


def test_what_is_written_may_be_read_by_the_group_only(tmp_path: Path) -> None:
    kept(tmp_path, A + B[:-1])
    assert stat.S_IMODE((tmp_path / "x.log.salvaged.gz").stat().st_mode) == 0o640


@pytest.mark.parametrize("cut", [1, 8, 9, 500, 2000])
def test_whole_lines_of_a_long_member_that_is_cut_off_are_kept(tmp_path: Path, cut: int) -> None:
    """As gzip, fluentd or logstash leave a file that they were still writing."""
    content = lines(7, 2000)
    found = kept(tmp_path, gzip.compress(content)[:-cut])
    assert content.startswith(found)
    assert found.endswith(b"\n")
    assert len(found) > len(content) * 0.9
    if cut <= 8:  # only the checksum is missing
        assert found == content


def test_a_torn_member_does_not_hide_what_was_appended_behind_it(tmp_path: Path) -> None:
    torn = B[: len(B) // 2]
    found = kept(tmp_path, A + torn + C + A)
    between = found.removeprefix(lines(1)).removesuffix(lines(3) + lines(1))
    assert len(between) < len(found)
    assert between
    assert lines(2).startswith(between)
    assert between.endswith(b"\n")


def test_a_member_with_wrong_bytes_is_left_out_and_its_neighbours_are_kept(tmp_path: Path) -> None:
    wrong = bytearray(B)
    wrong[-6] ^= 1
    assert kept(tmp_path, A + wrong + C) == lines(1) + lines(3)
    result = salvage(tmp_path / "x.log.gz", "-o", tmp_path / "other.gz")
    assert f"lost  bytes {len(A)} to {len(A + B)}: a damaged member (" in result.stdout
    assert "with 49 whole lines in front of that; see --partial" in result.stdout


def test_lines_in_front_of_damage_are_kept_on_demand(tmp_path: Path) -> None:
    wrong = bytearray(B)
    wrong[-6] ^= 1  # only the checksum is wrong, which inflate sees together with the last byte
    most = b"".join(lines(2).splitlines(keepends=True)[:-1])
    assert kept(tmp_path, A + wrong + C, "--partial", "all") == lines(1) + most + lines(3)
    result = salvage(tmp_path / "x.log.gz", "-o", tmp_path / "other.gz", "--partial", "all")
    assert result.stdout.endswith("149 lines are saved, 49 of them without a checksum\n")


@pytest.mark.parametrize("place", range(10, len(B), 100))
def test_no_line_without_a_checksum_is_kept_if_none_is_wanted(tmp_path: Path, place: int) -> None:
    wrong = bytearray(B)
    wrong[place] ^= 0x10
    assert kept(tmp_path, A + wrong + C + A[:-1], "--partial", "none") == lines(1) + lines(3)


def test_a_header_that_was_overwritten_costs_only_its_member(tmp_path: Path) -> None:
    assert kept(tmp_path, A + b"\0\0\0" + B[3:] + C) == lines(1) + lines(3)


@pytest.mark.parametrize("tail", [b"\0" * 10_000, b"\0", b"trailing garbage", b"\x1f\x8b\x08", b"\x1f\x8b\x08\xff" * 9])
def test_what_follows_the_last_member_is_lost(tmp_path: Path, tail: bytes) -> None:
    assert kept(tmp_path, A + B + tail) == lines(1) + lines(2)


@pytest.mark.parametrize("zeros", [512, 4096, 300_000])
def test_zeros_that_a_power_cut_left_are_not_taken_for_lines(tmp_path: Path, zeros: int) -> None:
    content = lines(7, 2000)
    found = kept(tmp_path, gzip.compress(content)[:-3000] + bytes(zeros))
    assert content.startswith(found)
    assert len(found) > len(content) * 0.9
    assert "nothing but zeros" in salvage(tmp_path / "x.log.gz", "-o", tmp_path / "y.gz").stdout


def test_zeros_in_the_middle_cost_only_the_member_in_which_they_are(tmp_path: Path) -> None:
    torn = B[: len(B) // 2]
    found = kept(tmp_path, A + torn + bytes(5000) + C)
    assert found.startswith(lines(1))
    assert found.endswith(lines(3))
    between = found.removeprefix(lines(1)).removesuffix(lines(3))
    assert lines(2).startswith(between)


def test_parts_cover_the_file_from_start_to_end(tmp_path: Path) -> None:
    data = b"foreign" + A + B[:700] + bytes(99) + C + b"garbage"
    found = parts(data, tmp_path)
    assert [part.kind for part in found] == ["foreign", "whole", "cut", "zeros", "whole", "foreign"]
    assert [part.start for part in found] == [0, *(part.end for part in found[:-1])]
    assert found[-1].end == len(data)


@pytest.mark.parametrize("data", [b"", b"{}\n" * 100, bytes(1000), b"\x28\xb5\x2f\xfd" + bytes(range(100))])
def test_a_file_without_a_member_gives_nothing(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "x.gz"
    file.write_bytes(data)
    result = salvage(file)
    assert result.exit_code == 1
    assert result.stdout.endswith(f"{file}: there is nothing to save in it\n")
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    file, out = tmp_path / "x.gz", tmp_path / "out.gz"
    file.write_bytes(A + b"garbage")
    out.write_bytes(b"precious")
    result = salvage(file, "-o", out)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{out} is there already and is not overwritten")
    assert out.read_bytes() == b"precious"
    assert salvage(file, "-o", file).exit_code == 2


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gz")
    for name, reason in (("nowhere.gz", "No such file"), ("pipe.gz", "is no regular file"), (".", "is no regular")):
        result = salvage(tmp_path / name, "-o", tmp_path / "out.gz")
        assert result.exit_code == 2
        assert reason in result.stderr
        assert result.stderr.endswith("; nothing was salvaged\n")


def test_a_full_disk_leaves_no_half_a_file(tmp_path: Path) -> None:
    file, out = tmp_path / "x.gz", tmp_path / "out.gz"
    file.write_bytes(A + B[:-9] + C)
    descriptor, size = open_file(str(file))
    for operation in range(1, 100):
        written = Salvage(str(out), FaultyDisk(operation, error=errno.ENOSPC))
        try:
            for part in survey(descriptor, size):
                written.keep(descriptor, part)
            assert written.finish()
        except OSError:
            written.discard()
        else:
            break
        if out.exists():  # only the name was not durable yet
            assert len(gzip.decompress(out.read_bytes())) > len(lines(1))
            out.unlink()
    os.close(descriptor)
    assert operation > 5
    assert gzip.decompress(out.read_bytes()).startswith(lines(1))


def test_memory_is_bounded_whatever_is_in_the_file(tmp_path: Path) -> None:
    bomb = compressor("gzip", 3)(bytes(48 << 20))
    torn = compressor("gzip", 3)(b"{}\n" * (8 << 20))[:-4]
    file = tmp_path / "x.gz"
    file.write_bytes(bomb + bomb[:-4] + os.urandom(1 << 20) + torn)
    tracemalloc.start()
    try:
        result = salvage(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.exit_code == 1
    assert peak < 8 << 20
    with gzip.open(tmp_path / "x.salvaged.gz") as found:
        assert len(found.readline()) == (48 << 20) + 3
        assert sum(1 for _ in found) == (8 << 20) - 1


@settings(max_examples=60)
@given(st.data())
def test_every_member_that_was_not_touched_is_kept(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("salvage")
    counts = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=6))
    members = [member(number, count) for number, count in enumerate(counts)]
    touched = data.draw(st.sets(st.integers(0, len(members) - 1)))
    for number in touched:
        whole = members[number]
        place = data.draw(st.integers(0, len(whole) - 1))
        how = data.draw(st.sampled_from(["cut", "wrong", "zeros", "inserted"]))
        members[number] = {
            "cut": whole[:place],
            "wrong": whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :],
            "zeros": whole[:place] + bytes(len(whole) - place),
            "inserted": whole[:place] + b"inserted" + whole[place:],
        }[how]
    (directory / "x.gz").write_bytes(b"".join(members))
    result = salvage(directory / "x.gz", "-o", directory / "out.gz")
    found = gzip.decompress((directory / "out.gz").read_bytes()) if (directory / "out.gz").exists() else b""
    if result.exit_code == 0:
        found = gzip.decompress((directory / "x.gz").read_bytes())
    place = 0
    for number, count in enumerate(counts):
        if number not in touched:
            place = found.find(lines(number, count), place)
            assert place >= 0, f"member {number} is lost: {result.output}"


def test_the_last_byte_counts(tmp_path: Path) -> None:
    """A member whose length is wrong by its last byte has a right checksum and is damaged all the same."""
    wrong = B[:-1] + bytes([B[-1] ^ 1])
    with pytest.raises(zlib.error):
        zlib.decompress(wrong, wbits=31)
    assert kept(tmp_path, A + wrong) == lines(1)


def test_the_copy_is_durable(tmp_path: Path) -> None:
    file, out = tmp_path / "x.gz", tmp_path / "out.gz"
    file.write_bytes(A + b"garbage")
    descriptor, size = open_file(str(file))
    disk = FaultyDisk()
    written = Salvage(str(out), disk)
    for part in survey(descriptor, size):
        written.keep(descriptor, part)
    assert written.finish()
    os.close(descriptor)
    disk.lose_unsynced()
    assert out.read_bytes() == A
    assert isinstance(disk, Disk)
