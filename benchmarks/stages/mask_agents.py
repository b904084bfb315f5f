"""The filter of the README, for `bench_editing.py`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tailrace import Record, RecordFilter


class MaskAgents(RecordFilter):
    """Replace the user agent of events."""

    mask: Annotated[str, Meta(description="What to write instead.")] = "***"

    def process(self, record: Record) -> Record | None:
        if "userAgent" in record:
            record["userAgent"] = self.mask
        return record
