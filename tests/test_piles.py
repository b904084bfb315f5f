"""Piles: what is added comes out once, in order, in whole members, whichever way it went."""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace_plugins.sinks import piles
from tailrace_plugins.sinks.piles import Piles

STEPS = st.lists(
    st.tuples(st.sampled_from(["lines", "packed"]), st.sampled_from("ab"), st.integers(0, 40)), min_size=1, max_size=30
)


@given(STEPS, st.booleans())
def test_what_is_added_comes_out_once_and_in_order(steps: list[tuple[str, str, int]], threads: bool) -> None:
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(piles, "MEMBER_BYTES", 100)
        patch.setattr(piles, "HELD_BYTES", 150)
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
