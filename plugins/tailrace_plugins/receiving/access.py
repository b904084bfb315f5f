"""Access to a receiver: the files that say who may send and who receives, read at its start and when they change."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tailrace import Context
from tailrace_plugins.receiving.credentials import Credentials
from tailrace_plugins.receiving.tls import make_context
from tailrace_plugins.receiving.watched import Watched, exposed


class Files(NamedTuple):
    """Where what lies; None where there is none."""

    tls_cert: str | None
    tls_key: str | None
    client_ca: str | None
    token_file: str | None
    password_file: str | None


class Access:
    """What is in force of those files. What cannot be used leaves in force what was before."""

    def __init__(self, context: Context, files: Files, names: Sequence[str]) -> None:
        self._log = context.log
        self._files = files
        self.credentials = Credentials(
            certificates=bool(files.client_ca),
            names=names,
            token_file=files.token_file,
            password_file=files.password_file,
        )
        self._exposed: set[str] = set()

    def load(self) -> ssl.SSLContext | None:
        """Read all files, and give the TLS context, if there is to be one. Raises ValueError that names the file."""
        files = self._files
        self._secrets = Watched([files.token_file, files.password_file])
        self._certificates = Watched([files.tls_cert, files.tls_key, files.client_ca])
        self.credentials.load()
        tls = self._make_context()
        self._warn()
        return tls

    def refresh(self, renew: Callable[[ssl.SSLContext], None]) -> None:
        """Read files anew that have changed since; `renew` takes the TLS context that follows from them."""
        if self._secrets.changed():
            self._take("tokens and passwords", self.credentials.load)
        if self._certificates.changed():

            def take() -> None:
                tls = self._make_context()
                assert tls is not None  # or there would be no file that changed
                renew(tls)

            self._take("certificates", take)

    def _take(self, what: str, take: Callable[[], None]) -> None:
        try:
            take()
        except ValueError as error:
            self._log.error("changed files cannot be used; the former ones stay in force", extra={"cause": str(error)})
        else:
            self._log.info("changed files are in force", extra={"what": what})
            self._warn()

    def _make_context(self) -> ssl.SSLContext | None:
        cert, key, client_ca, *others = self._files
        return make_context(cert, key, client_ca, other_ways=any(others)) if cert and key else None

    def _warn(self) -> None:
        """Say which secrets lie open, of which that was not said before."""
        files = self._files
        before, self._exposed = self._exposed, set(exposed([files.tls_key, files.token_file, files.password_file]))
        for path in sorted(self._exposed - before):
            self._log.warning(
                "every user of this machine may read or change a secret", extra={"path": path, "do": f"chmod o= {path}"}
            )
