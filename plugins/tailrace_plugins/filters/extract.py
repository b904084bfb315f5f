"""The filter `extract`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta

from tailrace import Batch, Filter, OptionError, parse_field


class Extract(Filter, kw_only=True):
    """Copy a field to another place, most often to the top of the event.

        - type: extract
          field: objectRef.namespace
          into: namespace

    Where the field is missing or null, and there is no default, the event has no `into` either, even if it
    came with one: what stands there is always what was extracted. Numbers are copied by value, so `1.10`
    may be written as `1.1`; the field itself keeps its bytes.
    """

    field: Annotated[str, Meta(description="The field to copy.")]
    into: Annotated[str, Meta(description="The field to set.")]
    default: Annotated[Any, Meta(description="The value, any JSON, where the field is missing.")] = None

    def __post_init__(self) -> None:
        for option, name in (("field", self.field), ("into", self.into)):
            try:
                parse_field(name)
            except ValueError as error:
                raise OptionError(option, str(error)) from None
        if parse_field(self.field) == parse_field(self.into):
            raise OptionError("into", f"{self.into} is the field itself; name another one")

    def reads(self) -> Iterable[str]:
        """Name the field that is copied."""
        return [self.field]

    def writes(self) -> Iterable[str]:
        """Name the field that is set."""
        return [self.into]

    def apply(self, batch: Batch) -> None:
        """Set the column."""
        values = batch[self.field]
        if self.default is not None:
            values = [self.default if value is None else value for value in values]
        batch[self.into] = values
