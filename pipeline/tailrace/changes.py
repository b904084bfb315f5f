"""Changes that lie beside the bytes of events, and how they get into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import Any, Final

from tailrace.edit import EditError, change_keys, delete_field, encode_value, set_field, splice
from tailrace.fields import format_field, parse_field
from tailrace.reject import Reason


class _Unchanged:
    """The mark, in a column beside the bytes, of a row whose own bytes still hold."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged()

Changes = Mapping[str, list[Any]]
"""By field, the new value of each event: None takes the field away, UNCHANGED leaves it as it is."""

Refuse = Callable[[int, Reason], None]
"""Told which event, by its row, cannot be processed."""


def put_in(lines: list[bytes], changes: Changes, present: Mapping[str, list[bool]], refuse: Refuse) -> list[bytes]:
    """Give the lines with the changes in them; no two of these lie above one another.

    `present` says which lines have the field already. An event that cannot be changed stays as it is, and is refused.
    """
    lines = _change_own_keys(lines, changes, present, refuse)
    for field, values in changes.items():
        lines = _change_column(lines, field, values, present[field], refuse)
    return lines


def _change_own_keys(
    lines: list[bytes], changes: Changes, present: Mapping[str, list[bool]], refuse: Refuse
) -> list[bytes]:
    """Change the keys of the events themselves that their lines have: each line once, however many they are."""
    edits: dict[int, dict[str, bytes | None]] = {}
    for field, values in changes.items():
        path = parse_field(field)
        if len(path) == 1:
            for index in compress(range(len(values)), present[field]):
                value = values[index]
                if value is not UNCHANGED:
                    try:
                        encoded = None if value is None else encode_value(value)
                        edits.setdefault(index, {})[path[0]] = encoded
                    except EditError as error:
                        refuse(index, _cannot_change(field, error))
    changed = list(lines) if edits else lines
    for index, keys in edits.items():
        try:
            changed[index] = change_keys(changed[index], keys)
        except EditError as error:
            refuse(index, _cannot_change(format_field((next(iter(keys)),)), error))
    return changed


def _change_column(
    lines: list[bytes], field: str, values: Sequence[Any], present: Sequence[bool], refuse: Refuse
) -> list[bytes]:
    """Change a field below the events' own keys, or add a key that the lines do not have."""
    path = parse_field(field)
    is_key = len(path) == 1
    changed: list[bytes] = []
    for index, (line, value, here) in enumerate(zip(lines, values, present, strict=True)):
        edited = line
        if value is not UNCHANGED and (value is not None or here) and not (is_key and here):
            try:
                if is_key:
                    edited = splice(line, path[0], value)
                elif value is None:
                    edited = delete_field(line, path)
                else:
                    edited = set_field(line, path, value)
            except EditError as error:
                refuse(index, _cannot_change(field, error))
        changed.append(edited)
    return changed


def _cannot_change(field: str, error: EditError) -> Reason:
    return Reason("cannot_change", f"cannot change {field}: {error}")
