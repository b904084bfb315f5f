"""How often Python looks for objects that only hold each other."""

from __future__ import annotations

import gc

_NEW_OBJECTS = 50_000  # as many as some batches of records have; by default it is 700


def collect_rarely() -> None:
    """Look for cycles less often: events make none, and a `RecordFilter` makes thousands of dicts per batch.

    A tenth of the CPU that it takes to change every event.
    """
    gc.set_threshold(_NEW_OBJECTS, 20, 20)
