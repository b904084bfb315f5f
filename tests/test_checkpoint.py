"""The checkpoint: no crash and no bad block may make a pipeline start afresh, or half."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.checkpoint import Checkpoint, State, decode, encode, merge, pipelines
from tailrace.context import Clock, Context
from tailrace.durable import Disk
from tailrace.faults import Crash, FaultyDisk
from tailrace.stage import Damaged

JSON = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
POSITIONS = st.dictionaries(st.text(max_size=4), JSON, max_size=3)


class FixedClock(Clock):
    def time(self) -> float:
        return 1_700_000_000.5


def checkpoint(directory: Path, disk: Disk | None = None) -> Checkpoint:
    return Checkpoint(Context(pipeline="t", state_dir=directory, disk=disk or Disk(), clock=FixedClock()))


def state(generation: int) -> State:
    return State(generation=generation, source={"offset": generation * 100}, sinks={"file": {"/out/a": generation}})


def test_there_is_no_checkpoint_at_a_first_start(tmp_path: Path) -> None:
    assert checkpoint(tmp_path).load() is None


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    for generation in (1, 2, 3):
        checkpoint(tmp_path).save(state(generation))
        assert checkpoint(tmp_path).load() == state(generation)
    assert decode(checkpoint(tmp_path).previous.read_bytes()) == state(2)


@given(st.none() | POSITIONS, st.dictionaries(st.text(max_size=4), POSITIONS, max_size=2))
def test_every_state_survives_encoding(source: dict[str, Any] | None, sinks: dict[str, dict[str, Any]]) -> None:
    made = State(generation=3, source=source, sinks=sinks)
    assert decode(encode(made)) == made


def test_state_is_readable_for_people(tmp_path: Path) -> None:
    checkpoint(tmp_path).save(state(1))
    header, content = map(json.loads, checkpoint(tmp_path).path.read_text().splitlines())
    assert header["tailrace_checkpoint"] == 1
    assert content == {"generation": 1, "source": {"offset": 100}, "sinks": {"file": {"/out/a": 1}}, "filters": {}}


def test_what_filters_remember_is_merged_for_each_and_forgotten_with_the_filter() -> None:
    first = State().advanced({}, {}, {"a": {"x": 1, "y": 2}, "b": {"x": 1}})
    assert first.filters == {"a": {"x": 1, "y": 2}, "b": {"x": 1}}
    assert first.advanced({}, {}).filters == first.filters
    assert first.advanced({}, {}, {"a": {"x": None, "z": 3}}).filters == {"a": {"y": 2, "z": 3}}


def test_a_checkpoint_of_before_filters_remembered_anything_can_be_read() -> None:
    content = b'{"generation":3,"source":null,"sinks":{}}'
    header = json.dumps({"tailrace_checkpoint": 1, "sha256": hashlib.sha256(content).hexdigest()}).encode()
    assert decode(header + b"\n" + content + b"\n") == State(generation=3)


def test_deltas_are_merged_key_by_key() -> None:
    assert merge({"a": 1, "b": {"x": 1}}, {"b": {"y": 2}, "c": 3}) == {"a": 1, "b": {"y": 2}, "c": 3}
    assert merge({"a": 1, "b": 2}, {"a": None, "c": None, "b": 3}) == {"b": 3}


def test_a_state_advances_by_deltas_and_stays_itself() -> None:
    first = State()
    second = first.advanced({"a.log": 10}, {"file": {"x": 0}})
    third = second.advanced({"b.log": 5}, {"file": {"x": 7}, "other": {"y": 1}})
    fourth = third.advanced({"a.log": None}, {"file": {"x": None}})
    assert first == State()
    assert second == State(generation=1, source={"a.log": 10}, sinks={"file": {"x": 0}})
    assert third == State(generation=2, source={"a.log": 10, "b.log": 5}, sinks={"file": {"x": 7}, "other": {"y": 1}})
    assert fourth == State(generation=3, source={"b.log": 5}, sinks={"file": {}, "other": {"y": 1}})


def test_every_flipped_bit_is_noticed() -> None:
    data = encode(state(7))
    for index in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[index] ^= 1 << bit
            with pytest.raises(ValueError, match=r"header|format|checksum"):
                decode(bytes(flipped))


@given(st.binary(max_size=400))
def test_garbage_is_never_a_state(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|format|checksum"):
        decode(data)


def test_every_lost_tail_is_noticed() -> None:
    data = encode(state(7))
    for length in range(len(data) - 1):  # the last newline carries nothing
        with pytest.raises(ValueError, match=r"header|format|checksum"):
            decode(data[:length])


def test_another_format_is_named() -> None:
    data = encode(state(7)).replace(b'"tailrace_checkpoint":1', b'"tailrace_checkpoint":2')
    with pytest.raises(ValueError, match="format 2 is not 1, the one this version reads"):
        decode(data)


def test_whole_content_of_another_shape_is_damage_and_no_bug(tmp_path: Path) -> None:
    class Other(State, kw_only=True):
        extra: int = 1

    data = encode(Other(generation=1))
    with pytest.raises(ValueError, match=r"not as this version writes it: .*extra"):
        decode(data)
    checkpoint(tmp_path).path.write_bytes(data)
    with pytest.raises(Damaged, match=r"checkpoint\.json: it is whole, but not as this version writes it"):
        checkpoint(tmp_path).load()


@pytest.mark.parametrize("damage", [b"", b"\0" * 300, b"{}\n{}\n"])
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    made = checkpoint(tmp_path)
    made.save(state(1))
    made.save(state(2))
    made.path.write_bytes(damage)
    with caplog.at_level(logging.ERROR):
        assert checkpoint(tmp_path).load() == state(1)
    (record,) = caplog.records
    aside = tmp_path / "checkpoint.damaged-1700000000.json"
    assert record.name == "tailrace.t"
    assert record.__dict__["kept_as"] == str(aside)
    assert str(made.path) in record.__dict__["damage"]
    assert aside.read_bytes() == damage
    assert checkpoint(tmp_path).load() == state(1)
    made.save(state(2))
    assert made.load() == state(2)
    assert decode(made.previous.read_bytes()) == state(1)


def test_a_missing_checkpoint_is_made_up_for_by_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = checkpoint(tmp_path)
    made.save(state(1))
    made.save(state(2))
    made.path.unlink()
    assert checkpoint(tmp_path).load() == state(1)
    assert caplog.records == []


@pytest.mark.parametrize("has_previous", [True, False])
@pytest.mark.parametrize("has_current", [True, False])
def test_damage_without_a_whole_generation_is_no_first_start(
    tmp_path: Path, has_current: bool, has_previous: bool
) -> None:
    made = checkpoint(tmp_path)
    if has_current:
        made.path.write_bytes(b"bad")
    if has_previous:
        made.previous.write_bytes(b"bad")
    if not (has_current or has_previous):
        assert made.load() is None
        return
    with pytest.raises(Damaged, match=r"there is no whole one before it; restore .* from a backup") as caught:
        made.load()
    assert (str(made.path) + ": the first line is not a checkpoint header" in str(caught.value)) is has_current
    assert (str(made.previous) + ": the first line is not" in str(caught.value)) is has_previous


@pytest.mark.parametrize("power_cut", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_a_crash_at_every_operation_of_a_save_leaves_the_old_or_the_new_state(
    tmp_path: Path, seed: int, power_cut: bool
) -> None:
    found = set()
    for operation in range(1, 20):
        directory = tmp_path / str(operation)
        directory.mkdir()
        for generation in (1, 2):
            checkpoint(directory).save(state(generation))
        disk = FaultyDisk(operation, seed=seed)
        finished = False
        try:
            checkpoint(directory, disk).save(state(3))
            finished = True
        except Crash:
            pass
        if power_cut:
            disk.lose_unsynced()
        else:
            disk.die()
        loaded = checkpoint(directory).load()
        assert loaded in ([state(3)] if finished else [state(2), state(3)])
        assert loaded is not None
        found.add(loaded.generation)
        checkpoint(directory).save(state(4))
        assert checkpoint(directory).load() == state(4)
        if finished:
            break
    assert found == {2, 3}
    assert operation > 5


@pytest.mark.parametrize("seed", range(4))
def test_a_crash_while_damage_is_put_aside_loses_nothing(tmp_path: Path, seed: int) -> None:
    for operation in (1, 2, 3):
        directory = tmp_path / str(operation)
        directory.mkdir()
        made = checkpoint(directory)
        made.save(state(1))
        made.save(state(2))
        made.path.write_bytes(b"bad")
        disk = FaultyDisk(operation, seed=seed)
        try:
            checkpoint(directory, disk).load()
        except Crash:
            assert operation < 3
        disk.lose_unsynced()
        assert checkpoint(directory).load() == state(1)


@pytest.mark.parametrize("seed", range(8))
def test_damage_that_was_put_aside_stays_there_after_a_power_cut(tmp_path: Path, seed: int) -> None:
    made = checkpoint(tmp_path)
    made.save(state(1))
    made.save(state(2))
    made.path.write_bytes(b"bad")
    disk = FaultyDisk(seed=seed)
    checkpoint(tmp_path, disk).load()
    disk.lose_unsynced()
    assert not made.path.exists()


def test_pipelines_are_found_by_their_checkpoints(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        checkpoint(tmp_path / name).save(state(1))
    (tmp_path / "b" / "checkpoint.json").rename(tmp_path / "b" / "checkpoint.previous.json")
    (tmp_path / "empty").mkdir()
    assert pipelines(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert pipelines(tmp_path / "nowhere") == []


def test_positions_of_one_state_are_not_shared_with_another() -> None:
    State().sinks["x"] = {}
    assert State().sinks == {}


@pytest.mark.parametrize("other", [1, 3, 5, 7])
def test_checkpoint_that_somebody_else_put_there_is_refused(tmp_path: Path, other: int) -> None:
    ours = checkpoint(tmp_path)
    ours.save(state(4))
    checkpoint(tmp_path).save(state(other))
    if other in (3, 5):  # one that a failed commit has left, or not yet
        assert ours.load() == state(other)
    else:
        with pytest.raises(Damaged, match=rf"generation {other}, and 4 was left there"):
            ours.load()


def test_checkpoint_that_was_removed_is_written_again(tmp_path: Path) -> None:
    ours = checkpoint(tmp_path / "deep" / "state")
    ours.restore()  # nothing was there
    assert ours.load() is None
    ours.path.parent.mkdir(parents=True)
    ours.save(state(1))
    ours.save(state(2))
    ours.path.unlink()
    ours.restore()
    assert ours.load() == state(1)  # the generation before is exact too
    ours.previous.unlink()
    assert ours.load() == state(1)
    assert decode(ours.path.read_bytes()) == state(1)
