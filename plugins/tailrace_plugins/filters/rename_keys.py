"""The filter `rename_keys`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Annotated, Any

from msgspec import Meta

from tailrace import UNCHANGED, Batch, Filter, OptionError, Path, format_field, parse_field


class RenameKeys(Filter, kw_only=True):
    """Move fields to other places, all at once, so that two can change places.

        - type: rename_keys
          keys:
            user.username: username
            sourceIPs: clientIPs

    Where the old field is missing or null nothing changes, and a new one that is there already stays.
    Values are moved by their meaning: a number such as `1.10` may be written as `1.1`, and an event that
    holds a number out of range (`1e400`) in a moved field is rejected.
    """

    keys: Annotated[dict[str, str], Meta(description="The fields to move: the old name, and the new one.")]

    def __post_init__(self) -> None:
        if not self.keys:
            raise OptionError("keys", "name at least one field, like `old: new`")
        moves: list[tuple[Path, Path]] = []
        for old, new in self.keys.items():
            try:
                moves.append((parse_field(old), parse_field(new)))
            except ValueError as error:
                raise OptionError("keys", str(error)) from None
            if moves[-1][0] == moves[-1][1]:
                raise OptionError("keys", f"{old} is renamed to itself; leave it out")
        _refuse_doubt(moves)
        self._moves = [(format_field(old), format_field(new)) for old, new in moves]

    def reads(self) -> Iterable[str]:
        """Name the old fields."""
        return [old for old, _ in self._moves]

    def writes(self) -> Iterable[str]:
        """Name the old fields and the new ones."""
        return list(dict.fromkeys(name for move in self._moves for name in move))

    def apply(self, batch: Batch) -> None:
        """Move the columns."""
        values = {old: batch[old] for old, _ in self._moves}
        if any(None in column for column in values.values()) and batch.encoded() is not batch.lines:
            # what other filters have set goes into the bytes first, for UNCHANGED speaks of the bytes
            batch.records()
        columns: dict[str, list[Any]] = {}
        for old, column in values.items():
            columns[old] = [UNCHANGED if value is None else None for value in column]
        for old, new in self._moves:
            staying = columns.get(new) or [UNCHANGED] * len(batch)
            columns[new] = [stay if value is None else value for value, stay in zip(values[old], staying, strict=True)]
        for name, column in columns.items():
            batch[name] = column


def _refuse_doubt(moves: list[tuple[Path, Path]]) -> None:
    """Raise OptionError where the result would depend on which move is made first."""
    for paths, words in (
        ([old for old, _ in moves], "is renamed twice"),
        ([new for _, new in moves], "is the new name of two fields"),
    ):
        for path in paths:
            if paths.count(path) > 1:
                raise OptionError("keys", f"{format_field(path)} {words}; keep one of them")
    for one, other in combinations({path for move in moves for path in move}, 2):
        short, long = sorted((one, other), key=len)
        if long[: len(short)] == short:
            raise OptionError(
                "keys",
                f"{format_field(long)} lies inside {format_field(short)}; use two rename_keys, one after the other",
            )
