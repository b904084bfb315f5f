"""The checkpoint: where a pipeline stands, stored so that no crash and no bad block can make it start afresh.

The rules:

* The file is replaced, never changed: written aside, fsynced, renamed, the directory fsynced. The rename is the
  commit point of the whole pipeline.
* The generation before stays as `checkpoint.previous.json`. Falling back to it is exact: whatever was appended
  since then went to files whose length it holds, and its source position has not been given up.
* A checksum covers the content. A damaged file is put aside, reported, and the previous one is used; if that is
  damaged too, the pipeline refuses to start. It never takes damage for a first start.
* What a running pipeline left there is known. If it is removed, it is written again; if it is another one, the
  pipeline refuses to go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tailrace.batch import Position
from tailrace.context import Context
from tailrace.durable import make_directories, replace_file, sync_directory
from tailrace.stage import Damaged

FORMAT = 1
CURRENT = "checkpoint.json"
PREVIOUS = "checkpoint.previous.json"


class State(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a checkpoint holds: a counter, and the merged positions of the source and of each sink by name.

    And, likewise, what those filters have to remember that say so.
    """

    generation: int = 0
    source: dict[str, Any] | None = None
    sinks: dict[str, dict[str, Any]] = {}
    filters: dict[str, dict[str, Any]] = {}

    def advanced(
        self, source: Position, sinks: Mapping[str, Position], filters: Mapping[str, Position] | None = None
    ) -> State:
        """Give the state that follows when these deltas are merged in; filters that are not named are forgotten."""
        return State(
            generation=self.generation + 1,
            source=merge(self.source or {}, source) if source else self.source,  # None stays a first start
            sinks=self.sinks | {name: merge(self.sinks.get(name, {}), delta) for name, delta in sinks.items()},
            filters=self.filters
            if filters is None
            else {name: merge(self.filters.get(name, {}), delta) for name, delta in filters.items()},
        )


def merge(position: Position, delta: Position) -> dict[str, Any]:
    """Lay a delta over a position: later keys replace earlier ones, None removes."""
    merged = {**position, **delta}
    return {key: value for key, value in merged.items() if value is not None} if None in delta.values() else merged


class Checkpoint:
    """The stored state of one pipeline."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.path = context.state_dir / CURRENT
        self.previous = context.state_dir / PREVIOUS
        self._known: State | None = None  # what was loaded or saved last

    def load(self) -> State | None:
        """Read the newest whole generation; None if there never was one.

        Raises Damaged if none is whole, or if it is not what this object has left there.
        """
        self.restore()
        known, found = self._known, self._read()
        if known is not None and found is not None and abs(found.generation - known.generation) > 1:
            raise Damaged(
                f"{self.path} was exchanged while its pipeline ran: it is of generation {found.generation}, and "
                f"{known.generation} was left there; end whoever else writes it, or restore it, and start again"
            )
        self._known = found
        return found

    def restore(self) -> None:
        """Write what this object knows to have been there, if it was removed."""
        if self._known is None or self.path.exists() or self.previous.exists():
            return
        self.save(self._known)
        self._context.log.error(
            "the checkpoint was removed while its pipeline ran; it was written again and nothing is lost by that",
            extra={"path": str(self.path)},
        )

    def _read(self) -> State | None:
        damage: list[str] = []
        for generation in generations(self._context.state_dir):
            if generation.state is not None:
                if damage:
                    self._put_aside(damage[0])
                return generation.state
            damage.append(f"{generation.path}: {generation.damage}")
        if damage:
            raise Damaged(
                f"the checkpoint cannot be read ({'; '.join(damage)}) and there is no whole one before it; restore "
                f"{self.path} from a backup, or move it away to start from the beginning, which repeats events"
            )
        return None

    def save(self, state: State) -> None:
        """Store `state` durably in place of the present one, which becomes the previous one."""
        make_directories(self._context.disk, str(self.path.parent))  # it may have been removed meanwhile
        replace_file(self._context.disk, self.path, encode(state), previous=self.previous)
        self._known = state

    def put_aside(self, path: Path) -> Path:
        """Move a damaged file away, for else the next save would make it the previous generation; say where it is."""
        aside = path.with_name(f"checkpoint.damaged-{int(self._context.clock.time())}.json")
        self._context.disk.rename(str(path), str(aside))
        sync_directory(self._context.disk, str(path.parent))
        return aside

    def _put_aside(self, damage: str) -> None:
        aside = self.put_aside(self.path)
        self._context.log.error(
            "checkpoint is damaged; the generation before it is used and nothing is lost by that",
            extra={"damage": damage, "kept_as": str(aside)},
        )


class Generation(NamedTuple):
    """A stored checkpoint: its state, or what is wrong with it."""

    path: Path
    saved: float  # seconds since the epoch
    state: State | None
    damage: str = ""


def generations(directory: Path) -> Iterator[Generation]:
    """Read the checkpoints in a pipeline's directory, the newest first. Changes nothing; raises OSError."""
    for path in (directory / CURRENT, directory / PREVIOUS):
        try:
            saved = path.stat().st_mtime
            content = path.read_bytes()
        except FileNotFoundError:  # there is none, or it is being renamed just now
            continue
        try:
            yield Generation(path, saved, decode(content))
        except ValueError as error:
            yield Generation(path, saved, None, str(error))


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
