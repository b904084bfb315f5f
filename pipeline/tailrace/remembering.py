"""What filters have to remember from one event to the next, on its way to and from the checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from tailrace.batch import Position
from tailrace.stage import Filter


class Remembering:
    """The filters of a pipeline that are `one_worker`, by the names that they have in its checkpoint.

    A name is made of the filter's options: with other options it starts afresh, and elsewhere in the list it goes on.
    """

    def __init__(self, filters: Sequence[Filter]) -> None:
        self._filters: dict[str, Filter] = {}
        for stage in filters:
            if stage.one_worker:
                name = f"{type(stage).__name__}-{hashlib.sha256(repr(stage).encode()).hexdigest()[:12]}"
                same = sum(other.startswith(name) for other in self._filters)
                self._filters[f"{name}-{same + 1}" if same else name] = stage

    def __bool__(self) -> bool:
        return bool(self._filters)

    def restore(self, states: Mapping[str, Position]) -> None:
        """Have each filter remember what the checkpoint holds."""
        for name, stage in self._filters.items():
            stage.restore(states.get(name))

    def states(self) -> dict[str, Position]:
        """Ask each filter what there is to remember since it was asked before."""
        return {name: stage.state() for name, stage in self._filters.items()}
