"""The path of a request URI, as the API server's own parser finds it (Go, net/url, `ParseRequestURI`).

A policy speaks of the decoded path: `/%68ealthz?verbose` is `/healthz`. An event holds the URI as the client sent it.
"""

from __future__ import annotations

import ipaddress
import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PORT = re.compile(r":[0-9]*")
_USER = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_HOST = re.compile(r"""(?:[A-Za-z0-9\-_.~!$&'()*+,;=:\[\]<>"]|%25|%[89A-Fa-f][0-9A-Fa-f]|[^\x00-\x7f])*""")


def request_path(uri: str) -> str:
    """Give the decoded path of a request URI; raises ValueError, which says why there is none.

    Bytes that are not UTF-8 come out as surrogate escapes, so that no two paths are taken for one.
    """
    uri = _SURROGATE.sub("\ufffd", uri)  # as Go reads them
    if _CONTROL.search(uri):
        raise ValueError("it holds a control character")
    if not uri:
        raise ValueError("it is empty")
    if uri == "*":
        return uri
    if uri.startswith(":"):
        raise ValueError("there is nothing before the colon")
    scheme = _SCHEME.match(uri)
    rest = (uri[scheme.end() :] if scheme else uri).partition("?")[0]
    if not rest.startswith("/"):
        if scheme:
            return ""  # like mailto:somebody
        raise ValueError("it does not begin with a slash")
    if scheme and rest.startswith("//"):
        authority, slash, rest = rest[2:].partition("/")
        _check_authority(authority)
        rest = slash + rest
    _check_escapes(rest)
    plain = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), rest.encode())
    return plain.decode("utf-8", "surrogateescape")


def _check_escapes(text: str) -> None:
    if found := _BAD_ESCAPE.search(text):
        raise ValueError(f"{text[found.start() : found.start() + 3]!r} is no escaped byte")


def _check_authority(authority: str) -> None:
    user, at, host = authority.rpartition("@")
    if at:
        _check_escapes(user)
        if not _USER.fullmatch(user):
            raise ValueError("the user name in front of its host is not valid")
    if "[" in host:
        _check_address(host)
    else:
        name, colon, port = host.rpartition(":")
        if ":" in name or (colon and not _PORT.fullmatch(colon + port)):
            raise ValueError("the port of its host is not valid")
    _check_escapes(host)
    if not _HOST.fullmatch(host):
        raise ValueError("its host is not valid")


def _check_address(host: str) -> None:
    address, bracket, port = host.rpartition("]")
    if not bracket or not host.startswith("[") or (port and not _PORT.fullmatch(port)):
        raise ValueError("its host is not valid")
    try:
        ipaddress.IPv6Address(address[1:].partition("%25")[0])
    except ValueError:
        raise ValueError("the address of its host is not valid") from None
