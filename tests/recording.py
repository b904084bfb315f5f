"""An HTTP server that keeps what it is sent, answers as it is told, and misbehaves if that is what it is told."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SECONDS = 30.0
"""So long a connection may be silent; only a broken test takes it."""


@dataclass(frozen=True)
class Request:
    """One request, as it came."""

    method: str
    target: str
    headers: Mapping[str, str]  # by their names in lower case
    body: bytes
    connection: int  # how many connections there were before its own
    peer: Mapping[str, Any] = field(default_factory=dict)  # its certificate

    @property
    def items(self) -> list[Any]:
        """The items of an EventList."""
        document = json.loads(self.body)
        assert list(document) == ["kind", "apiVersion", "metadata", "items"]
        assert document["kind"] == "EventList"
        assert document["metadata"] == {}
        assert isinstance(document["items"], list)
        return document["items"]


@dataclass(frozen=True)
class Reply:
    """An answer; with `close` the connection is closed after it, without having said so."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    close: bool = False
    missing: int = 0  # bytes of the body that are announced and never come
    after: threading.Event | None = None  # answer only then


class Close:
    """Close the connection instead of answering."""


class Reset:
    """Reset it."""


class Stall:
    """Never answer."""


class Trickle:
    """Answer a byte at a time, without end."""


class Babble:
    """Answer with something that is not HTTP."""


Act = Reply | Close | Reset | Stall | Trickle | Babble


class Server:
    """Serves on a port of its own while the `with` block lasts; the last of the acts is repeated."""

    def __init__(
        self, *acts: Act, tls: ssl.SSLContext | None = None, decide: Callable[[Request], Act] | None = None
    ) -> None:
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        self.connections = 0
        self._acts: Sequence[Act] = acts or (Reply(),)
        self._decide = decide
        self._tls = tls
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Server:
        self._spawn(self._accept)
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
        self._listener.close()
        assert self.complaints == []

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self.requests]

    def _spawn(self, run: Callable[..., None], *given: object) -> None:
        thread = threading.Thread(target=run, args=given)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(SECONDS)
            self.connections += 1
            self._spawn(self._serve, connection, self.connections - 1)

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.add(connection)
            with connection.makefile("rb") as stream:
                for request in self._read(stream, connection, number):
                    at = len(self.requests)
                    self.requests.append(request)
                    act = self._decide(request) if self._decide else self._acts[min(at, len(self._acts) - 1)]
                    if not self._do(connection, act):
                        break
        self._open.discard(connection)
        connection.close()

    def _read(self, stream: Any, connection: socket.socket, number: int) -> Iterator[Request]:
        while line := stream.readline(65_536):
            method, target, version = line.decode("latin-1").split()
            fields = http.client.parse_headers(stream)
            headers = {name.lower(): value for name, value in fields.items()}
            if version != "HTTP/1.1" or "host" not in headers:
                self.complaints.append(f"no request of HTTP/1.1: {line!r}")
            if len(headers) != len(fields.items()):
                self.complaints.append(f"a header came twice: {fields.items()}")
            if "transfer-encoding" in headers or (method == "POST" and "content-length" not in headers):
                self.complaints.append("the length of the body was not announced")
            body = stream.read(int(headers.get("content-length", "0")))
            peer = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
            yield Request(method, target, headers, body, number, peer or {})

    def _do(self, connection: socket.socket, act: Act) -> bool:
        """Answer; tell whether the connection stays open."""
        match act:
            case Reply():
                if act.after is not None:
                    assert act.after.wait(SECONDS)
                head = f"HTTP/1.1 {act.status} X\r\nContent-Length: {len(act.body) + act.missing}\r\n"
                head += "".join(f"{name}: {value}\r\n" for name, value in act.headers.items())
                connection.sendall(head.encode() + b"\r\n" + act.body)
                return not act.close and not act.missing
            case Reset():
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case Stall():
                self._ending.wait()
            case Trickle():
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while not self._ending.wait(0.01):
                    connection.sendall(b"1\r\nx\r\n")
            case Babble():
                connection.sendall(b"220 mail.example.org ESMTP\r\n")
        return False
