"""The header that proves who sends; where its secret stands in a file, it is read anew when that changes."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tailrace import Context
from tailrace_plugins.receiving.watched import Watched, exposed
from tailrace_plugins.sending.target import Credential

_VISIBLE: Final = re.compile(r"[!-~]+")


class Authorization:
    """Gives the header. Raises ValueError at first if its file cannot be used; later the former secret stays."""

    def __init__(self, context: Context, credential: Credential | None) -> None:
        self._log = context.log
        self._credential = credential
        self._watched = Watched([credential.file] if credential else [])
        self._headers: Mapping[str, str] = make_header(credential) if credential else {}
        for path in exposed([credential.file] if credential else []):
            self._log.warning(
                "every user of this machine may read or change a secret", extra={"path": path, "do": f"chmod o= {path}"}
            )

    def headers(self) -> Mapping[str, str]:
        """Give the header as it is now; none if there is nothing to prove."""
        if self._watched.changed():
            self.read_anew()
        return self._headers

    def read_anew(self) -> None:
        """Read the file again, for it may have changed, and what was in it is no longer accepted."""
        if self._credential is None or self._credential.file is None:
            return
        try:
            self._headers = make_header(self._credential)
        except ValueError as error:
            self._log.error(
                "a changed file cannot be used; the former secret stays in force", extra={"cause": str(error)}
            )


def make_header(credential: Credential) -> Mapping[str, str]:
    """Make the header. Raises ValueError that names the file and says what is wrong, but never the secret."""
    file = credential.file
    secret = credential.secret if file is None else _read(file)
    place = f"the file {file}" if file else "what is given"
    if credential.user is not None:
        value = "Basic " + base64.b64encode(f"{credential.user}:{secret}".encode()).decode()
    elif _VISIBLE.fullmatch(secret):
        value = credential.prefix + secret
    else:
        raise ValueError(f"{place} does not hold one token and nothing else; write it without blanks or comments")
    return {credential.header: value}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path} does not hold a secret: it is not text") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; name a file that this user may read") from None
