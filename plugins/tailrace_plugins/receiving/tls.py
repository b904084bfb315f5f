"""The receiver's TLS: versions, certificate, and whose client certificates are accepted."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager


def make_context(cert: str, key: str, client_ca: str | None, *, other_ways: bool) -> ssl.SSLContext:
    """Make the context of a server: TLS 1.2 or later, HTTP/1.1.

    With `client_ca`, a client needs a certificate of one of these authorities; with `other_ways` to prove who it is, it
    may come without one too. Raises OSError that names the files.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])  # the API server would speak HTTP/2, which uvicorn does not
    with _naming(f"{cert}, {key}"):
        context.load_cert_chain(cert, key, password=b"")  # no prompt for a key that needs one
    if client_ca:
        with _naming(client_ca):
            context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL if other_ways else ssl.CERT_REQUIRED
    return context


@contextmanager
def _naming(files: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise OSError(error.errno, f"cannot be used for TLS: {error.reason or error.strerror}", files) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, files) from None
