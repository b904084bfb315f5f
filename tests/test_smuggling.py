"""Requests of which two parties could think differently where they end."""

from __future__ import annotations

import pytest
from answering import App, Limits, limiting, serving
from posting import connected, read_all
from waiting import wait_until


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Limits:
    return limiting(monkeypatch)


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1_0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\x00: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n X: folded\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;\n12345\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\n12345\r\n0\r\n\r\n",
        b"CONNECT evil:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST http://[x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        b"POST /\xff HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_request_that_could_be_taken_in_two_ways_is_refused(app: App, limits: Limits, head: bytes) -> None:
    limits()
    with serving(app) as port, connected(port) as connection:
        connection.sendall(head + b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n")
        said = read_all(connection)
        assert said.startswith(b"HTTP/1.1 400 ")
        assert b"HTTP/1.1 200 " not in said
        wait_until(lambda: len(app.turned_away) == 1)
    assert not app.bodies


@pytest.mark.parametrize("header", [b"Expect: 100-continue", b"Connection: Upgrade\r\nUpgrade: h2c"])
def test_connection_on_which_the_next_request_could_be_lost_is_closed(app: App, limits: Limits, header: bytes) -> None:
    limits()
    with serving(app) as port, connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\nContent-Length: 3\r\n\r\n" % header)
        said = read_all(connection)
        assert b"connection: close\r\n" in said
        assert said.endswith(b"\r\n\r\nok")
