"""Batches: verbatim lines, columns beside them, and rejects that cost no neighbour."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tailrace.batch import Batch
from tailrace.changes import UNCHANGED
from tailrace.fields import Projection

GOOD = b'{"verb":"get","objectRef":{"namespace":"default"},"n":1}'

POISON = {
    "lone surrogate": b'{"n":1,"x":"\\ud800"}',
    "number out of range": b'{"n":1,"x":1e400}',
    "integer over 64 bits": b'{"n":1,"x":18446744073709551616}',
    "trailing zero": b'{"n":1,"x":1.10}',
    "negative zero": b'{"n":1,"x":-0}',
    "duplicate keys": b'{"n":0,"x":1,"x":2,"n":1}',
    "depth 1025": b'{"n":1,"x":' + b"[" * 1025 + b"]" * 1025 + b"}",
    "depth 10000": b'{"n":1,"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "invalid UTF-8": b'{"n":1,"x":"\xff\xc0"}',
    "NUL head": b'\0\0\0\0{"n":1}',
    "BOM": b'\xef\xbb\xbf{"n":1}',
    "CRLF": b'{"n":1}\r',
    "truncated": b'{"n":1,"x":"abc',
    "empty": b"",
    "array": b'{"n":1,"x":[1]}',
    "string": b'{"n":1,"x":"{}"}',
    "number": b'{"n":1,"x":12}',
    "null": b'{"n":1,"x":null}',
    "not a number": b'{"n":1,"x":NaN}',
    "no object": b'[{"n":1}]',
    "4300 digits": b'{"n":1,"x":' + b"9" * 5000 + b"}",
    "garbage": bytes(range(256)).replace(b"\n", b""),
}


def untouched(batch: Batch) -> None:
    batch.encoded()


def read(batch: Batch) -> None:
    assert len(batch["n"]) == len(batch["x.y"]) == len(batch["x"]) == len(batch)


def set_and_delete(batch: Batch) -> None:
    batch["new"] = ["value"] * len(batch)
    batch["x.new"] = [1] * len(batch)
    del batch["new"], batch["x.new"]


def look_at_records(batch: Batch) -> None:
    for record in batch.records():
        record.get("n")


@pytest.mark.parametrize("use", [untouched, read, set_and_delete, look_at_records])
@pytest.mark.parametrize("projection", [Projection(), Projection(["n", "x.y"], ["new", "x.new"]), Projection(["x"])])
@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_poison_passes_byte_for_byte_or_is_rejected_alone(
    poison: bytes, projection: Projection, use: Callable[[Batch], None]
) -> None:
    batch = Batch([GOOD, poison, GOOD], tag="t", origin={"path": "audit.log"}, offset=100)
    batch.project(projection)
    rejects = batch.settle()
    use(batch)
    encoded = list(batch.encoded())
    rejects += batch.settle()
    if rejects:
        assert batch.encoded() == [GOOD, GOOD]
        (reject,) = rejects
        assert (reject.line, reject.tag, reject.origin) == (poison, "t", {"path": "audit.log"})
        assert reject.offset == 100 + len(GOOD) + 1
        assert reject.reason
    else:
        assert encoded == [GOOD, poison, GOOD]


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_poison_never_costs_a_neighbour_its_change(poison: bytes) -> None:
    batch = Batch([GOOD, poison, GOOD])
    batch["added"] = [1, 2, 3]
    batch["x.added"] = [1, 2, 3]
    del batch["verb"]
    batch.encoded()
    batch.settle()
    lines = [json.loads(line) for line in (batch.encoded()[0], batch.encoded()[-1])]
    rest = {"objectRef": {"namespace": "default"}, "n": 1}
    assert lines == [rest | {"added": 1, "x": {"added": 1}}, rest | {"added": 3, "x": {"added": 3}}]


@pytest.mark.parametrize("name", ["lone surrogate", "integer over 64 bits", "trailing zero", "negative zero", "CRLF"])
def test_a_new_column_is_spliced_in_and_the_poison_beside_it_stays(name: str) -> None:
    line = POISON[name]
    batch = Batch([line])
    batch["ns"] = ["default"]
    body = line.rstrip(b"\r")
    assert batch.encoded() == [body[:-1] + b',"ns":"default"}' + line[len(body) :]]


def test_a_field_is_read_from_each_line_and_none_where_it_is_missing() -> None:
    batch = Batch([GOOD, b"{}", b'{"objectRef":"none"}'])
    assert batch["objectRef.namespace"] == ["default", None, None]
    assert batch['["verb"]'] == ["get", None, None]


def test_a_declared_field_costs_no_pass_of_its_own() -> None:
    batch = Batch([GOOD])
    batch.project(Projection(["verb"], ["new"]))
    assert batch["verb"] == ["get"]
    batch["new"] = [1]
    del batch["new"]
    assert batch.encoded() == [GOOD]
    assert batch.undeclared == set()
    assert batch["n"] == [1]
    assert batch.undeclared == {"n"}


def test_a_column_reads_back_as_it_was_written() -> None:
    batch = Batch([GOOD, GOOD])
    batch["n"] = [7, None]
    assert batch["n"] == [7, None]
    assert batch.encoded() == [GOOD.replace(b":1}", b":7}"), GOOD.replace(b',"n":1', b"")]


def test_rows_that_a_column_leaves_alone_read_from_their_bytes() -> None:
    batch = Batch([GOOD, b'{"x":1}'])
    del batch["n"]
    assert batch["n"] == [None, None]
    batch["verb"] = [UNCHANGED, "list"]
    assert batch["verb"] == ["get", "list"]
    assert batch.encoded() == [b'{"verb":"get","objectRef":{"namespace":"default"}}', b'{"x":1,"verb":"list"}']
    assert repr(UNCHANGED) == "UNCHANGED"


def test_setting_none_where_nothing_is_changes_nothing() -> None:
    batch = Batch([b'{ "a" : 1 }'])
    batch["b"] = [None]
    batch["c.d"] = [None]
    assert batch.encoded() == [b'{ "a" : 1 }']


def test_a_field_that_is_null_can_be_deleted() -> None:
    batch = Batch([b'{"a":null,"b":1}'])
    assert batch["a"] == [None]
    del batch["a"]
    assert batch.encoded() == [b'{"b":1}']


def test_deleting_an_object_takes_away_what_was_set_inside() -> None:
    batch = Batch([b"{}", b'{"a":{"x":1}}'])
    batch["a.b"] = [1, 2]
    del batch["a"]
    assert [json.loads(line) for line in batch.encoded()] == [{}, {}]


def test_a_field_set_inside_an_object_is_seen_in_the_object_and_the_other_way_round() -> None:
    batch = Batch([GOOD])
    batch["objectRef.name"] = ["web"]
    assert batch["objectRef"] == [{"namespace": "default", "name": "web"}]
    batch["objectRef"] = [{"namespace": "other"}]
    assert batch["objectRef.namespace"] == ["other"]


def test_two_spellings_of_a_field_are_one_field() -> None:
    batch = Batch([GOOD])
    batch["n"] = [5]
    assert batch['["n"]'] == [5]
    batch['["n"]'] = [6]
    assert batch["n"] == [6]
    assert batch.encoded() == [GOOD.replace(b":1}", b":6}")]


def test_fields_beside_each_other_do_not_disturb_each_other() -> None:
    batch = Batch([b"{}"])
    batch["a.b"] = [1]
    batch["a.c"] = [2]
    del batch["a.b"]
    assert batch.encoded() == [b'{"a":{"c":2}}']


def test_encoded_follows_every_later_change() -> None:
    batch = Batch([b"{}"])
    batch["a"] = [1]
    assert batch.encoded() == batch.encoded() == [b'{"a":1}']
    batch["a"] = [2]
    assert batch.encoded() == [b'{"a":2}']
    del batch["a"]
    assert batch.encoded() == [b"{}"]


def test_a_value_that_json_cannot_hold_rejects_its_event_alone() -> None:
    batch = Batch([b'{"a":0}', b'{"a":1}'])
    batch["b"] = [float("inf"), 1.5]
    batch.encoded()
    (reject,) = batch.settle()
    assert reject.line == b'{"a":0}'
    assert reject.reason.startswith("cannot change b: value cannot be written as JSON")
    assert batch.encoded() == [b'{"a":1,"b":1.5}']


def test_a_column_of_the_wrong_length_is_refused() -> None:
    batch = Batch([b"{}"])
    with pytest.raises(ValueError, match="2 values for a in a batch of 1 events"):
        batch["a"] = [1, 2]
    with pytest.raises(ValueError, match="a mask of 0 for a batch of 1 events"):
        batch.keep([])


def test_a_name_that_is_no_field_is_refused() -> None:
    batch = Batch([b"{}"])
    for use in (lambda: batch["a..b"], lambda: batch.__setitem__("a..b", [1]), lambda: batch.__delitem__("a..b")):
        with pytest.raises(ValueError, match="is not a field name"):
            use()


@pytest.mark.parametrize("index", [-1, 1])
def test_rejecting_an_event_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match=f"no event {index} in a batch of 1"):
        Batch([b"{}"]).reject(index, "reason")


@pytest.mark.parametrize("in_place", [True, False])
def test_a_reject_has_the_tag_that_was_read(in_place: bool) -> None:
    batch = Batch([b"{}", b"{}", b"{}"], tag="read")
    batch.tags[1] = "of the source"
    batch.project(Projection())
    if in_place:
        batch.tags[:] = ["new"] * 3
    else:
        batch.tags = ["new"] * 3
    batch.keep([False, True, True])
    part = batch.part([True, False])
    part.reject(0, "by a part")
    batch.reject(1, "by the whole")
    assert [reject.tag for reject in [*part.settle(), *batch.settle()]] == ["of the source", "read"]


def test_a_reject_has_the_bytes_and_the_place_that_were_read() -> None:
    lines = [b'{"n":%d}' % number for number in (1, 22, 333, 4444)]
    batch = Batch(list(lines), tag="t", offset=1000, origin={"path": "a.log"})
    batch.keep([False, True, True, True])
    batch["n"] = [0, 0, 0]
    batch.tags[2] = "other"
    batch.reject(2, "first")
    batch.reject(2, "second")
    batch.reject(0, "reason")
    assert batch.settle() == [
        (lines[1], "reason", "t", {"path": "a.log"}, 1000 + 8, "filter"),
        (lines[3], "first", "t", {"path": "a.log"}, 1000 + 8 + 9 + 10, "filter"),
    ]
    assert batch.settle() == []
    assert batch.encoded() == [b'{"n":0}']


def test_an_event_that_is_both_rejected_and_dropped_is_rejected() -> None:
    batch = Batch([b"{}", b'{"a":1}'])
    batch.reject(0, "reason")
    batch.keep([False, False])
    assert [reject.line for reject in batch.settle()] == [b"{}"]
    assert len(batch) == 0


def test_rejecting_every_line_of_a_large_batch_takes_no_square_time() -> None:
    batch = Batch([b"x"] * 200_000)
    batch.project(Projection(["a"]))
    assert [reject.offset for reject in batch.settle()] == list(range(0, 400_000, 2))


def test_keep_keeps_columns_and_bytes_together() -> None:
    batch = Batch([b'{"n":%d}' % number for number in range(4)])
    assert batch["n"] == [0, 1, 2, 3]
    batch["m"] = ["a", "b", "c", "d"]
    batch.encoded()
    batch.keep([True, True, True, True])
    batch.keep([False, True, False, True])
    assert (batch["n"], batch["m"], batch.tags) == ([1, 3], ["b", "d"], ["", ""])
    assert batch.encoded() == [b'{"n":1,"m":"b"}', b'{"n":3,"m":"d"}']


def test_an_event_whose_record_comes_back_equal_keeps_its_bytes() -> None:
    lines = [b'{ "a" : 1.10, "a" : 1.10 }', b'{"x":1e400}', b'{"x":"\xff"}', b'{"x":18446744073709551616}\r']
    batch = Batch(lines)
    records = batch.records()
    for index, record in enumerate(records):
        records[index] = dict(record)
    assert batch.encoded() == lines


def test_an_event_whose_record_changed_is_encoded_anew() -> None:
    batch = Batch([b'{"a":1.10,"b":[]}', b'{"a":1.10}'])
    batch.records()[0]["b"] = [True, None, "é"]
    assert batch["b"] == [[True, None, "é"], None]
    assert batch.encoded() == ['{"a":1.1,"b":[true,null,"é"]}'.encode(), b'{"a":1.10}']


@pytest.mark.parametrize(
    ("line", "value", "after"),
    [
        (b'{"a":1e400}', None, b'{"a":null}'),
        (b'{"a":1}', 1.0, b'{"a":1.0}'),
        (b'{"a":1}', True, b'{"a":true}'),
        (b'{"a":"\\udcff"}', "\ud800", b'{"a":"\\ud800"}'),
        (b'{"a":null}', {}, b'{"a":{}}'),
    ],
)
def test_every_change_of_a_record_is_noticed(line: bytes, value: Any, after: bytes) -> None:
    batch = Batch([line])
    batch.records()[0]["a"] = value
    assert batch.encoded() == [after]


@pytest.mark.parametrize("value", [float("inf"), object()])
def test_a_record_that_json_cannot_hold_rejects_its_event_alone(value: object) -> None:
    batch = Batch([b'{"a":0}', b'{"a":1}'])
    batch.records()[0]["a"] = value
    batch.encoded()
    assert [reject.line for reject in batch.settle()] == [b'{"a":0}']
    assert batch.encoded() == [b'{"a":1}']


def test_a_record_nested_without_end_rejects_its_event_alone() -> None:
    batch = Batch([b'{"a":0}', b'{"a":1}'])
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    batch.records()[0]["a"] = value
    batch.encoded()
    assert [reject.line for reject in batch.settle()] == [b'{"a":0}']


@pytest.mark.parametrize("depth", range(100, 1100, 7))
def test_at_no_depth_is_a_record_read_that_cannot_be_compared(depth: int) -> None:
    batch = Batch([b'{"a":' + b"[" * depth + b"]" * depth + b"}", b'{"a":1}'])
    batch.records()[1]["a"] = 2
    batch.encoded()
    assert len(batch.settle()) + len(batch) == 2
    assert batch.encoded()[-1] == b'{"a":2}'


def test_records_see_the_columns_and_columns_the_records() -> None:
    batch = Batch([b'{"a":1}'])
    batch["b"] = [2]
    assert batch.records() == [{"a": 1, "b": 2}]
    assert batch.records() is batch.records()
    batch.records()[0]["c"] = 3
    del batch["a"]
    assert batch.encoded() == [b'{"b":2,"c":3}']


def test_keep_keeps_edited_records() -> None:
    batch = Batch([b'{"a":%d}' % number for number in range(3)])
    batch.records()[2]["b"] = 1
    batch.keep([False, True, True])
    assert batch.encoded() == [b'{"a":1}', b'{"a":2,"b":1}']


def test_adding_a_record_to_the_list_is_refused() -> None:
    batch = Batch([b"{}"])
    batch.records().append({})
    with pytest.raises(ValueError, match="zip"):
        batch.encoded()


def test_a_part_is_a_batch_of_its_own() -> None:
    batch = Batch([b'{"n":%d}' % number for number in range(4)], tag="t", position={"p": 1})
    batch.project(Projection(["n"]))
    batch["m"] = [1, 2, 3, 4]
    part = batch.part([False, True, False, True])
    part["m"] = [20, 40]
    part["n"] = [0, 0]
    part.tags[0] = "other"
    part.keep([True, False])
    assert part.encoded() == [b'{"n":0,"m":20}']
    assert (part.tags, part.position) == (["other"], {"p": 1})
    assert (batch["m"], batch["n"], batch.tags) == ([1, 2, 3, 4], [0, 1, 2, 3], ["t"] * 4)


def test_parts_rejoin_in_the_order_of_reading() -> None:
    batch = Batch([b'{"n":%d}' % number for number in range(5)], tag="t")
    batch["old"] = [0, 1, 2, 3, 4]
    even, odd = batch.part([True, False, True, False, True]), batch.part([False, True, False, True, False])
    even["new"] = ["a", "b", "c"]
    even.keep([True, False, True])
    odd.tags[1] = "three"
    odd.records()[1]["n"] = 33
    odd.reject(0, "reason")
    batch.rejoin([odd, even])
    assert batch.encoded() == [b'{"n":0,"old":0,"new":"a"}', b'{"n":33,"old":3}', b'{"n":4,"old":4,"new":"c"}']
    assert batch.tags == ["t", "three", "t"]
    assert [(reject.line, reject.offset) for reject in batch.settle()] == [(b'{"n":1}', 8)]


def test_parts_whose_changes_overlap_rejoin() -> None:
    batch = Batch([b"{}", b"{}"])
    first, second = batch.part([True, False]), batch.part([False, True])
    first["a"] = [1]
    second["a.b"] = [2]
    batch.rejoin([first, second])
    assert batch["a"] == [1, {"b": 2}]
    assert batch.encoded() == [b'{"a":1}', b'{"a":{"b":2}}']


def test_a_reject_from_before_the_split_finds_its_event_after_the_rejoin() -> None:
    batch = Batch([b'{"n":%d}' % number for number in range(4)])
    batch.records()[2]["n"] = float("inf")  # noticed only when the bytes are needed: at the split
    first, second = batch.part([True, True, False, False]), batch.part([False, False, True, True])
    first.keep([False, True])
    batch.rejoin([first, second])
    assert [reject.line for reject in batch.settle()] == [b'{"n":2}']
    assert batch.encoded() == [b'{"n":1}', b'{"n":3}']


def test_what_a_part_used_undeclared_is_known_after_the_rejoin() -> None:
    batch = Batch([b"{}"])
    part = batch.part([True])
    assert part["x"] == [None]
    batch.rejoin([part])
    assert batch.undeclared == {"x"}


def test_an_empty_batch_does_everything_and_stays_empty() -> None:
    batch = Batch([])
    batch.project(Projection(["a"]))
    assert [batch["a"], batch.records(), batch.encoded(), batch.settle()] == [[], [], [], []]
    batch["a"] = []
    del batch["a"]
    batch.rejoin([batch.part([])])
    assert (len(batch), batch.encoded()) == (0, [])


def test_a_batch_says_where_it_comes_from() -> None:
    assert repr(Batch([b"{}"], origin={"path": "a.log"}, offset=7)) == "<Batch of 1 events from {'path': 'a.log'} at 7>"


def test_json_goes_into_the_bytes_as_it_is_and_is_read_as_values() -> None:
    batch = Batch([GOOD, b'{"a":{"b":2}}', b'{"a":3}'])
    batch.project(Projection(["a.b"], ["a", "n"]))
    batch["n"] = [7, None, None]
    batch["a"] = [msgspec.Raw(b'{"b":1.10}'), UNCHANGED, msgspec.Raw(b"[1e2]")]
    assert batch["a.b"] == [1.1, 2, None]
    assert batch["a"] == [{"b": 1.1}, {"b": 2}, [100.0]]
    assert batch["n"] == [7, None, None]
    assert batch.encoded() == [GOOD.replace(b'"n":1', b'"n":7,"a":{"b":1.10}'), b'{"a":{"b":2}}', b'{"a":[1e2]}']


def test_several_keys_of_one_event_change_at_once_and_nothing_else_does() -> None:
    lines = [
        b'{"a":1.10, "b":2,"c":3,"a":1e2} ',
        b'{"b":1.10}',
        b'{"a":0,"b":0,"d":1.10}',
        b'\xef\xbb\xbf{"a":1,"b":1}',
        b"{ }",
    ]
    batch = Batch(lines)
    batch.project(Projection([], ["a", "b", "e"]))
    batch["a"] = [None, 1, "x", UNCHANGED, UNCHANGED]
    batch["b"] = [UNCHANGED, None, float("inf"), None, UNCHANGED]
    batch["e"] = ["e", None, None, None, UNCHANGED]
    assert [batch.encoded()[index] for index in (0, 1, 4)] == [b'{"b":2,"c":3,"e":"e"} ', b'{"a":1}', b"{ }"]
    reasons = [(reject.line, reject.reason.split(":")[0]) for reject in batch.settle()]
    assert reasons == [(lines[2], "cannot change b"), (lines[3], "cannot change b")]
    assert batch.encoded() == [b'{"b":2,"c":3,"e":"e"} ', b'{"a":1}', b"{ }"]
