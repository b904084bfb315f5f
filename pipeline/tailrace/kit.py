"""All that an API server and a webhook source need to trust each other, made in one go to begin with."""

from __future__ import annotations

import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult

from tailrace.certificates import issue
from tailrace.durable import Disk, make_directories, replace_file
from tailrace.kubeconfig import Credentials, File, KubeconfigError, is_loopback, render

CLIENT: Final = "kube-apiserver-audit"
KUBECONFIG: Final = "kubeconfig.yaml"


class Part(NamedTuple):
    """A file of the kit: what it holds, whether that is secret, and what it is for."""

    content: bytes
    secret: bool
    purpose: str


def make(directory: str, server: SplitResult, now: datetime, *, embed: bool) -> dict[str, Part]:
    """Make the files of a kit, by name, for a place (an absolute path) where they are to lie; write nothing."""
    host = server.hostname or ""
    if server.scheme != "https":
        raise KubeconfigError(
            f"--init makes certificates, and {server.scheme}:// has no use for them; give an https:// URL"
        )
    made = issue([host, "localhost", "127.0.0.1", "::1"], CLIENT, now)
    token = f"{secrets.token_urlsafe(32)}\n".encode()
    parts = {
        "ca.crt": Part(made.ca, False, "the CA of both certificates, whose key was not kept"),
        "server.crt": Part(made.server.certificate, False, f"the receiver's certificate, for {host} and this machine"),
        "server.key": Part(made.server.key, True, "its key"),
        "client.crt": Part(made.client.certificate, False, f"the API server's certificate, as {CLIENT}"),
        "client.key": Part(made.client.key, True, "its key"),
        "token": Part(token, True, "the token that the API server sends as well"),
    }
    given = (
        File(os.path.join(directory, name), parts[name].content)
        for name in ("ca.crt", "client.crt", "client.key", "token")
    )
    text = render(server, Credentials(*given), embed=embed)
    return parts | {KUBECONFIG: Part(text.encode(), True, "for --audit-webhook-config-file")}


def source_options(directory: str, server: SplitResult) -> dict[str, object]:
    """Give the options with which a webhook source is the server of this kit."""
    host = server.hostname or ""
    listen = (f"[{host}]" if ":" in host else host) if is_loopback(host) else "0.0.0.0"  # noqa: S104 - as was asked for
    files = {"tls_cert": "server.crt", "tls_key": "server.key", "client_ca": "ca.crt", "token_file": "token"}
    place = directory.replace("$", "$$")  # in a config, a $ may begin a variable
    return {
        "type": "webhook",
        "listen": f"{listen}:{server.port or 443}",
        **{option: os.path.join(place, name) for option, name in files.items()},
        "client_names": [CLIENT],
    }


def store(directory: Path, parts: dict[str, Part], disk: Disk) -> None:
    """Write the files of a kit, the kubeconfig last; secrets are for their owner only.

    Raises KubeconfigError if one of them is there already, and OSError.
    """
    if found := [name for name in parts if os.path.lexists(directory / name)]:
        raise KubeconfigError(
            f"--init {directory} holds {', '.join(found)} already, and nothing is replaced; name another place"
        )
    make_directories(disk, str(directory.parent))
    make_directories(disk, str(directory), 0o700)
    for name, part in parts.items():
        replace_file(disk, directory / name, part.content, mode=0o600 if part.secret else 0o644)
