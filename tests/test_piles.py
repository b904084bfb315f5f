"""Piles: what is added comes out once, in order, in whole members, whichever way it went."""

from __future__ import annotations

import gzip
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace_plugins.sinks import piles
from tailrace_plugins.sinks.piles import Piles

STEPS = st.lists(
    st.tuples(st.sampled_from(["lines", "packed"]), st.sampled_from("ab"), st.integers(0, 40)), min_size=1, max_size=30
)


@given(STEPS, st.booleans(), st.sampled_from([1, 2, 512]))
def test_what_is_added_comes_out_once_and_in_order(steps: list[tuple[str, str, int]], threads: bool, many: int) -> None:
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(piles, "MEMBER_BYTES", 100)
        patch.setattr(piles, "HELD_BYTES", 150)
        patch.setattr(piles, "MANY", many)
        patch.setattr(piles, "FEW_BYTES", 30)
        ours = Piles(gzip.compress, pool if threads else None)
        expected: dict[str, bytes] = {}
        for number, (kind, path, size) in enumerate(steps):
            lines = [b"%d" % number, b"x" * size]
            expected[path] = expected.get(path, b"") + b"".join(line + b"\n" for line in lines)
            if kind == "lines":
                ours.add(([path] * 2, lines))
            else:
                theirs = Piles(gzip.compress)
                theirs.add(([path] * 2, lines))
                ours.add_packed(theirs.packed())
            assert ours.held < 150
        assert set(ours.paths) == set(expected)
        assert {path: gzip.decompress(b"".join(members)) for path, members in ours.take().items()} == expected
        assert ours.take() == {}
        assert ours.held == 0


def test_the_largest_piles_make_room_and_small_ones_go_on_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piles, "HELD_BYTES", 960)
    made: list[bytes] = []

    def compress(data: bytes) -> bytes:
        made.append(data)
        return gzip.compress(data)

    ours = Piles(compress)
    for path, size in {"small": 50, "large": 500, "middle": 300, "smaller": 40}.items():
        ours.add(([path], [b"x" * size]))
    assert made == []
    ours.add((["late"], [b"y" * 280]))
    assert [len(data) for data in made] == [501, 301]  # with its newline each
    assert ours.held == 50 + 40 + 280
    assert ours.members == sum(len(gzip.compress(data)) for data in made)
    lengths = {path: len(gzip.decompress(b"".join(members))) for path, members in ours.take().items()}
    assert lengths == {"small": 51, "large": 501, "middle": 301, "smaller": 41, "late": 281}
    assert (ours.held, ours.members) == (0, 0)


def test_two_threads_make_the_members_that_are_due_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piles, "MANY", 4)
    meeting = threading.Barrier(2, timeout=30)  # each waits here for the other

    def compress(data: bytes) -> bytes:
        meeting.wait()
        return gzip.compress(data)

    ours = Piles(compress)
    ours.add(("abcd", [b"1", b"2", b"3", b"4"]))
    assert {path: gzip.decompress(b"".join(members)) for path, members in ours.take().items()} == {
        "a": b"1\n",
        "b": b"2\n",
        "c": b"3\n",
        "d": b"4\n",
    }
