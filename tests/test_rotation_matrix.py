"""All that happens to a log, with all kinds of readers: nothing lost, nothing twice, in order.

Where lines cannot be had by anybody (copytruncate, deletion), the loss is noticed, counted, and logged with path and
offset.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from rotating_log import Line, Writer
from rotations import BEHAVIOURS, LOSING, OUT_OF_ORDER, Moment
from test_tail import Follower, details

from tailrace.context import Context
from tailrace.pipeline import Pipeline
from tailrace_plugins.sinks.file import File
from tailrace_plugins.sources.tail import Tail


class Following:
    """A reader that keeps up."""

    def __init__(self, directory: Path, block_bytes: int) -> None:
        self.follower = Follower(directory, block_bytes=block_bytes, rotate_wait=0.2)

    def live(self, moment: Moment) -> None:
        """Do what is done at this moment."""
        if moment == "look":
            self.look()
        elif moment == "down":
            self.follower.source.close()
        else:
            self.follower.start()

    def look(self) -> None:
        self.follower.later(0.3)

    def end(self) -> list[bytes]:
        """Read what is left, and give all lines."""
        self.follower.later(10)
        self.follower.later(10)
        self.follower.source.close()
        return self.follower.lines


class Restarting(Following):
    """A reader that falls behind, for it is restarted after each block."""

    def look(self) -> None:
        self.follower.clock.moved += 0.3
        self.follower.step()
        self.follower.restart()


class Killed(Following):
    """A reader that falls behind, and loses what it read since the last commit."""

    def look(self) -> None:
        follower = self.follower
        follower.clock.moved += 0.3
        follower.step()
        position, lines = dict(follower.position or {}), len(follower.lines)
        follower.step()
        follower.step()
        follower.source.close()
        del follower.lines[lines:]
        follower.position = position
        follower.start()


class Once:
    """A run with `--once` now and then, in real pipelines into a file."""

    def __init__(self, directory: Path, block_bytes: int) -> None:
        self._directory = directory
        self._block_bytes = block_bytes

    def live(self, moment: Moment) -> None:
        if moment == "look":
            source = Tail(paths=[str(self._directory / "audit.log")], watch=False, block_bytes=self._block_bytes)
            sink = File(path=str(self._directory / "out" / "all.txt"))
            context = Context(pipeline="t", state_dir=self._directory / "state")
            Pipeline(context, source, [], {"file": sink}).run(threading.Event(), once=True)

    def end(self) -> list[bytes]:
        self.live("look")
        self.live("look")
        return (self._directory / "out" / "all.txt").read_bytes().splitlines()


AWAY = {"file is gone before it was read to its end", "file that was gone is back", "path is not a file"}
"""What may be said although nothing is lost: nobody can know that a file which is put aside will be back."""

READERS: dict[str, type[Following | Once]] = {
    "following": Following,
    "once": Once,
    "restarting": Restarting,
    "killed": Killed,
}


def losses(written: Sequence[Line], given: Sequence[bytes]) -> list[Line]:
    """Give the lines that are not there; those that are must be there once, those of a file in order."""
    assert not Counter(given) - Counter(line.text for line in written), "repeated"
    place = {text: index for index, text in enumerate(given)}
    files: dict[int, list[int]] = defaultdict(list)
    lost = []
    for line in written:
        if line.text in place:
            files[line.file].append(place[line.text])
        else:
            lost.append(line)
    for places in files.values():
        assert places == sorted(places), "out of order"
    return lost


def check_losses(records: Sequence[logging.LogRecord], lost: Sequence[Line], live: Path) -> None:
    """Each loss was logged: of each file, the place where it begins, or an earlier one that was read up to."""
    said = [(details(record, "path"), details(record, "offset"), record.getMessage()) for record in records]
    assert all(message.startswith(("file was truncated", "file is gone")) for _, _, message in said)
    truncations = [offset for _, offset, message in said if message.startswith("file was truncated")]
    assert all(path.startswith(str(live.with_suffix(""))) for path, _, _ in said)
    offsets = [offset for _, offset, _ in said]
    first: dict[int, int] = {}
    for line in lost:
        first.setdefault(line.file, line.offset)
    assert len(offsets) >= len(first)
    for offset in first.values():
        # a copy may have had more than was read until the truncation
        assert offset in offsets or any(each <= offset for each in truncations), (offset, said)


@pytest.mark.parametrize("block_bytes", [100, 524_288])
@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("name", BEHAVIOURS)
def test_nothing_is_lost_or_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, kind: str, block_bytes: int
) -> None:
    log = Writer(tmp_path / "audit.log")
    reader = READERS[kind](tmp_path, block_bytes)
    for moment in BEHAVIOURS[name](log):
        reader.live(moment)
    given = reader.end()
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    written = [line.text for line in log.lines]
    if name in LOSING:
        lost = losses(log.lines, given)
        if kind == "following":
            assert len(lost) == (3 if name == "copytruncate" else 0)
        gone = {line.text for line in lost}
        assert given == [text for text in written if text not in gone]
        check_losses(warnings, lost, log.path)
        return
    if name in OUT_OF_ORDER:
        assert losses(log.lines, given) == []
    else:
        assert given == written
    said = {record.getMessage().split(";")[0] for record in warnings}
    assert said <= (AWAY if name.endswith("_and_back") else set())
