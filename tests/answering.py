"""A small web application on the HTTP server, and peers that are slow on purpose."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tailrace.serving import Address, HttpServer

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS = {
    "HEAD_SECONDS": "connection",
    "SEND_SECONDS": "connection",
    "KEEP_ALIVE_SECONDS": "connection",
    "CLOSE_SECONDS": "connection",
    "HANDSHAKE_SECONDS": "entrance",
    "MAX_CONNECTIONS": "entrance",
}
LONG = 60.0  # a time limit that is not meant to be reached


class App:
    """Answers a POST when its body is here, a GET at once: with a large body if its path says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.bodies: list[bytes] = []
        self.turned_away: list[tuple[str, str]] = []

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        self.begun += 1
        body = b""
        while scope["method"] == "POST":
            message = await receive()
            body += message.get("body", b"")
            if message["type"] == "http.disconnect":
                return
            if not message["more_body"]:
                self.bodies.append(body)
                break
        answer = {"/large": bytes(1 << 20), "/huge": bytes(32 << 20)}.get(scope["path"], b"ok")
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def refuse(self, reason: str, client: str) -> None:
        self.turned_away.append((reason, client))


@contextlib.contextmanager
def serving(app: App, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve on a free port."""
    server = HttpServer(app, Address("127.0.0.1", 0), name="test", tls=tls, refused=app.refuse)
    server.start()
    try:
        yield server.address.port
    finally:
        server.stop()


Limits = Callable[..., None]


def limiting(monkeypatch: pytest.MonkeyPatch) -> Limits:
    """Set limits by name; those of time that are not named are too long to be reached."""

    def set_limits(**values: float) -> None:
        for name, module in LIMITS.items():
            value = values.get(name, LONG if name.endswith("SECONDS") else None)
            if value is not None:
                monkeypatch.setattr(f"tailrace.{module}.{name}", value)

    return set_limits


def trickle(connection: socket.socket, data: bytes, most: int = 1500) -> bytes:
    """Send the data again and again, slowly, until the server closes; give what it said."""
    connection.settimeout(0.02)
    said = b""
    for _ in range(most):
        try:
            connection.sendall(data)
            piece = connection.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            return said
        if not piece:
            return said
        said += piece
    raise AssertionError("the server never closed the connection")
