"""TLS handshakes between two real sockets."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple


class Outcome(NamedTuple):
    """How a handshake ended: why each side refused the other (None if it did not), and the client's certificate."""

    server: str | None
    client: str | None
    seen: str = ""


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> Outcome:
    """Let a client that knows the server as `host` connect to it over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        listener.settimeout(30)
        answer = threads.submit(_serve, listener, server)
        refusal = _connect(listener.getsockname()[1], client, host)
        return answer.result()._replace(client=refusal)


def _serve(listener: socket.socket, context: ssl.SSLContext) -> Outcome:
    connection, _ = listener.accept()
    connection.settimeout(30)
    try:
        with connection, context.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(b"welcome")
            return Outcome(None, None, str(secured.getpeercert()))
    except ssl.SSLError as error:
        return Outcome(error.reason, None)


def _connect(port: int, context: ssl.SSLContext, host: str) -> str | None:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    try:
        with connection, context.wrap_socket(connection, server_hostname=host) as secured:
            return None if secured.recv(16) == b"welcome" else "end of file"
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except ssl.SSLError as error:
        return error.reason
