"""The options of a sink that say where it sends to and how, as a target."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Protocol

from tailrace import OptionError
from tailrace_plugins.checking import checked
from tailrace_plugins.sending.target import Credential, Target, Tls, parse_url

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_HEADER_VALUE: Final = re.compile(r"([!-~]([ -~]*[!-~])?)?")
_OWN_HEADERS: Final = (
    "accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type", "host",
    "transfer-encoding",
)  # fmt: skip


class HttpOptions(Protocol):
    """What such a sink declares."""

    token: str | None
    token_file: str | None
    user: str | None
    password: str | None
    password_file: str | None
    headers: dict[str, str]
    ca: str | None
    client_cert: str | None
    client_key: str | None
    server_name: str | None
    insecure: bool
    proxy: str | None
    compress: bool
    timeout: float


def make_target(url: str, options: HttpOptions) -> Target:
    """Make the target of one URL. Raises OptionError."""
    parts = checked("url", parse_url, url)
    if options.proxy is not None:
        checked("proxy", parse_url, options.proxy)
    if (options.client_cert is None) != (options.client_key is None):
        missing = "client_key" if options.client_cert else "client_cert"
        raise OptionError(missing, "a client certificate needs both client_cert and client_key")
    tls = Tls(options.ca, options.client_cert, options.client_key, options.server_name, options.insecure)
    credential = _credential(options)
    if parts.scheme == "http":
        if tls != Tls():
            raise OptionError("url", "over http:// nothing is verified and no certificate is shown; write https://")
        if credential is not None and parts.hostname not in _LOOPBACK:
            raise OptionError("url", "over http:// everybody on the way can read the credentials; write https://")
    check_headers(options.headers)
    return Target(
        url,
        tls,
        credential,
        options.headers,
        proxy=options.proxy,
        timeout=options.timeout,
        gzip=options.compress,
    )


def check_headers(headers: Mapping[str, str]) -> None:
    """Check names and values of headers. Raises OptionError."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise OptionError("headers", f"{name!r} cannot be sent: name or value holds what no header can hold")
        if name.lower() in _OWN_HEADERS:
            raise OptionError(
                "headers", f"{name} is made by tailrace; leave it out (credentials have their own options)"
            )


def is_open(target: Target) -> bool:
    """Tell whether what is sent crosses the network in the clear."""
    parts = parse_url(target.url)
    return parts.scheme == "http" and parts.hostname not in _LOOPBACK


def _credential(options: HttpOptions) -> Credential | None:
    secrets: Mapping[str, str | None] = {
        "token": options.token,
        "token_file": options.token_file,
        "password": options.password,
        "password_file": options.password_file,
    }
    given = [name for name, value in secrets.items() if value is not None]
    if len(given) > 1:
        raise OptionError(given[1], f"{given[0]} and {given[1]} are both given; one of them proves who sends")
    is_password = bool(given) and given[0].startswith("password")
    if is_password != (options.user is not None):
        raise OptionError("user", "basic authentication takes a user, and password or password_file")
    if not given:
        return None
    secret, file = options.token or options.password, options.token_file or options.password_file
    return Credential(secret or "", file, user=options.user)
