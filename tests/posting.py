"""A client of a webhook source, over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple

SECONDS = 30.0
"""So long an answer may take at most; only a broken server takes it."""


class Answer(NamedTuple):
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Give what the body says."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Give the message of an error."""
        message = json.loads(self.body)["error"]
        assert isinstance(message, str)
        return message


class Client:
    """Posts over one connection as long as that is kept, and over a new one if the server said that it is not."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, **headers: str) -> None:
        if tls is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        else:
            self.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=tls)
        self._headers = headers

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.connection.close()

    def post(self, body: bytes, path: str = "/", **headers: str) -> Answer:
        """Post a body, with these headers beside those of the client."""
        return self.request("POST", path, body, {"Content-Type": "application/json"} | self._headers | headers)

    def request(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> Answer:
        """Send a request and read its answer."""
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def post(port: int, body: bytes, path: str = "/", tls: ssl.SSLContext | None = None, **headers: str) -> Answer:
    """Post a body over a connection of its own."""
    with Client(port, tls) as client:
        return client.post(body, path, **headers)


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """Connect, and speak to the server in bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes; a reset counts as an end too."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Read one answer that has a length; give status and body."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def event_list(*names: str) -> bytes:
    """Make an EventList of events with these auditIDs."""
    items: list[dict[str, Any]] = [{"level": "Metadata", "auditID": name, "verb": "get"} for name in names]
    return json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items}).encode()
