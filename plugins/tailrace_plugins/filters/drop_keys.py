"""The filter `drop_keys`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from tailrace import Batch, Filter, OptionError, parse_field


class DropKeys(Filter, kw_only=True):
    """Take fields away.

        - type: drop_keys
          keys: [requestObject, responseObject, 'annotations["example.com/internal"]']

    Costs nothing for a field that another filter has set and that no event has by itself.
    """

    keys: Annotated[list[str], Meta(description="The fields to take away.")]

    def __post_init__(self) -> None:
        if not self.keys:
            raise OptionError("keys", "name at least one field")
        for key in self.keys:
            try:
                parse_field(key)
            except ValueError as error:
                raise OptionError("keys", str(error)) from None

    def writes(self) -> Iterable[str]:
        """Name the fields that are taken away."""
        return self.keys

    def apply(self, batch: Batch) -> None:
        """Delete the columns."""
        for key in self.keys:
            del batch[key]
