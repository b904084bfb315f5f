"""How the source `tail` recognises files while names come and go."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import msgspec
import pytest
from test_tail import Follower, append, details
from test_tail_rotation import Lumberjack, compress, shift

from tailrace_plugins.tailing.file import File, Replaced
from tailrace_plugins.tailing.files import Files, LogState
from tailrace_plugins.tailing.history import Sighting, match
from tailrace_plugins.tailing.listings import Listings
from tailrace_plugins.tailing.survey import View, survey


def test_same_inode_with_another_head_is_another_file(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"first %d" % 1, b"unread")
    follower = Follower(tmp_path, block_bytes=8)
    follower.step()
    follower.source.close()
    rotated = log.rotate()
    rotated.with_name(rotated.name + ".gz").write_bytes(gzip.compress(rotated.read_bytes()))
    log.path.unlink()
    os.rename(rotated, log.path)  # the inode of the old file, as the file system would use it again
    log.path.write_bytes(b"second, and longer than the first\n")
    follower.start()
    assert follower.drain() == [b"unread", b"second, and longer than the first"]
    assert follower.source.reports.truncations == 0


def test_file_of_the_same_inode_size_and_time_is_not_taken_for_the_same_one_if_it_was_just_written(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\n")
    follower = Follower(tmp_path, "audit.log", "other.log", max_open_files=1)
    follower.drain()
    append(tmp_path / "other.log", b"other\n")
    follower.later()
    times = path.stat()
    path.write_bytes(b"b\n")  # as another file that has got its inode, within one tick of the clock
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    (tmp_path / "audit.log.1").touch()  # so that it is looked at
    assert follower.later() == [b"b"]


def test_empty_file_is_not_taken_for_one_of_another_date(tmp_path: Path) -> None:
    older, newer = (tmp_path / f"audit-2026-11-23T07-00-0{number}.000.log" for number in (1, 2))
    older.touch()
    known = File(Sighting(str(older), older.stat()).new_state())
    older.rename(newer)  # the inode of the old file, as the file system would use it again
    assert match([known], [Sighting(str(newer), newer.stat())]) == ({}, {})


def test_unfinished_file_that_is_found_nowhere_is_reported_as_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a", b"b")
    follower = Follower(tmp_path, block_bytes=2)
    follower.step()
    follower.source.close()
    log.rotate().unlink()
    log.write(b"c")
    follower.start()
    assert follower.drain() == [b"c"]
    assert follower.source.reports.lost_files == 1
    [record] = caplog.records
    assert (record.levelname, details(record, "path"), details(record, "offset")) == ("ERROR", str(log.path), 2)


def test_files_are_recognised_when_the_device_has_a_new_number(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a")
    follower = Follower(tmp_path, "audit*")
    follower.drain()
    log.rotate()
    log.write(b"b")
    follower.later()
    append(log.path, b"c\n")
    follower.drain()
    for files in follower.state().values():
        for file in files:
            file["dev"] += 1
    log.write(b"d")
    follower.restart()
    assert follower.later() == [b"d"]


def test_rotated_file_without_a_descriptor_is_found_under_its_new_name(tmp_path: Path) -> None:
    logs = [Lumberjack(tmp_path / f"{name}.log") for name in "abc"]
    follower = Follower(tmp_path, "?.log", max_open_files=1)
    for number in range(4):
        for log in logs:
            log.write(b"%s %d" % (log.path.name.encode(), number))
            append(log.path, b"cut")
        follower.drain()
        for log in logs:
            shift(log.path)
    follower.later()
    expected = [b"%s %d" % (log.path.name.encode(), number) for log in logs for number in range(4)]
    assert sorted(line for line in follower.lines if line != b"cut") == expected
    assert follower.lines.count(b"cut") == 12


def test_listing_that_never_comes_to_rest_is_taken_as_it_is(tmp_path: Path) -> None:
    """Names come and go faster than they can be listed."""
    log = Lumberjack(tmp_path / "audit.log")
    log.rotate()
    wanted = []

    def rotate_meanwhile(path: str) -> bool:
        wanted.append(path)
        log.rotate()
        log.rotate()
        return True

    view = survey(str(log.path), Listings(), rotate_meanwhile, expected={(0, 0): None})
    assert not view.complete
    assert len(wanted) > 5


def test_file_that_is_compressed_between_two_steps_of_a_survey_is_not_taken_for_two(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a")
    rotated: list[Path] = []

    def rotate_once(path: str) -> bool:
        if not rotated:
            rotated.append(compress(log.rotate()))
        return True

    (tmp_path / "audit.log.1").touch()
    key = (log.path.stat().st_dev, log.path.stat().st_ino)
    view = survey(str(log.path), Listings(), rotate_once, expected={key: None})
    assert view.complete
    assert key not in [sighting.key for sighting in view.sightings if sighting.path == str(log.path)]
    assert str(rotated[0]) in [sighting.path for sighting in view.sightings]


def test_new_file_that_is_renamed_between_two_steps_of_a_survey_is_seen_under_its_new_name(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"b\n")
    append(tmp_path / "audit.log.1", b"a\n")
    renamed: list[str] = []

    def rename_once(name: str) -> bool:
        if not renamed:
            renamed.append(name)
            (tmp_path / "audit.log.1").rename(tmp_path / "audit.log.2")
            append(tmp_path / "audit.log.1", b"another\n")
        return True

    view = survey(str(path), Listings(), rename_once, expected={})
    assert [sighting.path.rpartition(".")[2] for sighting in view.sightings] == ["2", "1", "log"]
    assert [sighting.probe() for sighting in view.sightings] == [b"a\n", b"another\n", b"b\n"]


def test_file_that_vanishes_before_its_head_was_compared_is_not_taken_for_a_known_one(tmp_path: Path) -> None:
    path = tmp_path / "audit.log.1"
    append(path, b"a\n")
    known = File(Sighting(str(path), path.stat()).new_state())
    append(path, b"b\n")
    again = Sighting(str(path), path.stat())
    path.unlink()
    with pytest.raises(FileNotFoundError):
        match([known], [again])
    assert match([known], [again], guess=True) == ({}, {})


def test_live_file_that_is_renamed_before_it_was_recognised_is_not_taken_for_a_truncated_one(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a", b"b")
    follower = Follower(tmp_path, block_bytes=2)
    follower.step()
    follower.source.close()
    files = Files(follower.source._reading, msgspec.convert(follower.state(), LogState), first_start=False)
    log.write(b"c")
    sighting = Sighting(str(log.path), log.path.stat())
    sighting.probe()
    log.rotate()
    log.write(b"d")
    changed = files.arrange(View([sighting], sighting, sighting.key, None, complete=True), guess=False)
    assert (changed, files.missed) == (False, True)
    follower.start()
    assert follower.later() == [b"b", b"c", b"d"]
    assert follower.source.reports.truncations == 0


def test_live_file_that_vanishes_during_a_survey_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"b\n")
    (tmp_path / "audit.log.1").touch()

    def unlink(name: str) -> bool:
        path.unlink(missing_ok=True)
        return True

    view = survey(str(path), Listings(), unlink, expected={})
    assert view.live is None
    assert view.complete


def test_file_that_vanishes_between_recognising_and_opening_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "audit.log.1"
    append(path, b"a\n")
    follower = Follower(tmp_path)
    sighting = Sighting(str(path), path.stat())
    assert sighting.probe() == b"a\n"
    path.unlink()
    files = Files(follower.source._reading, None, first_start=False)
    files.arrange(View([sighting], None, None, None, complete=True))
    missed = files.missed
    files.arrange(View([], None, None, None, complete=True))
    assert (missed, files.missed) == (True, False)
    assert files.unfinished == []
    assert follower.source.reports.lost_files == 1


def test_another_file_under_the_same_path_is_not_opened_for_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\n")
    file = File(Sighting(str(path), path.stat()).new_state())
    append(tmp_path / "other", b"b\n")
    (tmp_path / "other").rename(path)
    with pytest.raises(Replaced):
        file.open()
    assert not file.is_open


def test_links_that_lead_nowhere_are_no_history(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", b"a\n")
    (tmp_path / "audit.log.1").symlink_to(tmp_path / "nowhere")
    assert Follower(tmp_path, "audit.log*").drain() == [b"a"]


def test_file_that_vanishes_between_listing_and_opening_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.log.1"
    append(path, b"a\n")
    follower = Follower(tmp_path)
    sighting = Sighting(str(path), path.stat())
    path.unlink()
    files = Files(follower.source._reading, None, first_start=False)
    files.arrange(View([sighting], None, None, None, complete=True))
    assert not files
    assert files.unreadable == {}


def test_deletion_is_noticed_even_if_the_time_of_the_directory_does_not_tell(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"a")
    follower = Follower(tmp_path)
    follower.drain()
    rotated = log.rotate()
    log.write(b"b")
    os.utime(tmp_path, (1, 1))
    follower.later()
    assert [done["path"] for done in follower.state()["done"]] == [str(rotated)]
    rotated.unlink()
    os.utime(tmp_path, (1, 1))
    follower.later()
    assert follower.state()["done"] == []


def test_files_of_a_volume_that_is_not_mounted_at_the_start_are_known_when_it_is(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    log = Lumberjack(volume / "audit.log")
    for number in range(100):
        log.write(b"%d" % number)
        log.rotate()
    log.write(b"a", b"b")
    follower = Follower(volume, block_bytes=2)
    while b"a" not in follower.lines:
        follower.step()
    follower.source.close()
    volume.rename(tmp_path / "elsewhere")
    volume.mkdir()
    follower.start()
    assert follower.later() == []
    follower.restart()
    assert follower.later() == []
    volume.rmdir()
    (tmp_path / "elsewhere").rename(volume)
    assert follower.later() == [b"b"]


def test_file_that_was_put_aside_while_we_were_down_goes_on_when_it_is_back(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    log.write(b"older")
    log.rotate()
    log.write(b"a", b"b")
    follower = Follower(tmp_path, block_bytes=2)
    while b"a" not in follower.lines:
        follower.step()
    follower.source.close()
    aside = log.path.rename(tmp_path / "aside")
    log.path.mkdir()
    follower.start()
    assert follower.later() == []
    log.path.rmdir()
    aside.rename(log.path)
    assert follower.later() == [b"b"]


def test_file_that_was_put_aside_for_another_one_is_not_new_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "audit.log"
    append(path, b"a\nb\nc\n")
    follower = Follower(tmp_path, block_bytes=2)
    follower.step()
    follower.source.close()
    aside = path.rename(tmp_path / "aside")
    append(path, b"another file\n")
    follower.start()
    assert follower.later() == [b"another file"]
    aside.replace(path)
    assert follower.later() == [b"b", b"c"]
    follower.restart()
    assert follower.later() == []
    said = [(record.getMessage().split(";")[0], details(record, "offset")) for record in caplog.records]
    assert said == [("file is gone before it was read to its end", 2), ("file that was gone is back", 2)]


def test_files_that_never_come_back_are_not_remembered_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    follower = Follower(tmp_path)
    for number in range(30):
        append(tmp_path / "new", b"file %d\n" % number)
        (tmp_path / "new").replace(path)
        assert follower.later() == [b"file %d" % number]
    follower.restart()
    assert follower.later() == []
    assert len(follower.state()["done"]) < 10


def test_half_a_line_of_a_live_file_that_was_put_aside_and_is_back_is_not_given(tmp_path: Path) -> None:
    path, other = tmp_path / "audit.log", tmp_path / "other"
    append(path, b"a\nhalf")
    append(other, b"of another file\n")
    follower = Follower(tmp_path)
    assert follower.drain() == [b"a"]
    aside = path.rename(tmp_path / "aside")
    path.symlink_to(other)
    assert follower.later(0.5) == [b"of another file"]
    aside.replace(path)
    assert follower.later(0.5) == []
    assert follower.later(100) == []
    append(path, b" and half\n")
    assert follower.drain() == [b"half and half"]
