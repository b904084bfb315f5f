"""A batch against a plain model: dicts for what the events hold, flags for whose bytes must be what they were."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.batch import Batch
from tailrace.fields import Path, Projection, parse_field
from tailrace.reject import Reject

FIELDS = ["a", "b", "o", "o.x", "o.y", "o.y.z", "n.m"]
KEYS = ["a", "b", "o", "new"]

SCALARS = st.none() | st.booleans() | st.integers(-3, 2**66) | st.sampled_from([0.5, 1e100]) | st.text(max_size=3)
OBJECTS = st.dictionaries(st.sampled_from(["x", "y", "z"]), SCALARS, max_size=3)
VALUES = SCALARS | OBJECTS | st.lists(SCALARS, max_size=2) | st.fixed_dictionaries({"y": OBJECTS})
RECORDS = st.dictionaries(st.sampled_from(["a", "b", "o", "other"]), VALUES, max_size=4)
GOOD_LINES = st.builds(
    lambda record, separators, ascii_only, ending: (
        json.dumps(record, separators=separators, ensure_ascii=ascii_only).encode() + ending
    ),
    RECORDS,
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")]),
    st.booleans(),
    st.sampled_from([b"", b"\r", b" "]),
) | st.sampled_from([b'{"a":1,"a":2}', b'{"o":{"x":1},"o":{"y":1.10}}', b"{ }", b'{"\\u0061":-0,"b":1E2}'])
POISON_LINES = st.sampled_from(
    [
        b'{"a":"\\ud800","o":{"x":1}}',
        b'{"a":"\xff"}',
        b'{"a":1e400,"o":{"y":{"z":-1e999}}}',
        b'\xef\xbb\xbf{"b":1}',
        b'{"\\udfff":1,"o":[]}',
        b'{"a":1,"b":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'\0{"a":1}',
        b'{"a":1,"b":"tr',
        b'{"b":NaN}',
        b"[]",
        b"}",
        b"",
    ]
)


@dataclass
class Row:
    """What one event should be."""

    number: int
    line: bytes
    own: dict[str, Any]  # what its bytes hold
    poisoned: bool
    changes: dict[str, Any] = field(default_factory=dict)  # what lies beside them; None takes away
    touched: bool = False  # its bytes may be others by now

    def view(self) -> dict[str, Any]:
        record: dict[str, Any] = copy(self.own)
        for name, value in self.changes.items():
            put(record, parse_field(name), value)
        return record

    def write_changes(self) -> None:
        self.own, self.touched = self.view(), self.touched or bool(self.changes)
        self.changes = {}


@dataclass
class Model:
    rows: list[Row]
    fields: set[str] = field(default_factory=set)  # with changes beside the bytes

    def disentangle(self, name: str) -> None:
        path = parse_field(name)
        for other in self.fields - {name}:
            shared = min(len(path), len(parse_field(other)))
            if path[:shared] == parse_field(other)[:shared]:
                return self.write_changes()
        return None

    def write_changes(self) -> None:
        self.fields = set()
        for row in self.rows:
            row.write_changes()

    def change(self, name: str, values: list[Any]) -> None:
        self.disentangle(name)
        self.fields.add(name)
        for row, value in zip(self.rows, values, strict=True):
            row.changes.pop(name, None)
            if value is not None or look_up(row.own, parse_field(name))[1]:
                row.changes[name] = value

    def delete(self, name: str) -> None:
        self.change(name, [None] * len(self.rows))
        if not any(name in row.changes for row in self.rows):
            self.fields.discard(name)


def copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: copy(each) for key, each in value.items()}
    return value


def look_up(record: Any, path: Path) -> tuple[Any, bool]:
    for key in path:
        if not isinstance(record, dict) or key not in record:
            return None, False
        record = record[key]
    return record, True


def put(record: dict[str, Any], path: Path, value: Any) -> None:
    if value is None and not look_up(record, path)[1]:
        return
    for key in path[:-1]:
        if not isinstance(record.get(key), dict):
            record[key] = {}
        record = record[key]
    if value is None:
        del record[path[-1]]
    else:
        record[path[-1]] = value


def exact(value: Any) -> str:
    """Text by which 1, 1.0 and true differ."""
    return json.dumps(value)


def read(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


class Run:
    """One batch, its model, and random steps taken by both."""

    def __init__(self, data: st.DataObject, lines: list[bytes]) -> None:
        self.data = data
        self.lines = lines
        self.rejected: dict[int, bytes] = {}

    def values(self, rows: list[Row]) -> list[Any]:
        return [self.data.draw(VALUES) for _ in rows]

    def mask(self, rows: list[Row]) -> list[bool]:
        return [self.data.draw(st.booleans()) for _ in rows]

    def step(self, batch: Batch, model: Model, splitting: bool = True) -> None:
        steps = ["get", "set", "delete", "keep", "reject", "replace", "settle", "encode", "records"]
        kind = self.data.draw(st.sampled_from([*steps, "split"] if splitting else steps))
        name = self.data.draw(st.sampled_from(FIELDS))
        if kind == "get":
            model.disentangle(name)
            path = parse_field(name)
            for row, value in zip(model.rows, batch[name], strict=True):
                if not row.poisoned:
                    assert exact(value) == exact(look_up(row.view(), path)[0])
        elif kind == "set":
            values = self.values(model.rows)
            batch[name] = values
            model.change(name, values)
        elif kind == "delete":
            del batch[name]
            model.delete(name)
        elif kind == "keep":
            mask = self.mask(model.rows)
            batch.keep(mask)
            model.rows = [row for row, kept in zip(model.rows, mask, strict=True) if kept]
            self.take(batch, model)
        elif kind == "reject":
            if model.rows:
                index = self.data.draw(st.integers(0, len(model.rows) - 1))
                batch.reject(index, "told to")
                model.rows[index].poisoned = True
        elif kind == "settle":
            self.take(batch, model)
        elif kind == "encode":
            assert len(batch.encoded()) == len(model.rows)
        else:
            {"records": self.edit_records, "replace": self.replace_lines, "split": self.split}[kind](batch, model)

    def edit_records(self, batch: Batch, model: Model) -> None:
        model.write_changes()
        for row, record in zip(model.rows, batch.records(), strict=True):
            before = exact(record)
            key = self.data.draw(st.sampled_from(KEYS))
            if self.data.draw(st.booleans()):
                record[key] = self.data.draw(VALUES)
            elif self.data.draw(st.booleans()):
                record.pop(key, None)
            if exact(record) != before:
                row.touched = True
            if not row.poisoned:
                row.own = copy(record)

    def replace_lines(self, batch: Batch, model: Model) -> None:
        model_rows = list(zip(model.rows, batch.encoded(), strict=True))
        lines = {}
        for index, (row, line) in enumerate(model_rows):
            if not row.poisoned and self.data.draw(st.booleans()):
                assert json.loads(line) == row.view()
                row.own, row.changes, row.touched = self.data.draw(RECORDS), {}, True
                lines[index] = json.dumps(row.own).encode()
        batch.replace(lines)

    def split(self, batch: Batch, model: Model) -> None:
        mask = self.mask(model.rows)
        parts, models = [], []
        for side in (True, False):
            chosen = [here is side for here in mask]
            parts.append(batch.part(chosen))
            rows = [
                replace(row, changes=dict(row.changes)) for row, here in zip(model.rows, chosen, strict=True) if here
            ]
            models.append(Model(rows, set(model.fields)))
        for part, part_model in zip(parts, models, strict=True):
            for _ in range(self.data.draw(st.integers(0, 3))):
                self.step(part, part_model, splitting=False)
        batch.rejoin(parts)
        model.rows = sorted((row for each in models for row in each.rows), key=lambda row: row.number)
        model.fields = {name for each in models for name in each.fields}
        self.take(batch, model)

    def take(self, batch: Batch, model: Model) -> None:
        """Settle; only what was told to go, or is poisoned, may be rejected, and with the bytes that were read."""
        for reject in batch.settle():
            number = self.check(reject)
            self.rejected[number] = reject.line
        for row in model.rows:
            assert row.poisoned or row.number not in self.rejected
        model.rows = [row for row in model.rows if row.number not in self.rejected]
        assert len(batch) == len(model.rows)

    def check(self, reject: Reject) -> int:
        starts = {100 + sum(map(len, self.lines[:n])) + n: n for n in range(len(self.lines))}
        number = starts[reject.offset]
        assert reject.line == self.lines[number]
        assert number not in self.rejected
        assert reject.tag == f"t{number}"
        return number


@settings(max_examples=300)
@given(
    data=st.data(),
    events=st.lists(st.tuples(GOOD_LINES, st.just(False)) | st.tuples(POISON_LINES, st.just(True)), max_size=5),
    values=st.lists(st.sampled_from(FIELDS), max_size=3),
    presence=st.lists(st.sampled_from(FIELDS), max_size=3),
)
def test_batch_does_what_plain_records_would_and_leaves_the_other_bytes_alone(
    data: st.DataObject, events: list[tuple[bytes, bool]], values: list[str], presence: list[str]
) -> None:
    lines = [line for line, _ in events]
    model = Model([Row(number, line, read(line), poisoned) for number, (line, poisoned) in enumerate(events)])
    run = Run(data, lines)
    batch = Batch(list(lines), offset=100)
    batch.tags = [f"t{number}" for number in range(len(lines))]
    batch.project(Projection(values, presence))
    for _ in range(data.draw(st.integers(0, 10))):
        run.step(batch, model)
    batch.encoded()
    run.take(batch, model)
    assert batch.tags == [f"t{row.number}" for row in model.rows]
    for row, line in zip(model.rows, batch.encoded(), strict=True):
        if not row.touched and not row.changes:
            assert line == row.line
        elif not row.poisoned:
            assert json.loads(line) == row.view()
