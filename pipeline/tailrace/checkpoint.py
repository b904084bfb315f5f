"""The checkpoint: where a pipeline stands, stored so that no crash and no bad block can make it start afresh.

The rules:

* The file is replaced, never changed: written aside, fsynced, renamed, the directory fsynced. The rename is the
  commit point of the whole pipeline.
* The generation before stays as `checkpoint.previous.json`. Falling back to it is exact: whatever was appended
  since then went to files whose length it holds, and its source position has not been given up.
* A checksum covers the content. A damaged file is put aside, reported, and the previous one is used; if that is
  damaged too, the pipeline refuses to start. It never takes damage for a first start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tailrace.batch import Position
from tailrace.context import Context
from tailrace.durable import replace_file, sync_directory
from tailrace.stage import Damaged

FORMAT = 1


class State(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a checkpoint holds: a counter, and the merged positions of the source and of each sink by name."""

    generation: int = 0
    source: dict[str, Any] | None = None
    sinks: dict[str, dict[str, Any]] = {}

    def advanced(self, source: Position, sinks: Mapping[str, Position]) -> State:
        """Give the state that follows when these deltas are merged in."""
        return State(
            generation=self.generation + 1,
            source=merge(self.source or {}, source) if source else self.source,  # None stays a first start
            sinks=self.sinks | {name: merge(self.sinks.get(name, {}), delta) for name, delta in sinks.items()},
        )


def merge(position: Position, delta: Position) -> dict[str, Any]:
    """Lay a delta over a position: later keys replace earlier ones, None removes."""
    merged = {**position, **delta}
    return {key: value for key, value in merged.items() if value is not None} if None in delta.values() else merged


class Checkpoint:
    """The stored state of one pipeline."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.path = context.state_dir / "checkpoint.json"
        self.previous = context.state_dir / "checkpoint.previous.json"

    def load(self) -> State | None:
        """Read the newest whole generation; None if there never was one. Raises Damaged if none is whole."""
        damage: list[str] = []
        for path in (self.path, self.previous):
            try:
                state = decode(path.read_bytes())
            except FileNotFoundError:
                continue
            except ValueError as error:
                damage.append(f"{path}: {error}")
                continue
            if damage:
                self._put_aside(damage[0])
            return state
        if damage:
            raise Damaged(
                f"the checkpoint cannot be read ({'; '.join(damage)}) and there is no whole one before it; restore "
                f"{self.path} from a backup, or move it away to start from the beginning, which repeats events"
            )
        return None

    def save(self, state: State) -> None:
        """Store `state` durably in place of the present one, which becomes the previous one."""
        replace_file(self._context.disk, self.path, encode(state), previous=self.previous)

    def _put_aside(self, damage: str) -> None:
        """Move the damaged file away, for else the next save would make it the previous generation."""
        aside = self.path.with_name(f"checkpoint.damaged-{int(self._context.clock.time())}.json")
        self._context.disk.rename(str(self.path), str(aside))
        sync_directory(self._context.disk, str(self.path.parent))
        self._context.log.error(
            "checkpoint is damaged; the generation before it is used and nothing is lost by that",
            extra={"damage": damage, "kept_as": str(aside)},
        )


def encode(state: State) -> bytes:
    """Write a state as two lines: a header with the checksum, and the content."""
    content = msgspec.json.encode(state)
    header = msgspec.json.encode({"tailrace_checkpoint": FORMAT, "sha256": hashlib.sha256(content).hexdigest()})
    return header + b"\n" + content + b"\n"


def decode(data: bytes) -> State:
    """Read what `encode` wrote; raises ValueError that says what is wrong with it."""
    header, _, content = data.partition(b"\n")
    content = content.removesuffix(b"\n")
    try:
        fields = msgspec.json.decode(header, type=dict[str, int | str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("the first line is not a checkpoint header") from None
    if fields.get("tailrace_checkpoint") != FORMAT:
        raise ValueError(f"format {fields.get('tailrace_checkpoint')} is not {FORMAT}, the one this version reads")
    if fields.get("sha256") != hashlib.sha256(content).hexdigest():
        raise ValueError("the checksum does not match the content")
    try:
        return msgspec.json.decode(content, type=State)
    except msgspec.ValidationError as error:
        raise ValueError(f"it is whole, but not as this version writes it: {error}") from None


def pipelines(state_dir: Path) -> list[Path]:
    """List the directories below a state directory that hold a checkpoint."""
    found = {path.parent for path in state_dir.glob("*/checkpoint*.json")}
    return sorted(found)
