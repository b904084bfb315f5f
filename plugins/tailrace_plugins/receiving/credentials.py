"""Who may send: client certificates, bearer tokens and passwords, as the API server's kubeconfig can hold them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_HASHED = re.compile(r"sha256:([0-9a-fA-F]{64})")


class Caller(NamedTuple):
    """A client that may send, and the name that it proved to have, if its proof names it."""

    name: str | None


class Denied(Exception):  # noqa: N818 - said of the client
    """The client may not send. `status` is 401 (it gave nothing that proves who it is) or 403 (it is somebody else)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Secrets(NamedTuple):
    """What is in the files, as SHA-256 digests: of tokens, and of passwords by user."""

    tokens: tuple[bytes, ...] = ()
    passwords: Mapping[str, bytes] = {}


class Watched:
    """Files whose change is noticed by looking at them: size, time and inode, through symbolic links."""

    def __init__(self, paths: Iterable[str | None]) -> None:
        self._paths = [path for path in paths if path]
        self._seen = self._look()

    def changed(self) -> bool:
        """Tell whether one of them is not what it was when this was asked the last time."""
        seen, self._seen = self._seen, self._look()
        return seen != self._seen

    def _look(self) -> list[tuple[int, int, int] | None]:
        stamps: list[tuple[int, int, int] | None] = []
        for path in self._paths:
            try:
                status = os.stat(path)
                stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))
            except OSError:
                stamps.append(None)
        return stamps


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
        """Read the files, now or anew. Raises OSError, and ValueError that names file and line."""
        self._secrets = Secrets(
            tuple(_read(self._token_file, _token)) if self._token_file else (),
            dict(_read(self._password_file, _password)) if self._password_file else {},
        )

    def check(self, authorization: str | None, peer: Mapping[str, Any] | None) -> Caller:
        """Tell who sends, by the header `Authorization` and the certificate. Raises Denied."""
        if not self.required:
            return Caller(None)
        denial = Denied(401, f"no credentials; send {' or '.join(self._ways())}")
        if peer and self._certificates:
            names = certificate_names(peer)
            allowed = [name for name in names if name in self._names] if self._names else names
            if allowed or not self._names:
                return Caller(allowed[0] if allowed else None)
            denial = Denied(403, f"the certificate of {', '.join(names) or 'nobody'} is not in client_names")
        if authorization is not None:
            caller = self._check_header(authorization)
            if caller is not None:
                return caller
            denial = Denied(401, "the credentials are not valid; compare the kubeconfig with the files of the receiver")
        raise denial

    def _ways(self) -> list[str]:
        ways = {
            "a client certificate": self._certificates,
            "a bearer token": self._token_file,
            "user and password": self._password_file,
        }
        return [way for way, is_open in ways.items() if is_open]

    def _check_header(self, authorization: str) -> Caller | None:
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer":
            digest = _digest(value.strip().encode("latin-1"))
            # all are compared, so that the time that it takes says nothing about any of them
            same = [hmac.compare_digest(digest, token) for token in self._secrets.tokens]
            return Caller(None) if any(same) else None
        if scheme.lower() == "basic":
            try:
                name, _, password = base64.b64decode(value.strip(), validate=True).partition(b":")
                user = name.decode()
            except ValueError:
                return None
            expected = self._secrets.passwords.get(user, bytes(32))
            return Caller(user) if hmac.compare_digest(_digest(password), expected) else None
        return None


def certificate_names(peer: Mapping[str, Any]) -> list[str]:
    """Give the names in a certificate (as `ssl.SSLSocket.getpeercert` gives it): common name, then alternative ones."""
    common = [value for parts in peer.get("subject", ()) for key, value in parts if key == "commonName"]
    return [*common, *(value for _, value in peer.get("subjectAltName", ()))]


def _read(path: str, parse: Callable[[str], Any]) -> Iterable[Any]:
    found = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            try:
                found.append(parse(line.strip()))
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from None
    if not found:
        raise ValueError(f"{path}: there is nothing in it; nobody could send")
    return found


def _token(line: str) -> bytes:
    if any(sign.isspace() for sign in line):
        raise ValueError("a token has no blanks; write one a line")
    return _secret(line)


def _password(line: str) -> tuple[str, bytes]:
    user, colon, password = line.partition(":")
    if not colon or not user or not password:
        raise ValueError("write user:password, or user:sha256:<64 hexadecimal digits>")
    return user, _secret(password)


def _secret(text: str) -> bytes:
    """Give the digest of a secret that is written plainly, or as its digest."""
    hashed = _HASHED.fullmatch(text)
    return bytes.fromhex(hashed[1]) if hashed else _digest(text.encode())


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
