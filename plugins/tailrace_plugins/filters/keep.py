"""The filter `keep`."""

from __future__ import annotations

from tailrace import Batch
from tailrace_plugins.expression import Conditional


class Keep(Conditional, kw_only=True):
    """Let only those events go on for which a CEL expression is true.

        - type: keep
          when: objectRef.namespace == "kube-system" && verb in ["create", "delete"]

    Where the expression needs a field that an event does not have, it is false. So `objectRef.namespace !=
    "kube-system"` also drops events without a namespace; to keep them write `!has(objectRef.namespace) ||
    ...`. An event for which the expression cannot be evaluated, such as `verb > 3`, is rejected.
    """

    def apply(self, batch: Batch) -> None:
        """Drop what the expression does not hold for."""
        batch.keep(self.condition.mask(batch))
