"""Spans of `tail`: found by their ends; what a worker reads of them is what the source would have given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_tail import Follower
from test_tail import append as append_bytes
from test_tail_rotation import Lumberjack, compress

from tailrace import Batch, Span, SpanUnread
from tailrace_plugins.tailing import log as tailing_log

LINES = [b"%d %s" % (number, b"x" * (number * 37 % 400)) for number in range(3000)]
SPAN = 64 << 10


def append(path: Path, *parts: bytes) -> None:
    append_bytes(path, b"".join(parts))


@pytest.fixture(autouse=True)
def _small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tailing_log, "LEAST_SPAN_BYTES", 4096)


def find(follower: Follower, *, limit: int = SPAN) -> Batch | Span | None:
    """Take the next thing, and read it if it is a span."""
    given = follower.source.find(0, limit)
    if given is None:
        return None
    merged = (follower.position or {}) | dict(given.position)
    follower.position = {key: value for key, value in merged.items() if value is not None}
    if isinstance(given, Span):
        for batch in given.stretch.batches(given.descriptor, follower.source.take_note):
            take(follower, batch)
        given.close()
    else:
        take(follower, given)
    return given


def take(follower: Follower, batch: Batch) -> None:
    follower.lines += batch.lines
    follower.rejects += [(reject.offset, reject.reason) for reject in batch.settle()]


def drain(follower: Follower) -> list[str]:
    """Take all there is; tell what it came as."""
    kinds = []
    while (given := find(follower)) is not None:
        kinds.append("span" if isinstance(given, Span) else "batch")
    return kinds


def test_much_comes_as_spans_and_the_rest_as_a_batch(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", *(line + b"\n" for line in LINES), b"unfinished")
    follower = Follower(tmp_path)
    size = os.path.getsize(tmp_path / "audit.log")
    assert follower.source.lag() == size
    kinds = drain(follower)
    assert follower.lines == LINES
    assert kinds.count("span") == size // SPAN or kinds.count("span") == size // SPAN + 1
    assert follower.source.lag() == len(b"unfinished")
    append(tmp_path / "audit.log", b" no more\n")
    assert drain(follower) == ["batch"]
    assert follower.lines[-1] == b"unfinished no more"


def test_position_after_a_span_is_one_to_go_on_from(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", *(line + b"\n" for line in LINES))
    follower = Follower(tmp_path)
    while find(follower) is not None:
        follower.restart()
    assert follower.lines == LINES


def test_rotated_files_come_in_order_whether_packed_or_plain(tmp_path: Path) -> None:
    log = Lumberjack(tmp_path / "audit.log")
    for number in range(6):
        append(log.path, *(line + b"\n" for line in LINES[number * 500 : (number + 1) * 500]))
        if number < 5:
            log.rotate()
    for path in sorted(tmp_path.glob("audit-*"))[1::2]:
        compress(path)
    follower = Follower(tmp_path)
    kinds = drain(follower)
    assert follower.lines == LINES
    assert {"span", "batch"} == set(kinds)


def test_several_logs_take_turns(tmp_path: Path) -> None:
    for name in ("a.log", "b.log"):
        append(tmp_path / name, *(name.encode() + line + b"\n" for line in LINES))
    follower = Follower(tmp_path, "a.log", "b.log")
    first, second = find(follower), find(follower)
    assert isinstance(first, Span)
    assert isinstance(second, Span)
    assert len({line[:1] for line in follower.lines}) == 2
    drain(follower)
    for name in ("a.log", "b.log"):
        mine = [line.removeprefix(name.encode()) for line in follower.lines if line.startswith(name.encode())]
        assert mine == LINES


def test_nul_bytes_and_lines_that_are_too_long_are_told_as_without_spans(tmp_path: Path) -> None:
    parts = [*LINES[:1000], b"\0" * 5000 + b"after nuls", *LINES[1000:1100], b"L" * 30_000, *LINES[1100:2000]]
    append(tmp_path / "audit.log", b"\n".join(parts) + b"\n")
    plain, spanning = (Follower(tmp_path, max_line_bytes=10_000, block_bytes=8192) for _ in range(2))
    plain.drain()
    assert drain(spanning).count("span") > 3
    assert spanning.lines == plain.lines
    assert spanning.rejects == plain.rejects
    assert len(spanning.rejects) == 3
    for reports in (plain.source.reports, spanning.source.reports):
        assert (reports.nul_bytes, reports.long_lines) == (5000, 1)


def test_line_that_is_longer_than_one_looks_back_makes_no_span(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", b"x" * 3_000_000 + b"\nshort\n")
    follower = Follower(tmp_path)
    assert drain(follower) == ["batch"] * len(drain(Follower(tmp_path)))
    assert [len(line) for line in follower.lines] == [3_000_000, 5]


@pytest.mark.parametrize("again", [b"", b"y" * 400_000, b"y\n" * 300_000])
def test_file_that_is_truncated_before_its_span_is_read_is_refused(tmp_path: Path, again: bytes) -> None:
    path = tmp_path / "audit.log"
    append(path, *(line + b"\n" for line in LINES))
    follower = Follower(tmp_path)
    span = follower.source.find(0, SPAN)
    assert isinstance(span, Span)
    path.write_bytes(again)  # as copytruncate does, and a writer that goes on
    with pytest.raises(SpanUnread, match=r"audit\.log, offset \d+: the file was truncated while it was read"):
        list(span.stretch.batches(span.descriptor, follower.source.take_note))
    follower.source.refuse(span)
    span.close()
    follower.position = None
    follower.source.close()
    follower.source.open(None)
    assert "span" not in drain(follower)
    assert b"\n".join([*follower.lines, b""]) == again[: again.rfind(b"\n") + 1]


def test_file_of_a_span_may_be_deleted(tmp_path: Path) -> None:
    append(tmp_path / "audit.log", *(line + b"\n" for line in LINES))
    follower = Follower(tmp_path)
    span = follower.source.find(0, 1 << 30)
    (tmp_path / "audit.log").unlink()
    follower.source.close()
    assert isinstance(span, Span)
    lines = [line for batch in span.stretch.batches(span.descriptor, follower.source.take_note) for line in batch.lines]
    span.close()
    assert lines == LINES
