"""The filter `drop`."""

from __future__ import annotations

from tailrace import Batch
from tailrace_plugins.expression import Conditional


class Drop(Conditional, kw_only=True):
    """Drop those events for which a CEL expression is true.

        - type: drop
          when: stage == "RequestReceived" || user.username.startsWith("system:node:")

    Where the expression needs a field that an event does not have, it is false, and the event goes on. An
    event for which the expression cannot be evaluated, such as `verb > 3`, is rejected.
    """

    def apply(self, batch: Batch) -> None:
        """Drop what the expression holds for."""
        batch.keep([not hit for hit in self.condition.mask(batch)])
