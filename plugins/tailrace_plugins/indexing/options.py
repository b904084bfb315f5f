"""Checks of the sink's options that the types cannot make; each raises OptionError, which never repeats a secret."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Protocol

from tailrace import OptionError
from tailrace_plugins.checking import checked
from tailrace_plugins.sending.options import HttpOptions, is_open, make_target
from tailrace_plugins.sending.target import Credential, Target, parse_url

_MOST_ANSWER_BYTES: Final = 64 << 20


class ClusterOptions(HttpOptions, Protocol):
    """What the sink declares about the cluster."""

    hosts: list[str]
    api_key: str | None
    api_key_file: str | None


def make_targets(options: ClusterOptions) -> list[Target]:
    """Make the targets of a cluster's nodes."""
    if len({host.rstrip("/") for host in options.hosts}) < len(options.hosts):
        raise OptionError("hosts", "a node is named twice")
    return [_target(host, options) for host in options.hosts]


def _target(host: str, options: ClusterOptions) -> Target:
    if checked("hosts", parse_url, host).query:
        raise OptionError("hosts", f"{host!r}: leave out what follows the ?; that is made of other options")
    try:
        target = make_target(host, options)
    except OptionError as error:
        raise OptionError("hosts" if error.option == "url" else error.option, str(error)) from None
    # bodies are compressed here, for a fifth of the time
    target = replace(target, gzip=False, most_answer_bytes=_MOST_ANSWER_BYTES)
    given = [name for name in ("api_key", "api_key_file") if getattr(options, name) is not None]
    if not given:
        return target
    if target.credential is not None or len(given) > 1:
        raise OptionError(given[-1], f"{given[-1]} and something else prove who sends; give one of them")
    if is_open(target):
        raise OptionError("hosts", "over http:// everybody on the way can read the credentials; write https://")
    return replace(target, credential=Credential(options.api_key or "", options.api_key_file, prefix="ApiKey "))
