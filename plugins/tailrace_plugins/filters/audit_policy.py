"""The filter `audit_policy`, and the policy as a value for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from tailrace import Batch, Filter, OptionError
from tailrace_plugins.loaded import LoadedFile, load
from tailrace_plugins.policy.enforcement import READS, WRITES, Enforcement
from tailrace_plugins.policy.policy import Policy, Verdict
from tailrace_plugins.policy.reading import PolicyError

__all__ = ["AuditPolicy", "Policy", "PolicyError", "Verdict"]


class AuditPolicy(Filter, kw_only=True):
    """Apply an audit policy of the API server (`audit.k8s.io/v1`, `kind: Policy`) to events that it has recorded.

        - type: audit_policy
          match: audit.team-a.**
          file: /etc/kubernetes/team-a-policy.yaml

    It answers as the API server of Kubernetes 1.36 would: the first rule that matches gives the level, and where none
    does it is None. It only ever lowers. At None, and in a stage of `omitStages`, the event is dropped; Metadata takes
    both objects away, Request the response object, `omitManagedFields` the managed fields in what is left. An event
    that was recorded at a lower level than the policy's keeps it, and what need not change keeps its bytes. So a policy
    for each tenant, behind an API server that records everything, does what dynamic audit backends once did.

    What cannot be known after the fact: what was not recorded stays unknown, whatever the policy's level. And
    `resourceNames` see the name that the event has, where the API server saw the one in the URL, once for all stages.
    In a quarter of all requests (each `create`) that one is empty, and so it is in the event of RequestReceived; in
    those of the later stages it has been filled in from the body. So such a rule may match some stages of a request
    and not others. Give rules with `resourceNames` only verbs whose URL has the name: get, update, patch, delete.

    The file is read when the config is, and again on SIGHUP; a relative path starts where tailrace does. Stricter than
    the API server, it takes unknown and repeated keys for errors: a misspelt condition makes a rule match everything.
    An event that does not tell its request (no `objectRef`, and no URI either) is rejected. `tailrace policy` checks a
    file, explains what it makes of an event, and compares two of them on a log.
    """

    file: Annotated[str, Meta(description="The policy file, as for `--audit-policy-file` of the API server.")]

    def __post_init__(self) -> None:
        self.file = loaded = load("file", self.file)
        try:
            self._enforcement = Enforcement(Policy.parse(loaded.text, loaded))
        except PolicyError as error:
            raise OptionError("file", "the policy is not valid:" + f"\n{error}".replace("\n", "\n  ")) from None

    def loaded(self) -> Iterable[str]:
        """Give the text of the policy: if it is another one, the pipeline is."""
        return [self.file.text] if isinstance(self.file, LoadedFile) else []

    def reads(self) -> Iterable[str]:
        """Name what a policy looks at."""
        return READS

    def writes(self) -> Iterable[str]:
        """Name what a lower level changes."""
        return WRITES

    def apply(self, batch: Batch) -> None:
        """Lower the events that are above their level, and drop those that have none."""
        self._enforcement.apply(batch)
