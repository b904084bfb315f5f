"""The kubeconfig that tells an API server where to send audit events, and what the API server makes of it.

Nothing here touches a file. What is said of the API server was seen at one of version 1.36, and stands in client-go
(`tools/clientcmd`, `rest/client.go`) and in `apiserver/pkg/util/webhook`.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import sys
from collections.abc import Collection
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import yaml

_URL: Final = re.compile(r"[!-~]+")
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9.])?")


class KubeconfigError(Exception):
    """There can be no such kubeconfig; the message says why, and what to do."""


class File(NamedTuple):
    """A file that a kubeconfig refers to: its absolute path, and what it holds."""

    path: str
    content: bytes


class Credentials(NamedTuple):
    """How the API server knows the receiver (`ca`), and how it makes itself known; None where nothing was given."""

    ca: File | None = None
    cert: File | None = None
    key: File | None = None
    token: File | None = None

    @property
    def options(self) -> list[str]:
        """The options of the command that gave these."""
        names = {"--ca": self.ca, "--cert": self.cert, "--key": self.key, "--token-file": self.token}
        return [name for name, file in names.items() if file is not None]


def parse_server(url: str) -> SplitResult:
    """Take the URL of a receiver apart. Raises KubeconfigError where the API server could not use it."""
    if "@" in url:  # the URL is not repeated, for that may be the end of a password
        raise KubeconfigError(
            "--server holds a @; a user and password would show up in logs, so use --token-file; in a path write %40"
        )
    if "://" not in url:
        raise KubeconfigError(f"--server {url!r} has no scheme; write https:// (or http://) before it")
    if not _URL.fullmatch(url):
        raise KubeconfigError(f"--server {url!r}: spaces, control characters and letters beyond ASCII must be encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise KubeconfigError(f"--server is no URL: {error}; write https://HOST:PORT/PATH") from None
    if parts.scheme not in ("http", "https"):
        raise KubeconfigError(f"--server {url!r}: the API server sends over https:// and http:// only")
    if port == 0 or not _is_host(parts.hostname or ""):
        raise KubeconfigError(f"--server {url!r} names no host and port to send to; write https://HOST:PORT/PATH")
    if re.search(r"%(?![0-9A-Fa-f]{2})", parts.path):
        raise KubeconfigError(f"--server {url!r} has a % in its path that begins no escape; write it %25")
    return parts


def _is_host(name: str) -> bool:
    return _address(name) is not None if ":" in name else _HOST.fullmatch(name) is not None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Say whether what is sent to this host stays on this machine."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def warnings(server: SplitResult, given: Collection[str]) -> list[str]:
    """Say what the API server will do otherwise than one may think, each with what to do about it.

    `given` is which of the options that `Credentials` lists there are.
    """
    host = server.hostname or ""
    found = []
    if server.scheme == "http" and given:
        found.append(
            f"{', '.join(given)} will not be used: over http:// the API server sends no credentials and "
            "verifies nothing; give an https:// URL"
        )
    if server.scheme == "http" and not is_loopback(host):
        found.append(
            f"events cross the network to {host} in the clear, and anybody can send some; give an https:// URL"
        )
    if server.scheme == "https" and "--ca" not in given:
        found.append(
            "without --ca the API server verifies the receiver against its system's trust store; give the CA that "
            "signed the receiver's certificate, unless that is a public one"
        )
    if server.query or server.fragment:
        found.append(
            "the API server drops what follows ? or # in the URL; put the name of a cluster into the path: "
            f"{server.scheme}://{server.netloc}/NAME"
        )
    if server.path.rstrip("/") and server.path.endswith("/"):
        found.append(
            f"the API server cuts the / at the end of the path; let the receiver expect {server.path.rstrip('/')}"
        )
    return found


class _Quoted(str):
    """A string that is quoted in YAML, for Go's parser takes 12e34 for a number where PyYAML does not."""


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which writes those quotes too."""


_Dumper.add_representer(
    _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)


def render(server: SplitResult, credentials: Credentials, *, embed: bool = False) -> str:
    """Give the kubeconfig as YAML: with absolute paths, or with what the files hold.

    A path that is relative would be looked for beside the kubeconfig.
    """
    ca, cert, key, token = credentials
    cluster = {"server": server.geturl(), **_pem("certificate-authority", ca, embed)}
    user: dict[str, str] = {**_pem("client-certificate", cert, embed), **_pem("client-key", key, embed)}
    if token is not None:
        user |= {"token": _Quoted(token.content.decode().strip())} if embed else {"tokenFile": token.path}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tailrace", "cluster": cluster}],
        "users": [{"name": "kube-apiserver", "user": user}],
        "contexts": [{"name": "audit", "context": {"cluster": "tailrace", "user": "kube-apiserver"}}],
        "current-context": "audit",
    }
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=sys.maxsize)


def _pem(field: str, file: File | None, embed: bool) -> dict[str, str]:
    if file is None:
        return {}
    return {f"{field}-data": base64.b64encode(file.content).decode()} if embed else {field: file.path}
