"""Serving HTTP: an application on one address, in a thread of its own, bounded in what a peer can make it hold.

uvicorn does the work. What is added here:

* The TLS context can be exchanged while the server runs (`renew`): the listening socket stays, so no connection is
  refused meanwhile, and requests under way end as they began.
* The client's certificate is put into the ASGI scope (`scope["extensions"]["tls"]["peer"]`, the dict of
  `ssl.SSLSocket.getpeercert`), which uvicorn does not do.
* A peer has `HEAD_SECONDS` to send the head of a request, a TLS handshake the same, and there are at most
  `MAX_CONNECTIONS`; the application bounds the bodies.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tailrace.address import Address, parse_address

__all__ = ["Address", "Application", "HttpServer", "parse_address"]

HEAD_SECONDS: Final = 10.0
MAX_CONNECTIONS: Final = 512
KEEP_ALIVE_SECONDS: Final = 120  # longer than client-go's 90, so that the client is the one who closes
STOP_SECONDS: Final = 5  # for requests under way, when the server is told to stop
TICK_SECONDS: Final = 1.0

Application = Callable[..., Any]
"""An ASGI application."""


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, with the client's certificate in the scope and a time limit for heads."""

    _peer: Any = None
    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._peer = transport.get_extra_info("peercert")
        if len(self.connections) > MAX_CONNECTIONS:
            transport.close()
        self._await_head()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _head_is_here(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()
        if self._peer:
            self.scope["extensions"] = {"tls": {"peer": self._peer}}

    def on_headers_complete(self) -> None:
        self._head_is_here()
        super().on_headers_complete()


class _Uvicorn(uvicorn.Server):
    """uvicorn's server, listening on a socket of ours with a TLS context that can be exchanged."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self._listener = listener
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        await self.listen(self._tls)

    async def listen(self, tls: ssl.SSLContext | None) -> None:
        """Accept connections under this context, and no more under the one before."""
        loop = asyncio.get_running_loop()
        accepting = await loop.create_server(
            lambda: _Protocol(self.config, self.server_state, {}, loop),
            sock=self._listener.dup(),
            ssl=tls,
            ssl_handshake_timeout=HEAD_SECONDS if tls else None,
            backlog=self.config.backlog,
        )
        before, self.servers = self.servers, [accepting]
        for server in before:
            server.close()


class HttpServer:
    """An ASGI application, served on one address until `stop`.

    `start` binds the address and raises OSError, with the address as its file name, if that cannot be had. `tick` is
    called about once a second in the server's thread.
    """

    def __init__(
        self,
        app: Application,
        address: Address,
        *,
        name: str,
        tls: ssl.SSLContext | None = None,
        tick: Callable[[], None] | None = None,
    ) -> None:
        self.address = address  # after `start` with the port that was given where port 0 was asked for
        self._app = app
        self._name = name
        self._tls = tls
        self._tick = tick
        self._thread: threading.Thread | None = None
        self._loop: AbstractEventLoop | None = None
        self._server: _Uvicorn | None = None

    def start(self, *, instead_of: HttpServer | None = None) -> None:
        """Bind the address and serve; return when connections are accepted.

        The server whose place it takes may have the same port at an address that overlaps, and so ends before; if this
        one cannot start, the other goes on.
        """
        clashes = instead_of is not None and instead_of.address.port == self.address.port
        if instead_of is not None and clashes:
            instead_of.stop()
        try:
            listener = _bind(self.address)
        except OSError:
            if instead_of is not None and clashes:
                instead_of.start()
            raise
        self.address = Address(self.address.host, listener.getsockname()[1])
        config = uvicorn.Config(
            self._app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # what a peer says of itself is no address
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        self._server = _Uvicorn(config, listener, self._tls)
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._server, listener, ready), name=self._name, daemon=True
        )
        self._thread.start()
        ready.wait()

    def _run(self, server: _Uvicorn, listener: socket.socket, ready: threading.Event) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            serving = asyncio.create_task(server.serve())
            while not server.started and not serving.done():
                await asyncio.sleep(0)
            ready.set()
            ticking = asyncio.create_task(self._ticks())
            try:
                await serving
            finally:
                ticking.cancel()

        with contextlib.closing(listener):
            try:
                asyncio.run(serve())
            finally:
                ready.set()

    async def _ticks(self) -> None:
        while self._tick is not None:
            self._tick()
            await asyncio.sleep(TICK_SECONDS)

    def renew(self, tls: ssl.SSLContext) -> None:
        """Use this context for new connections from now on; to be called in the server's thread (by `tick`)."""
        if self._server is not None and self._loop is not None:
            self._renewal = self._loop.create_task(self._server.listen(tls))

    def stop(self) -> None:
        """Let requests under way end, then serve no more."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
            self._server = self._thread = None


def _bind(address: Address) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(512)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise OSError(error.errno, f"cannot listen: {error.strerror}", str(address)) from None
    return listener
