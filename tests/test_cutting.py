"""Where events are cut into batches: at the same places, however they come and whenever they come again."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tailrace import Original
from tailrace_plugins.canonical import canonical_size
from tailrace_plugins.sending.cutting import Cutter, Item

Plan = list[int]
lines = st.lists(
    st.builds(lambda text: b'{"level":"Request","userAgent":"%b"}' % text.encode(), st.text("x<é", max_size=200)),
    max_size=40,
)
steps = st.lists(st.integers(1, 9), min_size=1, max_size=40)


def items(of: list[bytes]) -> list[Item]:
    return [Item(line, Original(line, "test", {}, 0)) for line in of]


def cut(cutter: Cutter, events: list[Item], sizes: Plan) -> list[list[bytes]]:
    """Give events to a cutter in steps of these sizes, over and over."""
    batches = []
    start = number = 0
    while start < len(events):
        size = sizes[number % len(sizes)]
        batches += [[item.line for item in batch] for batch in cutter.add(events[start : start + size])]
        start, number = start + size, number + 1
    return batches


@given(lines, steps, st.integers(1, 12), st.integers(1, 3000))
def test_batches_are_as_large_as_they_may_be_and_keep_the_order(
    given_lines: list[bytes], sizes: Plan, most_events: int, most_bytes: int
) -> None:
    cutter = Cutter(most_events, most_bytes)
    batches = cut(cutter, items(given_lines), sizes)
    assert cutter.held == sum(len(line) for line in given_lines[sum(map(len, batches)) :])
    if cutter.waiting:
        batches.append([item.line for item in cutter.rest()])
    assert [line for batch in batches for line in batch] == given_lines
    weights = [sum(map(canonical_size, batch)) for batch in batches]
    for batch, weight in zip(batches, weights, strict=True):
        assert len(batch) <= most_events
        assert weight <= most_bytes or len(batch) == 1
    for (batch, weight), following in pairwise([*zip(batches, weights, strict=True)]):
        assert len(batch) == most_events or weight + canonical_size(following[0][0]) > most_bytes
    assert (
        batches == []
        or cut(Cutter(most_events, most_bytes), items(given_lines), [1])[: len(batches) - 1] == batches[:-1]
    )


@given(lines, steps, steps, st.data())
def test_what_comes_again_is_cut_where_it_was(
    given_lines: list[bytes], sizes: Plan, others: Plan, data: st.DataObject
) -> None:
    events = items(given_lines)
    border = data.draw(st.integers(0, len(events)))
    first = Cutter(5, 2000)
    sent = cut(first, events[:border], sizes)
    borders = [first.count] if first.waiting else []
    if first.waiting:
        sent.append([item.line for item in first.rest()])
    second = Cutter(5, 2000, borders)
    again = cut(second, events, others)
    assert again[: len(sent)] == sent
