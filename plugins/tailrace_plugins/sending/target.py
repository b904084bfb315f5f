"""Where requests go, and how: an address, TLS, what proves who sends, and limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

_VISIBLE: Final = re.compile(r"[!-~]+")
_PORTS: Final = {"http": 80, "https": 443}

Pem = str | bytes
"""PEM, or the path of the file that holds it, which is read anew when it changes."""


class Tls(NamedTuple):
    """How the other side is known, and how this one makes itself known."""

    ca: Pem | None = None  # none: what the system trusts
    cert: Pem | None = None
    key: Pem | None = None
    server_name: str | None = None  # that the certificate has to have; none: the host
    insecure: bool = False  # do not verify at all


class Credential(NamedTuple):
    """A header that proves who sends, made of a secret that is given, or of a file that is read anew when it changes.

    With `user`, the secret is a password, and the header is that of basic authentication.
    """

    secret: str = ""
    file: str | None = None
    prefix: str = "Bearer "
    header: str = "Authorization"
    user: str | None = None

    def __repr__(self) -> str:
        return f"<Credential {self.header}>"  # what is printed is logged


@dataclass(frozen=True)
class Target:
    """All that a client needs to know; `url` is one that `parse_url` takes."""

    url: str
    tls: Tls = field(default_factory=Tls)
    credential: Credential | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    proxy: str | None = None  # that of the environment is never used
    timeout: float = 30.0  # seconds to connect, to send, until an answer begins, and for its body: each
    gzip: bool = False  # compress the bodies of requests
    most_answer_bytes: int = 1 << 20  # an answer is cut there


def parse_url(url: str) -> SplitResult:
    """Take the URL of a target, or of a proxy, apart. Raises ValueError, whose text never repeats a password."""
    if "@" in url:  # the URL is not repeated, for that may be the end of a password
        raise ValueError("the URL holds a @; a user and password would show up in logs, so give them as options")
    if "://" not in url or not _VISIBLE.fullmatch(url):
        raise ValueError(f"{url!r} is not a URL; write https://HOST:PORT/PATH, without blanks")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not a URL: {error}; write https://HOST:PORT/PATH") from None
    if parts.scheme not in _PORTS:
        raise ValueError(f"{url!r}: events are sent over https:// and http:// only")
    if not parts.hostname or port == 0:
        raise ValueError(f"{url!r} names no host and port; write https://HOST:PORT/PATH")
    if parts.fragment:
        raise ValueError(f"{url!r}: what follows # is never sent; leave it out")
    return parts


def address(parts: SplitResult) -> str:
    """Name host and port."""
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or _PORTS[parts.scheme]}"
