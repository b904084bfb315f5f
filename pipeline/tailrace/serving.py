"""Serving HTTP: an application on one address, in a thread of its own, bounded in what a peer can make it hold.

uvicorn does the work; what it leaves to others is in `entrance.py` and `connection.py`. The TLS context can be
exchanged while the server runs (`renew`): no connection is refused meanwhile, and requests under way end as they began.
The client's certificate is in the ASGI scope (`scope["extensions"]["tls"]["peer"]`, the dict of
`ssl.SSLSocket.getpeercert`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import uvicorn

from tailrace.address import Address, parse_address
from tailrace.connection import KEEP_ALIVE_SECONDS, Connection
from tailrace.entrance import Entrance

__all__ = ["Address", "Application", "HttpServer", "parse_address"]

STOP_SECONDS: Final = 5  # for requests under way, when the server is told to stop
TICK_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 60.0

Application = Callable[..., Any]
"""An ASGI application."""


class _Uvicorn(uvicorn.Server):
    """uvicorn's server, with an entrance of ours."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        tls: ssl.SSLContext | None,
        refused: Callable[[str, str], None],
        ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self.entrance = Entrance(listener, self._connect, tls, refused)

    def _connect(self, entrance: Entrance, ticket: object) -> Connection:
        return Connection(self.config, self.server_state, entrance, ticket)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self.entrance.open()
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.entrance.close()
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._abort)
        await super().shutdown()

    def _abort(self) -> None:
        for connection in self.server_state.connections:
            connection.transport.abort()


class HttpServer:
    """An ASGI application, served on one address until `stop`.

    `start` binds the address and raises OSError, with the address as its file name, if that cannot be had. `tick` is
    called about once a second, and `refused`, with a reason and an address, whenever a peer is turned away before the
    application sees a request; both in the server's thread. Without `refused` that is logged, at most once a minute.
    """

    def __init__(
        self,
        app: Application,
        address: Address,
        *,
        name: str,
        tls: ssl.SSLContext | None = None,
        tick: Callable[[], None] | None = None,
        refused: Callable[[str, str], None] | None = None,
    ) -> None:
        self.address = address  # after `start` with the port that was given where port 0 was asked for
        self._app = app
        self._name = name
        self._tls = tls
        self._tick = tick
        self._refused = refused or _say_now_and_then()
        self._thread: threading.Thread | None = None
        self._server: _Uvicorn | None = None
        self._problem: BaseException | None = None

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
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # what a peer says of itself is no address
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS + 1,  # what is left then waits for the disk
        )
        ready = threading.Event()
        self._server = _Uvicorn(config, listener, self._tls, self._refused, ready.set)
        self._thread = threading.Thread(
            target=self._run, args=(self._server, listener, ready), name=self._name, daemon=True
        )
        self._thread.start()
        ready.wait()
        self.check()

    def check(self) -> None:
        """Raise what ended the server, if something did."""
        if self._problem is not None:
            raise self._problem

    def _run(self, server: _Uvicorn, listener: socket.socket, ready: threading.Event) -> None:
        with contextlib.closing(listener):
            try:
                asyncio.run(self._serve(server))
            except BaseException as error:  # SystemExit too, which would end the thread without a word
                self._problem = error
            finally:
                ready.set()

    async def _serve(self, server: _Uvicorn) -> None:
        ticking = asyncio.create_task(self._ticks(server))
        try:
            await server.serve()
        finally:
            ticking.cancel()

    async def _ticks(self, server: _Uvicorn) -> None:
        try:
            while self._tick is not None:
                self._tick()
                await asyncio.sleep(TICK_SECONDS)
        except Exception as error:
            self._problem = error
            server.should_exit = True

    def renew(self, tls: ssl.SSLContext) -> None:
        """Let connections in under this context from now on, and end those of another one after one more request each.

        To be called in the server's thread (by `tick`).
        """
        assert self._server is not None
        self._server.entrance.tls = tls

    def stop(self) -> None:
        """Let requests under way end, then serve no more."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
            self._server = self._thread = None


def _say_now_and_then() -> Callable[[str, str], None]:
    """Make what logs why a peer is turned away, but not for each of a thousand."""
    log = logging.getLogger("uvicorn.error")
    quiet_until = float("-inf")

    def refused(reason: str, client: str) -> None:
        nonlocal quiet_until
        now = time.monotonic()
        if now >= quiet_until:
            quiet_until = now + QUIET_SECONDS
            log.warning(reason, extra={"client": client})

    return refused


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
    except UnicodeError:
        raise OSError(errno.EINVAL, "cannot listen: no host has such a name", str(address)) from None
    except OSError as error:
        raise OSError(error.errno, f"cannot listen: {error.strerror}", str(address)) from None
    return listener
