"""The filter `sample`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta

from tailrace import Batch, Filter, OptionError, parse_field, value_text

_BYTES = 8  # of the hash, that are compared with the share


class Sample(Filter, kw_only=True):
    """Let a share of the events go on, chosen by the hash of a field; drop the others.

        - type: sample
          share: 0.1

    Events of one value go on together or not at all: with `auditID`, all stages of a request; with `user.username`, all
    that a user did. The choice depends on the value alone, so it is the same each time, in every pipeline of the same
    `seed`; of two shares the smaller one is a part of the larger. Events that do not have the field go on. Clients may
    choose their `auditID`: a sample is no protection against those who know the seed.
    """

    share: Annotated[float, Meta(gt=0, lt=1, description="The share of values to keep: `0.1` is every tenth.")]
    field: Annotated[str, Meta(description="The field whose value decides.")] = "auditID"
    seed: Annotated[str, Meta(description="Another text makes another choice.")] = ""

    def __post_init__(self) -> None:
        try:
            parse_field(self.field)
        except ValueError as error:
            raise OptionError("field", str(error)) from None
        self._limit = int(self.share * 256**_BYTES)
        self._hash = hashlib.blake2b(self.seed.encode(), digest_size=_BYTES)
        self._hash.update(b"\0")

    def reads(self) -> Iterable[str]:
        """Name the field that decides."""
        return [self.field]

    def apply(self, batch: Batch) -> None:
        """Drop the events whose value is not of the share."""
        batch.keep([value is None or self._is_kept(value) for value in batch[self.field]])

    def _is_kept(self, value: Any) -> bool:
        state = self._hash.copy()
        state.update(value_text(value).encode("utf-8", "surrogatepass"))
        return int.from_bytes(state.digest(), "big") < self._limit
