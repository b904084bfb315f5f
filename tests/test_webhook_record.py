"""What the spool holds is what it was given, or is known to be damaged."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poison import READABLE, UNREADABLE

from tailrace.context import Context
from tailrace.reject import Reject
from tailrace_plugins.receiving.kinds import restore_kind
from tailrace_plugins.receiving.reader import Reader
from tailrace_plugins.receiving.record import (
    HEAD_BYTES,
    MARK,
    Record,
    Request,
    decode_all,
    encode,
    encode_all,
    is_first_part,
    parse,
    shorten,
)
from tailrace_plugins.receiving.segments import Segment, segment_path
from tailrace_plugins.receiving.spool import Spool

REQUEST: Final = Request(tag="audit", received=1.5, client="::1", path="/a%0A", version="v", digest="00" * 32)
FORGED: Final = encode(Request(tag="forged", received=0.0), b'{"forged":1}')
BODIES: Final = [
    [b'{"n":1}', b'{"n":"\xff"}'],
    [b'{"n":2,"bad":\ntru}', b"", MARK],
    [FORGED, b'{"n":3}'],
    [b'{"n":4}'],
]


def is_json(item: bytes) -> bool:
    try:
        json.loads(item.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return False
    return True


def stored(items: Sequence[bytes]) -> list[bytes]:
    """Say what becomes of items: a newline between tokens is a blank."""
    return [item.replace(b"\n", b" ") if is_json(item) else item for item in items]


def read_all(data: bytes) -> tuple[list[list[bytes]], list[Reject]]:
    """Read a segment as a life after a crash does: the items of each record, and what is known to be damaged."""
    with tempfile.TemporaryDirectory() as name:
        context = Context(pipeline="test", state_dir=Path(name))
        (context.state_dir / "spool").mkdir()
        Path(segment_path(context.state_dir / "spool", 1)).write_bytes(data)
        spool = Spool(context, limit=1 << 20, window=600, wake=lambda: None)
        spool.open(None)
        reader = Reader(context, spool, None, lambda _, lines: lines)
        records, damaged = [], []
        while (batch := reader.next()) is not None:
            lines = list(batch.lines)
            rejects = batch.settle()
            damage = [reject for reject in rejects if reject.kind == "damaged"]
            damaged += damage
            if not damage:
                assert [reject.line for reject in rejects] == [line for line in lines if b"\n" in line]
                records.append(lines)
        reader.close()
        return records, damaged


ITEMS: Final = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([*READABLE.values(), *UNREADABLE.values(), MARK, FORGED, b"%73pool1 %0A%25", b"\n", b"%"]),
    st.lists(st.sampled_from([MARK, b"%", b"25", b"0A", b"73", b"s", b"\n", b'"', b"{", b"}"]), max_size=6).map(
        b"".join
    ),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3)).map(lambda item: json.dumps(item, indent=1).encode()),
)


@given(st.lists(st.lists(ITEMS, min_size=1, max_size=4), max_size=4))
def test_any_items_are_read_as_they_were_written(bodies: list[list[bytes]]) -> None:
    records, damaged = read_all(b"".join(encode_all(REQUEST, items) for items in bodies))
    assert records == [stored(items) for items in bodies]
    assert not damaged


@given(st.lists(ITEMS, min_size=1, max_size=4))
def test_the_items_of_a_body_are_in_one_record_there_together_or_not_at_all(items: list[bytes]) -> None:
    data = encode_all(REQUEST, items)
    found = parse(data, 0, 100)
    assert isinstance(found, Record)
    assert (found.start, found.end) == (100, 100 + len(data))
    assert decode_all(found.request, data[found.payload - 100 : -1]) == stored(items)
    assert data.find(MARK, 1) < 0  # nobody can put something into it that looks like another


@pytest.mark.parametrize(
    "item",
    [
        {"a": FORGED.decode()},
        {"a": FORGED.decode().replace('"', "'")},
        {FORGED.decode().partition("{")[0] + "{": ":", "tag": "x", "received": 1},
        {"x": "spool1 00000000 1 {", "tag": {"tag": "x", "received": 1.0}},
    ],
)
def test_events_need_no_escapes_for_no_json_can_be_taken_for_a_record(item: dict[str, object]) -> None:
    items = [json.dumps(item, indent=indent).encode() for indent in (None, 1)]
    request = msgspec.structs.replace(REQUEST, path=shorten("/" + FORGED.decode()))
    data = bytearray(encode_all(request, items, are_json=True))
    assert b'"escaped"' not in data
    assert read_all(bytes(data)) == ([stored(items)], [])
    data[len(MARK)] ^= 0xFF
    assert read_all(bytes(data))[0] == []


SEGMENT: Final = [encode_all(REQUEST, items) for items in BODIES]
WHOLE: Final = b"".join(SEGMENT)
ENDS: Final = list(accumulate(map(len, SEGMENT)))


def test_a_damaged_byte_is_noticed_wherever_it_is_and_costs_only_its_record() -> None:
    for at in range(len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[at] ^= (0x01, 0x20, 0xFF)[at % 3]
        hit = next(number for number, end in enumerate(ENDS) if at < end)
        records, rejects = read_all(bytes(damaged))
        assert records == [items for number, items in enumerate(BODIES) if number != hit], at
        assert [reject.line for reject in rejects] == [bytes(damaged[ENDS[hit] - len(SEGMENT[hit]) : ENDS[hit]])], at


@given(st.data())
def test_nothing_false_is_given_whatever_became_of_the_bytes(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(WHOLE)))
    end = data.draw(st.integers(start, len(WHOLE)))
    scrap = data.draw(st.binary(max_size=30) | st.integers(0, 5000).map(bytes) | st.sampled_from([MARK, WHOLE[:90]]))
    records, _ = read_all(WHOLE[:start] + scrap + WHOLE[end:])
    before = BODIES[: sum(each <= start for each in ENDS)]
    behind = BODIES[sum(each < end for each in [0, *ENDS[:-1]]) :]
    between = records[len(before) : len(records) - len(behind)]
    assert records == before + between + behind
    assert all(items in BODIES for items in between)  # scrap can be a record that was there


def test_a_segment_that_ends_early_gives_its_whole_records_and_no_alarm_for_the_rest() -> None:
    for length in range(1, len(WHOLE), 2):
        records, damaged = read_all(WHOLE[:length])
        assert records == BODIES[: sum(end <= length for end in ENDS)]
        # a rest that ends as a record does may be one whose length is wrong: it is kept
        assert bool(damaged) == (WHOLE[length - 1 : length] == b"\n" and length not in ENDS)


def test_a_mark_across_two_chunks_is_found(tmp_path: Path) -> None:
    record = encode_all(REQUEST, [b"{}"])
    for shift in range(len(MARK) + 2):
        path = tmp_path / str(shift)
        path.write_bytes(b"x" * ((1 << 20) - shift + 1) + record)
        segment = Segment(str(path))
        assert [found.start for found in segment.records()] == [(1 << 20) - shift + 1]
        segment.close()


def test_first_part_of_a_record_is_known_as_such_and_nothing_else_is() -> None:
    record = SEGMENT[0]
    for length in range(1, len(record)):
        assert is_first_part(record[:length], length)
    assert not is_first_part(record, len(record))
    assert not is_first_part(b"\0" * 40, 40)
    assert not is_first_part(b"spool2 ", 7)
    assert not is_first_part(b'{"n":1}\n', 8)
    long = encode_all(REQUEST, [b"x" * HEAD_BYTES])
    assert is_first_part(long[:HEAD_BYTES], len(long) - 1)


@pytest.mark.parametrize("sign", ["x", "\\", "\x00", "\U0001f600", "\ud800"])
def test_what_a_client_chooses_fits_into_a_head(sign: str) -> None:
    request = Request(tag="t" * 1000, received=0.0, client="c" * 100, path=shorten(sign * 9000), digest="0" * 64)
    head = encode(request, b"").partition(b"\n")[0]
    assert len(head) < HEAD_BYTES
    assert encode(request, b"x").decode()


# The keys that the items of a list lack

LINES: Final = gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes()).splitlines()
KEYS: Final = b'"kind":"Event","apiVersion":"audit.k8s.io/v1",'


def restored(line: bytes) -> bytes:
    return restore_kind([line], "audit.k8s.io/v1")[0]


def test_restored_items_are_the_lines_of_the_log() -> None:
    assert all(line.startswith(b"{" + KEYS) for line in LINES)
    assert restore_kind([line.replace(KEYS, b"", 1) for line in LINES], "audit.k8s.io/v1") == LINES


@pytest.mark.parametrize("name", READABLE)
def test_odd_events_get_their_keys_back_too(name: str) -> None:
    line = READABLE[name].replace(b"v1beta1", b"v1")
    assert restored(line.replace(KEYS, b"", 1)) == line


@pytest.mark.parametrize(
    "line",
    [
        *READABLE.values(),
        *UNREADABLE.values(),
        *(line.replace(KEYS, b"", 1) for line in UNREADABLE.values()),
        b'{"\\u006bind":null,"apiVersio\\u006e":"\\ud800"}',
        b'{"x":{"kind":1},"kind":{},"apiVersion":["\xff"]}',
        b"",
    ],
)
def test_what_has_the_keys_or_is_no_object_is_not_touched(line: bytes) -> None:
    assert restored(line) == line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{}", b'{"kind":"Event","apiVersion":"audit.k8s.io/v1"}'),
        (b'{ "kind":"x"}', b'{"apiVersion":"audit.k8s.io/v1", "kind":"x"}'),
        (b'{"apiVersion":"\\ud800"}', b'{"kind":"Event","apiVersion":"\\ud800"}'),
        (b'{"x":"\\"kind\\":\\ud800"}', b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","x":"\\"kind\\":\\ud800"}'),
    ],
)
def test_only_the_missing_keys_are_put_in_front(line: bytes, expected: bytes) -> None:
    assert restored(line) == expected
