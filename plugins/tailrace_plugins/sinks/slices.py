"""What a file sink does with slices: append, close what got nothing for long, upload it, delete what is too much."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tailrace import Context, Ledger, Measure, Position
from tailrace_plugins.sinks.piles import Piles
from tailrace_plugins.sinks.retention import Retention

if TYPE_CHECKING:
    from tailrace_plugins.sinks.uploads import Uploads


class Slices:
    """The slices of one file sink, and what becomes of those that are closed.

    A slice is closed when it got nothing for `idle_close` seconds; then the checkpoint forgets it.
    """

    def __init__(self, idle_close: float, retention: Retention | None, uploads: Uploads | None) -> None:
        self._idle_close = idle_close
        self._retention = retention
        self._uploads = uploads

    def owns(self, key: str) -> bool:
        """Tell whether a key of the position that is no path belongs to this."""
        return self._uploads is not None and self._uploads.owns(key)

    def open(self, context: Context, ledger: Ledger, position: Position) -> int:
        """Cut all slices back to what `position` says; gives by how many bytes. Raises Damaged."""
        self._context = context
        self._ledger = ledger
        self._is_ending = False
        self._forgotten: frozenset[str] = frozenset()
        cut = ledger.recover({path: length for path, length in position.items() if os.path.isabs(path)})
        self._last_append: dict[str, float] = dict.fromkeys(ledger.lengths, context.clock.monotonic())
        return cut

    def start(self, root: str, position: Position) -> None:
        """Go on with what `position` says was closed; `root` is the directory that all paths share."""
        if self._uploads is not None:
            self._uploads.open(self._context, root, position, self._ledger.lengths)

    def close(self) -> None:
        """Stop uploading."""
        if self._uploads is not None:
            self._uploads.close()

    def prepare(self, piles: Piles) -> Position:
        """Announce the slices that are appended to for the first time."""
        return self._ledger.prepare(piles.paths)

    def flush(self, piles: Piles) -> Position:
        """Append to all and sync; close those that got nothing for long."""
        members = piles.take()
        lengths = self._ledger.append(members)
        now = self._context.clock.monotonic()
        self._last_append |= dict.fromkeys(members, now)
        closed = {path: self._ledger.lengths[path] for path in self._idle(now)}
        for path in closed:
            del self._last_append[path]
        self._forgotten = frozenset(closed)
        delta = {**lengths, **self._ledger.forget(closed)}
        return delta if self._uploads is None else {**delta, **self._uploads.flush(closed)}

    def _idle(self, now: float) -> list[str]:
        limit = self._idle_close
        return [path for path, last in self._last_append.items() if now - last > limit or self._is_ending]

    def commit(self, position: Position) -> None:
        """Upload what was closed, and delete what need not be kept.

        The generation before still has what this commit forgot, so that stays.
        """
        if self._uploads is not None:
            self._uploads.commit()
        if self._retention is not None:
            owed = () if self._uploads is None else self._uploads.kept
            self._retention.look(self._context, position, self._forgotten, owed)

    @property
    def is_due(self) -> bool:
        """Whether a slice is to be uploaded, or was."""
        if self._uploads is None:
            return False
        return self._uploads.is_due or bool(self._idle(self._context.clock.monotonic()))

    def finish(self, stop: threading.Event) -> Iterator[None]:
        """Close all slices, and upload them."""
        if self._uploads is not None:
            self._is_ending = True
            yield
            self._uploads.wait(stop)
            yield

    def incomplete(self) -> Sequence[str]:
        """Say what was not uploaded."""
        return () if self._uploads is None else self._uploads.incomplete()

    def measures(self) -> Iterable[Measure]:
        """Say what was deleted and uploaded, if that is asked for."""
        for each in (self._retention, self._uploads):
            if each is not None:
                yield from each.measures()
