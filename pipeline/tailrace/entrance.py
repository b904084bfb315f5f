"""The entrance of an HTTP server: how many connections there are, and under which TLS they begin.

When there are as many connections as there may be, one more turns out the one that has waited longest for its peer. If
none waits, new ones stay in the kernel's queue until one does. So peers that do nothing keep nobody out, and there are
never more descriptors.
"""

from __future__ import annotations

import asyncio
import re
import resource
import socket
import ssl
from collections.abc import Callable
from typing import Final

MAX_CONNECTIONS: Final = 512
SHARE_OF_DESCRIPTORS: Final = 4  # no more than every fourth that the process may have
HANDSHAKE_SECONDS: Final = 10.0
_PAUSE: Final = 0.1  # seconds, when there are no descriptors

_DECORATION = re.compile(r"^\[[^\]]*\] | \(_ssl\.c:\d+\)$")


class Entrance:
    """Lets connections in, under a TLS context (`tls`) that can be exchanged at any time.

    `make` makes the protocol of a connection. `refused` is told why and whom, when a peer is turned away before the
    application sees a request: a failed handshake, or what is no HTTP. All in the thread of the server.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[Entrance, object], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        refused: Callable[[str, str], None],
    ) -> None:
        self.tls = tls
        self.refused = refused
        self._listener = listener
        self._make = make
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        is_unlimited = descriptors == resource.RLIM_INFINITY
        self._most = MAX_CONNECTIONS if is_unlimited else min(MAX_CONNECTIONS, descriptors // SHARE_OF_DESCRIPTORS)
        self._inside: set[object] = set()
        self._waiting: dict[object, Callable[[], object]] = {}  # how to turn each out, the longest waiting first
        self._handshakes: set[asyncio.Task[None]] = set()
        self._is_open = self._is_paused = False

    def open(self) -> None:
        """Begin to let connections in."""
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._loop.add_reader(self._listener, self._admit)

    async def close(self) -> None:
        """Let nobody in any more, and end the handshakes that are under way."""
        self._is_open = False
        self._loop.remove_reader(self._listener)
        self._listener.close()
        await asyncio.sleep(0)  # each handshake has begun, and so will close its socket
        for task in self._handshakes:
            task.cancel()

    def _admit(self) -> None:
        """Let one in who stands at the door."""
        if len(self._inside) >= self._most:
            self._pause()
            self._turn_out()
            return
        try:
            connection, (client, *_) = self._listener.accept()
        except OSError:  # no descriptors are left
            self._pause()
            self._turn_out()
            self._loop.call_later(_PAUSE, self._resume)
            return
        task = self._loop.create_task(self._begin(connection, client))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    def _pause(self) -> None:
        self._loop.remove_reader(self._listener)
        self._is_paused = True

    def _resume(self) -> None:
        if self._is_paused and self._is_open:
            self._is_paused = False
            self._loop.add_reader(self._listener, self._admit)

    def _turn_out(self) -> None:
        if self._waiting:
            self._waiting.pop(next(iter(self._waiting)))()

    async def _begin(self, connection: socket.socket, client: str) -> None:
        """Let the TLS handshake happen, if there is to be one; then the protocol takes over."""
        ticket = object()
        self._inside.add(ticket)
        task = asyncio.current_task()
        assert task is not None
        self.waits(ticket, task.cancel)
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._make(self, ticket),
                connection,
                ssl=self.tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self.tls else None,
            )
        except ssl.SSLError as error:
            self.left(ticket)
            self.refused(f"the TLS handshake failed: {_DECORATION.sub('', str(error.strerror))}", client)
        except OSError:  # it has left, or took too long
            self.left(ticket)
        except asyncio.CancelledError:
            self.left(ticket)
            raise

    def waits(self, ticket: object, turn_out: Callable[[], object] | None) -> None:
        """Note that a connection waits for its peer, and how to turn it out, or, with None, that it does not."""
        self._waiting.pop(ticket, None)
        if turn_out is not None and ticket in self._inside:
            self._waiting[ticket] = turn_out
            self._resume()

    def left(self, ticket: object) -> None:
        """Note that a connection has ended."""
        self._inside.discard(ticket)
        self._waiting.pop(ticket, None)
        self._resume()
