"""The filter `redact`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from tailrace import Batch, Filter, Memo, OptionError
from tailrace_plugins.loaded import LoadedFile, load
from tailrace_plugins.redaction.event import hide_secrets
from tailrace_plugins.redaction.hiding import LEAST_KEY, Hiding
from tailrace_plugins.redaction.objects import COMMAND, CONFIG_MAP, QUOTATION, SECRET, TOKEN, Objects, Rule
from tailrace_plugins.redaction.uri import COMMANDS, Arguments, secret_arguments

_COPIES: Final = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "kapp.k14s.io/original",
    "objectset.rio.cattle.io/applied",
    "banzaicloud.com/last-applied",
)
_QUOTATION: Final = QUOTATION.encode()
_ANY_BYTES: Final = "latin-1"  # the encoding in which every byte is a character: a key is no text
# By these, and by nothing else, the body of an event shows that it may hold something to hide.
_TOKENS: Final = (b"TokenReview", b"TokenRequest", b"ootstrapToken")
_LETTER: Final = re.compile(rb"\\u00[4-7]")  # an escaped letter: perhaps one of `kind`


class Redact(Filter, kw_only=True):
    """Hide secrets wherever an audit event of Kubernetes may hold them.

        - type: redact
          key_file: /etc/tailrace/redact.key

    Hidden are, in `requestObject` and `responseObject`: of a Secret all but its type and metadata, also in a List, a
    Table, a watch event or another object; in patches of one, JSON patch or merge patch, likewise; the copies of it
    that `last-applied-configuration` and such annotations hold, and those in the audit annotations that say what
    admission webhooks changed; tokens of TokenRequest, TokenReview and kubeadm's bootstrap tokens; what old API
    servers quote of a Secret that they could not read. In `requestURI`: the arguments `command` and `stdin` of `exec`
    and `attach`, and all arguments of proxied requests. Names, also those of a Secret's keys, stay.

    With a key each secret becomes its HMAC-SHA-256 (`hmac-sha256:` and 32 digits), so that equal secrets can be told
    equal, also if one is in `stringData` and the other, in base64, in `data`; who has the key can test guesses.
    Without one it becomes `mask`. The key's file is read when the config is, and again on SIGHUP; with another key,
    equal secrets before and after look different.

    An event that holds nothing secret keeps its bytes. One that may hold something and cannot be read (lone
    surrogates, numbers that overflow, too deep) is rejected. The dead letter holds events as they were read, with
    their secrets, also what other filters reject. Put this filter first, for it looks where Kubernetes writes things
    and not where another filter copied them. It does not know secrets elsewhere: in a Pod's environment
    variables, custom resources, ConfigMaps (unless told to), labels and other annotations.
    """

    key_file: Annotated[
        str | None, Meta(description="A file with the key, of 16 bytes or more; white space around it is cut off.")
    ] = None
    key: Annotated[str | None, Meta(description="The key itself, as `${REDACT_KEY}`. At most one of both.")] = None
    mask: Annotated[str, Meta(description="What stands for a secret if there is no key.")] = "[redacted]"
    secrets: Annotated[bool, Meta(description="Hide what Secrets hold.")] = True
    config_maps: Annotated[bool, Meta(description="Hide what ConfigMaps hold.")] = False
    tokens: Annotated[bool, Meta(description="Hide tokens of TokenRequest, TokenReview and kubeadm.")] = True
    commands: Annotated[bool, Meta(description="Hide commands of `exec` and `attach`, and arguments to proxies.")] = (
        True
    )
    copies: Annotated[list[str], Meta(description="Annotations that hold a copy of their object.")] = msgspec.field(
        default_factory=lambda: list(_COPIES)
    )

    def __post_init__(self) -> None:
        if self.key is not None and self.key_file is not None:
            raise OptionError("key", "there is a key_file as well; keep one of them")
        key = self._key()
        kinds: dict[str, Rule] = {}
        self._rules: dict[tuple[str | None, str | None], Rule] = {}  # by resource and subresource
        if self.secrets:
            kinds["Secret"] = self._rules["secrets", None] = SECRET
        if self.config_maps:
            kinds["ConfigMap"] = self._rules["configmaps", None] = CONFIG_MAP
        if self.tokens:
            kinds["TokenReview"] = kinds["TokenRequest"] = TOKEN
            self._rules["tokenreviews", None] = self._rules["serviceaccounts", "token"] = TOKEN
        if self.commands:
            kinds["PodExecOptions"] = kinds["PodAttachOptions"] = COMMAND
        holders = [kind for kind, rule in kinds.items() if rule.harmless is not None]
        self._signs = [re.compile(kind.encode() + rb'["\\L]') for kind in holders]  # twice as fast as one for all
        self._plans = Memo(self._plan)
        self._objects = Objects(Hiding(key, self.mask), kinds, frozenset(self.copies), self.tokens)

    def _key(self) -> bytes | None:
        if self.key_file is None:
            if self.key is not None and len(self.key.encode()) < LEAST_KEY:
                raise OptionError("key", f"a key has at least {LEAST_KEY} bytes")
            return None if self.key is None else self.key.encode()
        try:
            self.key_file = loaded = load("key_file", self.key_file, _ANY_BYTES)
            key = loaded.text.encode(_ANY_BYTES).strip()
            if len(key) < LEAST_KEY:
                raise OptionError("key_file", f"{loaded} has {len(key)} bytes, and a key takes {LEAST_KEY} or more")
        except OptionError as error:
            raise OptionError("key_file", f"{error}; `openssl rand -hex 32` makes a key") from None
        return key

    def loaded(self) -> Iterable[str]:
        """Give the text of the key's file: if it is another one, the pipeline is."""
        return [self.key_file.text] if isinstance(self.key_file, LoadedFile) else []

    def reads(self) -> Iterable[str]:
        """Name what tells whether an event may hold something to hide."""
        return ["objectRef.resource", "objectRef.subresource"]

    def apply(self, batch: Batch) -> None:
        """Replace the events that hold secrets."""
        changed: dict[int, bytes] = {}
        resources, parts = batch["objectRef.resource"], batch["objectRef.subresource"]
        plans = self._plans.map([resources, parts], len(batch))
        for index, (line, (rule, arguments)) in enumerate(zip(batch.encoded(), plans, strict=True)):
            if b'Object"' in line:
                if rule is None and arguments is None and not self._shows_a_secret(line):
                    continue
            elif arguments is None and (rule is None or _QUOTATION not in line):
                continue
            try:
                hidden = hide_secrets(line, self._objects, rule, arguments)
            except (ValueError, RecursionError) as error:
                batch.reject(index, f"may hold a secret and cannot be read: {error}")
                continue
            if hidden is not line:
                changed[index] = hidden
        batch.replace(changed)

    def _plan(self, values: Sequence[Any]) -> tuple[Rule | None, Arguments | None]:
        """Say what is secret by what the request was for alone: in its bodies, and in its URI."""
        resource, part = (value if isinstance(value, str) else None for value in values)
        rule = self._rules.get((resource, None)) or self._rules.get((resource, part))
        if not self.commands:
            return rule, None
        return rule or (COMMAND if part in COMMANDS else None), secret_arguments(part)

    def _shows_a_secret(self, line: bytes) -> bool:
        return (
            any(sign.search(line) for sign in self._signs)
            or (self.tokens and b"Token" in line and any(sign in line for sign in _TOKENS))
            or (b"\\u00" in line and _LETTER.search(line) is not None)
        )
