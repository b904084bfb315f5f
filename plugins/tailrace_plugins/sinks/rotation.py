"""Rotation by size: one live file, renamed when the next event would make it too large, as lumberjack does it.

Exactly-once holds because a rename is never a part of writing: it is published after the commit, by a plan.

1. `prepare` knows what the commit will write. If that does not fit, it makes a plan: the names that the live file and
   the full ones after it will get. What the live file has no room for is written to hidden files,
   `.audit.log.tailrace-1` and so on; the last of them will be the live file. The plan, with the length that the live
   file has now, stands in both generations of the checkpoint before a byte is written, in place of that length.
2. `flush` appends and syncs as ever. The plan with the lengths that the files have then is the commit.
3. `commit` renames: the live file to the first name, then hidden files to theirs, last the one that becomes the live
   file. As long as that one is hidden, not all is done, and the live file's name is the old file's, if there is one.
4. The next `prepare` puts the live file's length in place of the plan, in both generations.

A crash finds a plan with lengths, and renames what is left to rename; or one without, and takes back what is there: it
removes the hidden files, gives the live file its name again (if a commit that was lost had renamed it) and cuts it to
its former length. What a plan names in either generation, nobody else touches: `Backups` spares it.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from tailrace import Context, Damaged, Ledger, Measure, OptionError, Position, Template
from tailrace.durable import sync_directory
from tailrace_plugins.sinks.backups import Backups
from tailrace_plugins.sinks.piles import Piles

MEGABYTE: Final = 1024 * 1024
PLAN: Final = "rotation"  # its key in the position
OPTIONS: Final = ("max_size", "max_age", "max_backup", "compress")


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    """Renames that a commit brings. All files lie in the directory of the live one."""

    length: int  # of the live file, before
    names: list[str]  # that the live file, and the full ones after it, get
    lengths: list[int] | None = None  # once they are committed: of all of these, and of the new live file


class Rotation:
    """Writes one file at `path`, and no more than `limit` bytes to it before it gets another name."""

    def __init__(self, path: str, limit: float, backups: Backups) -> None:
        self._live = path
        self._directory, self._name = os.path.split(path)
        self._limit = limit
        self._backups = backups

    def owns(self, key: str) -> bool:
        """Tell whether a key of the position that is no path belongs to this."""
        return key == PLAN

    def open(self, context: Context, ledger: Ledger, position: Position) -> int:
        """Go back to what `position` says, or forward where its renames were not all done; say how much was cut off.

        Raises Damaged.
        """
        self._context = context
        self._ledger = ledger
        self._segments: list[list[bytes]] = [[]]
        self._is_tidy = False
        self._plan = msgspec.convert(position[PLAN], Plan) if PLAN in position else None
        lengths: Mapping[str, int] = {path: length for path, length in position.items() if os.path.isabs(path)}
        if self._plan is not None:
            if self._plan.lengths is None:
                self._undo(self._plan)
                lengths = {self._live: self._plan.length}
            else:
                self._publish(self._plan)
                lengths = {self._live: self._plan.lengths[-1]}
        return ledger.recover(lengths)

    def start(self, root: str, position: Position) -> None:
        """There is nothing to start."""

    def close(self) -> None:
        """There is nothing to stop."""

    @property
    def is_due(self) -> bool:
        """Whether a plan is to be taken out, or files to be deleted or compressed."""
        return self._plan is not None or not self._is_tidy

    def prepare(self, piles: Piles) -> Position:
        """Announce what `flush` will do with these lines."""
        members = piles.take().get(self._live, [])
        delta: dict[str, Any] = {}
        if self._plan is not None:
            delta = {PLAN: None, self._live: self._ledger.lengths[self._live]}
            self._plan = None
        if members:
            delta |= self._ledger.prepare([self._live])
        length = self._ledger.lengths.get(self._live, 0)
        self._segments = cut(members, length, self._limit)
        if len(self._segments) > 1:
            self._plan = Plan(length, self._backups.next_names(self._context, len(self._segments) - 1))
            for path, present in self._ledger.prepare(self._hidden(self._plan)).items():
                if present:
                    raise Damaged(
                        f"{path} is left of a pipeline whose checkpoint is gone, and may hold events that are nowhere "
                        "else: look at it, and move it away"
                    )
            delta |= {PLAN: msgspec.to_builtins(self._plan), self._live: None}
        return delta

    def flush(self, piles: Piles) -> Position:
        """Append, and sync, what `prepare` took."""
        plan, segments = self._plan, self._segments
        self._segments = [[]]
        paths = [self._live, *(self._hidden(plan) if plan else ())]
        lengths = self._ledger.append({path: lines for path, lines in zip(paths, segments, strict=True) if lines})
        if plan is None:
            return lengths
        plan.lengths = [self._ledger.lengths[path] for path in paths]
        return {PLAN: msgspec.to_builtins(plan)}

    def commit(self, position: Position) -> None:
        """Rename what was committed, and deal with what was renamed before."""
        if self._plan is not None:
            assert self._plan.lengths is not None
            self._publish(self._plan)
            self._ledger.lengths = {self._live: self._plan.lengths[-1]}
            self._is_tidy = False
        if not self._is_tidy:
            self._backups.tidy(self._context, () if self._plan is None else self._plan.names)
            self._is_tidy = self._plan is None

    def finish(self, stop: threading.Event) -> Iterator[None]:
        """Take the last plan out, and deal with what it renamed."""
        yield

    def incomplete(self) -> Sequence[str]:
        """Nothing is left undone."""
        return ()

    def measures(self) -> Iterable[Measure]:
        """Say what was deleted and compressed."""
        return self._backups.measures()

    def _hidden(self, plan: Plan) -> list[str]:
        """Name the files that come behind the live one; the last of them becomes it."""
        return [self._in_place(f".{self._name}.tailrace-{number}") for number in range(1, len(plan.names) + 1)]

    def _in_place(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _publish(self, plan: Plan) -> None:
        """Rename, or do what is left of it."""
        disk = self._context.disk
        *full, last = self._hidden(plan)
        first, *others = map(self._in_place, plan.names)
        if not os.path.exists(last):
            return
        if os.path.exists(self._live):
            if os.path.exists(first):
                raise Damaged(
                    f"{self._live} was to be renamed to {first}, but somebody else has made one of them: "
                    "move that away, and start again"
                )
            disk.rename(self._live, first)
        for hidden, path in zip(full, others, strict=True):
            if os.path.exists(hidden):
                disk.rename(hidden, path)
        sync_directory(disk, self._directory)  # before the name of the live file is taken again
        disk.rename(last, self._live)
        sync_directory(disk, self._directory)

    def _undo(self, plan: Plan) -> None:
        """Take back what was not committed, or was by a commit that is lost."""
        disk = self._context.disk
        first, *others = map(self._in_place, plan.names)
        for path in (*self._hidden(plan), *others):
            if os.path.exists(path):
                disk.unlink(path)
        if os.path.exists(first):
            disk.rename(first, self._live)
        if os.path.isdir(self._directory):
            sync_directory(disk, self._directory)


def cut(members: Sequence[bytes], length: int, limit: float) -> list[list[bytes]]:
    """Share out whole lines: first to a file that has `length` bytes already, and to another when it has `limit`.

    A line that is longer than `limit` has a file of its own.
    """
    segments: list[list[bytes]] = [[]]
    for data in members:
        start = 0
        while start < len(data):
            room = limit - length
            end = len(data)
            if end - start > room:
                end = data.rfind(b"\n", start, start + max(0, int(room))) + 1
                if not end:
                    if length:
                        segments.append([])
                        length = 0
                        continue
                    end = data.index(b"\n", start) + 1
            segments[-1].append(data[start:end])
            length += end - start
            start = end
    return segments


def rotation(options: Mapping[str, Any], template: Template, kind: str, others: Mapping[str, Any]) -> Rotation | None:
    """Make what the options of the file sink ask for; `others` are those that contradict it. Raises OptionError."""
    if options["max_size"] is None:
        for name in OPTIONS[1:]:
            if options[name]:
                raise OptionError(name, f"{name} is a part of rotation by size; set max_size, in megabytes, too")
        return None
    if template.fields or template.uses_tag or template.time_directives:
        raise OptionError(
            "max_size",
            "a file that is rotated by size has one name; take fields, tags and times out of the path, "
            "or leave max_size out: slices by time are closed by themselves, and deleted by keep_...",
        )
    if kind != "none" or template.text.endswith((".gz", ".zst")):
        raise OptionError(
            "max_size",
            "a live file that is rotated by size is plain; take compression and its suffix off, and set "
            "compress: true, which compresses it once it is rotated",
        )
    for name, value in others.items():
        if value is not None:
            instead = "give the path a time and leave max_size out" if name == "upload" else "use max_backup or max_age"
            raise OptionError(name, f"{name} is for slices, and a file that is rotated by size has none; {instead}")
    return make_rotation(template, options["max_size"] * MEGABYTE, options)


def make_rotation(template: Template, limit: float = math.inf, options: Mapping[str, Any] | None = None) -> Rotation:
    """Make a rotation; without options one that only completes what is under way."""
    options = options or dict.fromkeys(OPTIONS, 0)
    path = os.path.abspath(template.render(()))
    return Rotation(
        path,
        limit,
        Backups(path, max_age=options["max_age"], max_backup=options["max_backup"], compress=options["compress"]),
    )
