"""The receiver's TLS: versions, certificate, and whose client certificates are accepted."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn


def make_context(cert: str, key: str, client_ca: str | None, *, other_ways: bool) -> ssl.SSLContext:
    """Make the context of a server: TLS 1.2 or later, HTTP/1.1.

    With `client_ca`, a client needs a certificate of one of these authorities; with `other_ways` to prove who it is, it
    may come without one too. Raises ValueError that names the file, and the option that names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])  # the API server would speak HTTP/2, which uvicorn does not
    _load_pair(context, cert, key)
    if client_ca:
        _try("client_ca", client_ca)
        try:
            context.load_verify_locations(client_ca)
        except ssl.SSLError:
            raise ValueError(f"client_ca {client_ca} holds no PEM certificate; name another file") from None
        context.verify_mode = ssl.CERT_OPTIONAL if other_ways else ssl.CERT_REQUIRED
    return context


def _load_pair(context: ssl.SSLContext, cert: str, key: str) -> None:
    def refuse_password() -> NoReturn:
        raise ValueError(f"tls_key {key} is encrypted, and nobody is there to give the password; decrypt it")

    _try("tls_cert", cert)
    _try("tls_key", key)
    try:
        context.load_cert_chain(cert, key, refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"tls_key {key} is not the key of tls_cert {cert}; name the two that were made together"
        else:
            message = f"tls_cert {cert} and tls_key {key} are not a certificate and its key in PEM ({error.reason})"
        raise ValueError(message) from None


def _try(option: str, path: str) -> None:
    """Read a file, for OpenSSL does not say which one it cannot read."""
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f"{option} {path} cannot be read: {error.strerror}; name a file that this user may read"
        ) from None
