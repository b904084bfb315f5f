"""A connection of an HTTP server: what its peer can make it hold, and for how long.

A peer has `HEAD_SECONDS` for the head of a request, and again for what it still sends of one that was answered already;
`SEND_SECONDS` to take what it is sent, and `KEEP_ALIVE_SECONDS` between two requests. Only a request that the
application works on has no limit here: the application sets it.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import TimerHandle
from enum import Enum, auto
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tailrace.entrance import Entrance

HEAD_SECONDS: Final = 10.0
HEAD_BYTES: Final = 65_536
PIPELINE: Final = 64  # requests that may be sent before the answer to the one before; each takes some kilobytes
SEND_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0  # for the peer to say goodbye too
KEEP_ALIVE_SECONDS: Final = 120  # longer than client-go's 90, so that the client is the one who closes

_LOG: Final = logging.getLogger("uvicorn.error.connection")
_LOG.setLevel(logging.ERROR)  # of what peers do wrong `Entrance.refused` is told; they can do it as often as they like


class Phase(Enum):
    """What a connection does."""

    HEAD = auto()  # its peer has begun a request, or is expected to, or sends the rest of one that was answered
    REQUEST = auto()  # the application works on a request
    SENDING = auto()  # ... and its peer does not take the answer
    IDLE = auto()
    CLOSING = auto()


WAITING: Final = frozenset({Phase.HEAD, Phase.IDLE})


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, with the client's certificate in the scope, and with limits."""

    def __init__(self, config: uvicorn.Config, state: ServerState, entrance: Entrance, ticket: object) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self.logger = _LOG
        self._entrance = entrance
        self._ticket = ticket
        self._peer: Any = None
        self._tls = entrance.tls
        self._has_asked = False  # a request was given to the application
        self._in_message = True
        self._unseen = 0  # bytes since the end of a head, some of a body, or its end
        self._phase: Phase | None = None
        self._timer: TimerHandle | None = None

    # Limits

    def _settle(self) -> None:
        """Find out what the connection does; if that is new, its time begins."""
        phase = self._find_phase()
        if phase is self._phase:
            return
        self._phase = phase
        self._stop_timer()
        seconds = {
            Phase.HEAD: HEAD_SECONDS,
            Phase.SENDING: SEND_SECONDS,
            Phase.IDLE: KEEP_ALIVE_SECONDS,
            Phase.CLOSING: SEND_SECONDS if self.transport.get_write_buffer_size() else CLOSE_SECONDS,
        }.get(phase)
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self._give_up)
        self._entrance.waits(self._ticket, self.transport.abort if phase in WAITING else None)

    def _find_phase(self) -> Phase:
        if self.transport.is_closing():
            return Phase.CLOSING
        if self._has_asked and not self.cycle.response_complete:
            return Phase.SENDING if self.flow.write_paused else Phase.REQUEST
        return Phase.HEAD if self._in_message else Phase.IDLE

    def _give_up(self) -> None:
        if self._phase in WAITING:
            self.transport.close()
            self._settle()
        else:
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin; the TLS handshake is over."""
        super().connection_made(transport)
        self._peer = transport.get_extra_info("peercert")
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timer()
        self._entrance.left(self._ticket)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._in_message = True  # whatever it is, it has to become a request soon
        self._unseen += len(data)
        super().data_received(data)
        if self._unseen > HEAD_BYTES and not self.transport.is_closing():  # the parser itself takes any number
            self.send_400_response("The head of the request is too long.")
        self._settle()

    def pause_writing(self) -> None:
        """Note that the peer takes nothing."""
        super().pause_writing()
        self._settle()

    def resume_writing(self) -> None:
        """Note that it does again."""
        super().resume_writing()
        self._settle()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, and close."""
        super().send_400_response(msg)
        self._entrance.refused(msg, self.client[0] if self.client else "")

    # What the parser tells

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_message = True
        if self._peer:
            self.scope["extensions"] = {"tls": {"peer": self._peer}}

    def on_headers_complete(self) -> None:
        """Give a request to the application."""
        if len(self.pipeline) >= PIPELINE:
            raise ValueError("too many requests wait for their turn")  # which the parser makes a 400 of
        super().on_headers_complete()
        self._unseen = 0
        self._has_asked = True
        # Who is not told to go on may send no body; what follows an upgrade would not be parsed; and what a TLS context
        # proved of a client is worth one more request when there is another one: no request shall be lost by that.
        if self.expect_100_continue or self.parser.should_upgrade() or self._tls is not self._entrance.tls:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Give the application some of the body."""
        self._unseen = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is here wholly."""
        super().on_message_complete()
        self._unseen = 0
        self._in_message = False

    def on_response_complete(self) -> None:
        """Note that it is answered."""
        super().on_response_complete()
        self._settle()
