"""Who may send: client certificates, bearer tokens and passwords, as the API server's kubeconfig can hold them."""

from __future__ import annotations

import base64
import codecs
import hashlib
import hmac
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

_HASHED: Final = re.compile(rb"sha256:([0-9a-fA-F]{64})")
_BLANKS: Final = b" \t\r"
_SHOWN: Final = 300  # so much of what a certificate says is repeated


class Caller(NamedTuple):
    """A client that may send, and the name that it proved to have, if its proof names it."""

    name: str | None


class Denied(Exception):  # noqa: N818 - said of the client
    """The client may not send. `status` is 401 (it gave nothing that proves who it is) or 403 (it is somebody else).

    If it `must_reconnect`, another request over the same connection cannot turn out better.
    """

    def __init__(self, status: int, message: str, *, must_reconnect: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.must_reconnect = must_reconnect


class Secrets(NamedTuple):
    """What is in the files, as SHA-256 digests: of tokens, and of passwords by user."""

    tokens: tuple[bytes, ...] = ()
    passwords: Mapping[str, tuple[bytes, ...]] = {}


class Credentials:
    """Decides who may send. Where several ways are configured, one of them is enough; where none is, all may."""

    def __init__(
        self,
        *,
        certificates: bool,
        names: Iterable[str] = (),
        token_file: str | None = None,
        password_file: str | None = None,
    ) -> None:
        self._certificates = certificates
        self._names = frozenset(names)
        self._token_file = token_file
        self._password_file = password_file
        self._secrets = Secrets()
        self.required = bool(certificates or token_file or password_file)

    def load(self) -> None:
        """Read the files, now or anew. Raises ValueError that names file and line, and leaves all as it was."""
        self._secrets = Secrets(
            tuple(_read_tokens(self._token_file)) if self._token_file else (),
            _read_passwords(self._password_file) if self._password_file else {},
        )

    def check(self, authorization: str | None, peer: Mapping[str, Any] | None, now: float) -> Caller:
        """Tell who sends, by the header `Authorization` and the certificate, at a time (seconds since the epoch).

        Raises Denied.
        """
        if not self.required:
            return Caller(None)
        denial = Denied(401, f"no credentials; send {' or '.join(self._ways())}")
        if peer and self._certificates:
            caller_or_denial = self._check_certificate(peer, now)
            if isinstance(caller_or_denial, Caller):
                return caller_or_denial
            denial = caller_or_denial
        if authorization is not None:
            caller = self._check_header(authorization)
            if caller is not None:
                return caller
            denial = Denied(401, "the credentials are not valid; compare the kubeconfig with the files of the receiver")
        raise denial

    def _check_certificate(self, peer: Mapping[str, Any], now: float) -> Caller | Denied:
        """Check a certificate that the handshake found good, which may be long ago."""
        names = certificate_names(peer)
        shown = f"the certificate of {', '.join(names) or 'nobody':.{_SHOWN}}"
        if ssl.cert_time_to_seconds(peer["notAfter"]) < now:
            return Denied(401, f"{shown} has expired; connect with a new one", must_reconnect=True)
        if not self._names:
            return Caller(names[0] if names else None)
        allowed = [name for name in names if name in self._names]
        return Caller(allowed[0]) if allowed else Denied(403, f"{shown} is not in client_names")

    def _ways(self) -> list[str]:
        ways = {
            "a client certificate": self._certificates,
            "a bearer token": self._token_file,
            "user and password": self._password_file,
        }
        return [way for way, is_open in ways.items() if is_open]

    def _check_header(self, authorization: str) -> Caller | None:
        scheme, _, rest = authorization.partition(" ")
        value = rest.encode("latin-1").strip(_BLANKS)
        if scheme.lower() == "bearer":
            return Caller(None) if _is_one_of(value, self._secrets.tokens) else None
        if scheme.lower() == "basic":
            try:
                name, _, password = base64.b64decode(value, validate=True).partition(b":")
                user = name.decode()
            except ValueError:
                return None
            return Caller(user) if _is_one_of(password, self._secrets.passwords.get(user, (bytes(32),))) else None
        return None


def certificate_names(peer: Mapping[str, Any]) -> list[str]:
    """Give the names in a certificate (as `ssl.SSLSocket.getpeercert` gives it): common name, then alternative ones.

    An alternative name that is no text (a directory's) is none that could be listed.
    """
    common = [value for parts in peer.get("subject", ()) for key, value in parts if key == "commonName"]
    return [*common, *(value for _, value in peer.get("subjectAltName", ()) if isinstance(value, str))]


def _is_one_of(secret: bytes, digests: Iterable[bytes]) -> bool:
    """Compare with all of them, so that the time that it takes says nothing about any."""
    digest = _digest(secret)
    return any([hmac.compare_digest(digest, other) for other in digests])  # noqa: C419 - any() over a generator stops


def _read_tokens(path: str) -> Iterator[bytes]:
    for place, line in _lines("token_file", path):
        if len(line.split()) > 1:
            raise ValueError(f"{place}: a token has no blanks; write one a line")
        yield _secret(line, place)


def _read_passwords(path: str) -> Mapping[str, tuple[bytes, ...]]:
    found: dict[str, tuple[bytes, ...]] = {}
    for place, line in _lines("password_file", path):
        name, _, password = line.partition(b":")
        if not name or not password:
            raise ValueError(f"{place}: write user:password, or user:sha256:<64 hexadecimal digits>")
        try:
            user = name.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{place}: the name of the user is not UTF-8") from None
        found[user] = (*found.get(user, ()), _secret(password, place))
    return found


def _lines(option: str, path: str) -> Iterator[tuple[str, bytes]]:
    """Give the lines that say something, each with its place."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f"{option} {path} cannot be read: {error.strerror}; name a file that this user may read"
        ) from None
    is_empty = True
    for number, whole in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        line = whole.strip(_BLANKS)
        if line and not line.startswith(b"#"):
            is_empty = False
            yield f"{option} {path}:{number}", line
    if is_empty:
        raise ValueError(f"{option} {path}: there is nothing in it, so nobody could send; write one a line")


def _secret(text: bytes, place: str) -> bytes:
    """Give the digest of a secret that is written plainly, or as its digest."""
    if not text.startswith(b"sha256:"):
        return _digest(text)
    hashed = _HASHED.fullmatch(text)
    if hashed is None:
        raise ValueError(f"{place}: after sha256: there must be 64 hexadecimal digits, as sha256sum prints them")
    return bytes.fromhex(hashed[1].decode())


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
