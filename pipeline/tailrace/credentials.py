"""The files that hold an API server's credentials, read and tried before the API server does.

An API server that cannot read them does not start, or starts and loses each batch.
"""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from typing import Final, NoReturn

from tailrace.kubeconfig import Credentials, File, KubeconfigError

_TOKEN: Final = re.compile(rb"(?!#|sha256:)[!-~]+")


def load(
    *, ca: Path | None = None, cert: Path | None = None, key: Path | None = None, token: Path | None = None
) -> Credentials:
    """Read PEM files and a file that holds one bearer token.

    Raises KubeconfigError where one cannot be read, or is not what the API server needs.
    """
    if (cert is None) != (key is None):
        given, missing = ("--cert", "--key") if key is None else ("--key", "--cert")
        raise KubeconfigError(f"{given} is given without {missing}; a client certificate needs both")
    credentials = Credentials(
        _read("--ca", ca), _read("--cert", cert), _read("--key", key), _read("--token-file", token)
    )
    if credentials.ca is not None:
        _try_ca(credentials.ca.path)
    if credentials.cert is not None and credentials.key is not None:
        _try_pair(credentials.cert.path, credentials.key.path)
    if credentials.token is not None and not _TOKEN.fullmatch(credentials.token.content.strip()):
        raise KubeconfigError(
            f"--token-file {credentials.token.path} does not hold one token and nothing else, and the API server sends "
            "the whole file; comments, hashes and further tokens are for the receiver's token_file"
        )
    return credentials


def _read(option: str, path: Path | None) -> File | None:
    if path is None:
        return None
    absolute = os.path.abspath(path)  # with its symbolic links, by which files like these are exchanged
    try:
        return File(absolute, Path(absolute).read_bytes())
    except OSError as error:
        raise KubeconfigError(
            f"{option} {absolute} cannot be read: {error.strerror}; name a file that this user may read"
        ) from None


def _try_ca(path: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise KubeconfigError(f"--ca {path} holds no PEM certificate; convert it, or name another file") from None


def _try_pair(cert: str, key: str) -> None:
    def refuse_password() -> NoReturn:
        raise KubeconfigError(f"--key {key} is encrypted, and the API server knows no password; decrypt it")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"--key {key} is not the key of --cert {cert}; name the two that were made together"
        else:
            message = f"--cert {cert} and --key {key} are not a certificate and its key in PEM ({error.reason})"
        raise KubeconfigError(message) from None
