"""Secrets that are replaced in the ways in which that happens, and clients that post meanwhile."""

from __future__ import annotations

import base64
import os
import ssl
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from authority import Authority, trusting
from posting import Client, event_list
from waiting import wait_until

from tailrace.certificates import Pair

Replace = Callable[[Path, dict[str, bytes]], None]
MOST = 4000  # requests of one client


def rename(directory: Path, contents: dict[str, bytes]) -> None:
    """Replace each file by another one, as most programs do."""
    for name, content in contents.items():
        temporary = directory / f"{name}.tmp"
        temporary.write_bytes(content)
        temporary.replace(directory / name)


def rewrite(directory: Path, contents: dict[str, bytes]) -> None:
    """Write into the files, in several steps, as an editor may."""
    for name, content in contents.items():
        with (directory / name).open("wb") as file:
            for part in (content[: len(content) // 2], content[len(content) // 2 :]):
                file.write(part)
                file.flush()


def swap_links(directory: Path, contents: dict[str, bytes]) -> None:
    """Replace all files at once by a symbolic link to their directory, as a mounted secret of Kubernetes changes."""
    data = directory / "..data"
    former = {path.name: path.read_bytes() for path in data.iterdir()} if data.exists() else {}
    fresh = directory / f"..{len(list(directory.iterdir()))}"
    fresh.mkdir()
    for name, content in (former | contents).items():
        (fresh / name).write_bytes(content)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    (directory / "..tmp").symlink_to(fresh.name)
    os.replace(directory / "..tmp", data)


class Site:
    """The files of a source, two authorities, and what a client needs for each way to prove who it is."""

    def __init__(self, directory: Path, replace: Replace) -> None:
        self.directory = directory / "secrets"
        self.directory.mkdir()
        self._scratch = directory
        self._replace = replace
        self.first, self.second = Authority("first"), Authority("second")
        pair = self.first.sign_server("before")
        contents = {"crt": pair.certificate, "key": pair.key, "ca": self.first.ca, "token": b"old", "users": b"u:old"}
        self.replace(**contents)
        names = {
            "tls_cert": "crt",
            "tls_key": "key",
            "client_ca": "ca",
            "token_file": "token",
            "password_file": "users",
        }
        self.options: dict[str, Any] = {option: str(self.directory / name) for option, name in names.items()}

    def replace(self, **contents: bytes) -> None:
        self._replace(self.directory, contents)

    def replace_pair(self, pair: Pair) -> None:
        self.replace(crt=pair.certificate, key=pair.key)

    def client(self, pair: Pair | None = None) -> ssl.SSLContext:
        return trusting(self.first, pair=pair, directory=self._scratch)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"u:{password}".encode()).decode()


class Traffic:
    """Clients that post all the time, over one connection and over new ones; `tls` and `authorization` can change."""

    def __init__(self, port: int, tls: ssl.SSLContext, authorization: str | None) -> None:
        self._port = port
        self._credentials = tls, authorization
        self._names = count()
        self._stop = threading.Event()
        self.statuses: list[int] = []
        self.problems: list[Exception] = []
        self._threads = [threading.Thread(target=self._run, args=(keep,)) for keep in (True, False)]
        for thread in self._threads:
            thread.start()

    def use(self, tls: ssl.SSLContext, authorization: str | None) -> None:
        """Let all clients prove who they are in another way, and wait until each does."""
        self._credentials = tls, authorization
        self.wait_for_more()

    def wait_for_more(self) -> None:
        """Wait until each client has got an answer to a request that it begins from now on."""
        enough = len(self.statuses) + 4 * len(self._threads)
        wait_until(lambda: len(self.statuses) >= enough or bool(self.problems))

    def _run(self, keep: bool) -> None:
        client, used = None, None
        try:
            for _ in range(MOST):
                credentials = self._credentials
                if client is None or not keep or used is not credentials:
                    if client is not None:
                        client.connection.close()
                    client, used = Client(self._port, credentials[0]), credentials
                headers = {} if credentials[1] is None else {"Authorization": credentials[1]}
                self.statuses.append(client.post(event_list(f"{id(self)}-{next(self._names)}"), **headers).status)
                if self._stop.wait(0.01):
                    break
        except Exception as error:
            self.problems.append(error)
        finally:
            if client is not None:
                client.connection.close()

    def end(self) -> int:
        """Stop, and give the number of requests, each of which must have been answered with 200."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        assert not self.problems
        assert set(self.statuses) == {200}
        return len(self.statuses)
