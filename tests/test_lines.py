"""Cutting bytes into lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tailrace.lines import split_lines


@given(st.lists(st.sampled_from([b"", b"\n", b"\r", b"\0", b"\x85", b"{}", b"x" * 300])).map(b"".join))
def test_lines_are_cut_at_newlines_and_nowhere_else(data: bytes) -> None:
    assert split_lines(data) == data.split(b"\n")
