"""Whether files changed, and whether every user may read them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from waiting import wait_until

from tailrace_plugins.receiving.watched import Watched, exposed


def test_change_counts_once_and_when_it_is_over(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("1")
    watched = Watched([str(path), None, str(other)])
    assert not watched.changed()
    path.write_text("22")
    assert not watched.changed()
    path.write_text("333")
    assert not watched.changed()
    assert watched.changed()
    assert not watched.changed()
    other.touch()
    assert [watched.changed() for _ in range(3)] == [False, True, False]
    path.unlink()
    assert [watched.changed() for _ in range(3)] == [False, True, False]


def test_file_that_is_again_what_it_was_has_not_changed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "link"
    link.symlink_to("a")
    watched = Watched([str(link)])
    for target in ("b", "a"):
        (tmp_path / "new").symlink_to(target)
        (tmp_path / "new").replace(link)
        assert not watched.changed()
    assert not watched.changed()


def test_change_that_keeps_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    before = path.stat()
    watched = Watched([str(path)])

    def is_later() -> bool:
        path.write_text("2")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return path.stat().st_ctime_ns != before.st_ctime_ns

    wait_until(is_later)  # a clock of files has its ticks
    assert [watched.changed() for _ in range(2)] == [False, True]


def test_file_that_was_made_readable_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    before = path.stat().st_ctime_ns
    watched = Watched([str(path)])

    def is_later() -> bool:
        path.chmod(0o640)
        return path.stat().st_ctime_ns != before

    wait_until(is_later)
    assert [watched.changed() for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    ("mode", "is_exposed"), [(0o600, False), (0o660, False), (0o604, True), (0o602, True), (0o601, False)]
)
def test_file_is_exposed_if_every_user_may_read_or_write_it(mode: int, is_exposed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    path.chmod(mode)
    (tmp_path / "link").symlink_to("a")
    for name in (path, tmp_path / "link"):
        assert list(exposed([None, str(name), str(tmp_path / "nowhere")])) == ([str(name)] if is_exposed else [])
