"""A client's TLS: whom it trusts, and the certificate that it shows."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from typing import Final, NoReturn

from tailrace_plugins.sending.target import Pem, Tls

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def make_context(tls: Tls) -> ssl.SSLContext:
    """Make the context of a client: TLS 1.2 or later, HTTP/1.1. Raises ValueError that says which part is wrong."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls.ca is not None:
        _trust(context, tls.ca)
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca is None:
        context.load_default_certs()
    if tls.cert is not None and tls.key is not None:
        _show(context, tls.cert, tls.key)
    elif tls.cert is not None or tls.key is not None:
        raise ValueError("a client certificate needs its key, and a key its certificate; give both, or neither")
    return context


def read(what: str, pem: Pem) -> bytes:
    """Give the content. Raises ValueError that names the file."""
    if isinstance(pem, bytes):
        return pem
    try:
        return Path(pem).read_bytes()
    except OSError as error:
        raise ValueError(
            f"{_name(what, pem)} cannot be read: {error.strerror}; name a file that this user may read"
        ) from None


def _trust(context: ssl.SSLContext, ca: Pem) -> None:
    found = _CERTIFICATE.findall(read("CA", ca))  # OpenSSL stumbles over comments that are not ASCII
    try:
        context.load_verify_locations(cadata=b"\n".join(found).decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise ValueError(
            f"{_name('CA', ca)} holds no PEM certificate; give the CA that signed the other side's"
        ) from None


def _show(context: ssl.SSLContext, cert: Pem, key: Pem) -> None:
    """Load a pair through a file that is in memory only, for OpenSSL takes it from files alone."""
    names = _name("client certificate", cert), _name("its key", key)
    content = read("client certificate", cert) + b"\n" + read("key", key)

    def refuse_password() -> NoReturn:
        raise ValueError(f"{names[1]} is encrypted, and nobody is there to give the password; decrypt it")

    descriptor = os.memfd_create("tailrace-pair", os.MFD_CLOEXEC)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"{names[1]} does not belong to {names[0]}; name the two that were made together"
        else:
            message = f"{names[0]} and {names[1]} are not a certificate and its key in PEM ({error.reason})"
        raise ValueError(message) from None
    finally:
        os.close(descriptor)


def _name(what: str, pem: Pem) -> str:
    return f"{what} {pem}" if isinstance(pem, str) else f"{what} (given as data)"
