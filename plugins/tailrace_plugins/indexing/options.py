"""Checks of the sink's options that the types cannot make; each raises OptionError, which never repeats a secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from tailrace import OptionError
from tailrace_plugins.sending.target import Credential, parse_url

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"(?! )[ -~]*(?<! )")
_T = TypeVar("_T")


def checked(option: str, make: Callable[[], _T]) -> _T:
    """Make something of an option, whose ValueError says what is wrong with it."""
    try:
        return make()
    except ValueError as error:
        raise OptionError(option, str(error)) from None


def check_hosts(hosts: Sequence[str]) -> None:
    """Check that these are URLs of nodes, each another one."""
    for host in hosts:
        if checked("hosts", partial(parse_url, host)).query:
            raise OptionError("hosts", f"{host!r}: leave out what follows the ?; that is made of other options")
    if len({host.rstrip("/") for host in hosts}) < len(hosts):
        raise OptionError("hosts", "a node is named twice")


def check_headers(headers: Mapping[str, str]) -> None:
    """Check that these can be sent."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise OptionError("headers", f"{name!r} cannot be sent: name or value has a sign that no header has")


def make_credential(user: str | None, secrets: Mapping[str, str | None]) -> Credential | None:
    """Make what proves who sends, of the options that are given; an empty one is as one that is not there.

    `secrets` has password, api_key, token, and of each the file that holds it.
    """
    given = {option: value for option, value in secrets.items() if value}
    if len(given) > 1:
        first, *others = given
        raise OptionError(others[0], f"{others[0]} and {first} are two ways to prove who sends; give one of them")
    option, value = next(iter(given.items()), ("", ""))
    if bool(user) != option.startswith("password"):
        missing = "user" if option.startswith("password") else "password"
        raise OptionError(missing, "basic authentication needs user, and password or password_file")
    if not option:
        return None
    is_file = option.endswith("_file")
    secret, file = ("", value) if is_file else (value, None)
    if user:
        return Credential(secret, file, user=user)
    return Credential(secret, file, prefix="ApiKey " if option.startswith("api_key") else "Bearer ")


def check_pair(cert: str | None, key: str | None) -> None:
    """Check that a client certificate comes with its key."""
    if bool(cert) != bool(key):
        raise OptionError(
            "client_key" if cert else "client_cert",
            "a client certificate (client_cert) needs its key (client_key), and a key its certificate",
        )
