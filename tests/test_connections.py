"""What a peer can make the HTTP server hold, and for how long: slow peers, and those that send without end."""

from __future__ import annotations

import contextlib
import ssl
import time
from pathlib import Path

import pytest
from answering import GET, App, Limits, limiting, serving, trickle
from authority import Authority, present, trusting
from posting import connected, read_all, read_answer
from waiting import wait_until


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Limits:
    return limiting(monkeypatch)


# Slow peers


def test_peer_that_says_nothing_is_let_go(app: App, limits: Limits) -> None:
    limits(HEAD_SECONDS=0.2)
    with serving(app) as port, connected(port) as connection:
        began = time.monotonic()
        assert read_all(connection) == b""
        assert time.monotonic() - began > 0.15


def test_head_that_comes_a_byte_at_a_time_has_no_more_time_than_any(app: App, limits: Limits) -> None:
    limits(HEAD_SECONDS=0.3)
    with serving(app) as port, connected(port) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nX: ")
        assert trickle(connection, b"a") == b""


def test_second_head_on_a_connection_has_no_more_time_than_the_first(app: App, limits: Limits) -> None:
    limits(HEAD_SECONDS=0.3)
    with serving(app) as port, connected(port) as connection:
        connection.sendall(GET)
        assert read_answer(connection) == (200, b"ok")
        connection.sendall(b"POST / HTTP/1.1\r\nX: ")
        assert trickle(connection, b"a") == b""


def test_connection_between_two_requests_is_let_go(app: App, limits: Limits) -> None:
    limits(KEEP_ALIVE_SECONDS=0.2)
    with serving(app) as port, connected(port) as connection:
        connection.sendall(GET)
        assert read_answer(connection) == (200, b"ok")
        assert read_all(connection) == b""


def test_what_becomes_no_request_has_no_more_time_than_a_head(app: App, limits: Limits) -> None:
    limits(HEAD_SECONDS=0.3)
    with serving(app) as port, connected(port) as connection:
        connection.sendall(GET)
        assert read_answer(connection) == (200, b"ok")
        assert trickle(connection, b"\r\n") == b""


def test_head_that_is_too_long_is_told_so(app: App, limits: Limits) -> None:
    limits()
    with serving(app) as port, connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 65_536)
        assert read_answer(connection)[0] == 400


def test_body_that_goes_on_after_the_answer_ends_the_connection(app: App, limits: Limits) -> None:
    limits(HEAD_SECONDS=0.3)
    with serving(app) as port, connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert read_answer(connection) == (200, b"ok")
        assert trickle(connection, b"a") == b""


def test_connection_lives_on_when_the_rest_of_an_answered_body_came(app: App, limits: Limits) -> None:
    limits(KEEP_ALIVE_SECONDS=0.3)
    with serving(app) as port, connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        assert read_answer(connection) == (200, b"ok")
        connection.sendall(b"rest" + GET)
        assert read_answer(connection) == (200, b"ok")
        assert read_all(connection) == b""


def test_peer_that_takes_no_answers_is_let_go(app: App, limits: Limits) -> None:
    limits(SEND_SECONDS=0.3)
    with serving(app) as port, connected(port) as connection:
        connection.setblocking(False)

        def is_let_go() -> bool:
            try:
                connection.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            return False

        wait_until(is_let_go)


def test_peer_that_takes_its_answers_late_gets_them_wholly(app: App, limits: Limits) -> None:
    limits()
    with serving(app) as port, connected(port) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 15)
        wait_until(lambda: app.begun > 1)
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert len(read_all(connection)) > 16 << 20
    assert app.begun == 16


def test_last_answer_is_given_wholly_to_a_peer_that_takes_it_late(app: App, limits: Limits) -> None:
    limits(HEAD_SECONDS=0.5, CLOSE_SECONDS=0.1)
    with serving(app) as port, connected(port) as connection:
        connection.sendall(b"GET /huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        wait_until(lambda: app.begun == 1)
        with connected(port) as silent:
            assert read_all(silent) == b""
        assert len(read_all(connection)) > 32 << 20


def test_peer_that_does_not_say_goodbye_is_let_go(app: App, limits: Limits, tmp_path: Path) -> None:
    limits(KEEP_ALIVE_SECONDS=0.2, CLOSE_SECONDS=0.2)
    authority = Authority()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    present(tls, authority.sign_server(), tmp_path)
    client = trusting(authority, directory=tmp_path)
    with serving(app, tls) as port, connected(port) as plain:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
        for _ in range(10):
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.do_handshake()
                break
            plain.sendall(outgoing.read())
            incoming.write(plain.recv(65536))
        peer.write(GET)
        plain.sendall(outgoing.read())
        assert b"" not in iter(lambda: plain.recv(65536), b"")


def test_handshake_that_is_never_completed_is_let_go(app: App, limits: Limits, tmp_path: Path) -> None:
    limits(HANDSHAKE_SECONDS=0.3)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    present(tls, Authority().sign_server(), tmp_path)
    with serving(app, tls) as port, connected(port) as silent, connected(port) as slow:
        assert read_all(silent) == b""
        slow.sendall(b"\x16\x03\x01\x10\x00")
        assert read_all(slow) == b""
    assert not app.turned_away


# Greedy peers


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: ",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;x=",
        b"GET /",
    ],
)
def test_head_without_end_is_refused(app: App, limits: Limits, head: bytes) -> None:
    limits()
    with serving(app) as port, connected(port) as connection:
        connection.sendall(head)
        said = trickle(connection, b"a" * 8192, most=500)
        wait_until(lambda: app.turned_away == [("The head of the request is too long.", "127.0.0.1")])
    assert b"HTTP/1.1 400 " in said or not said  # a reset may overtake it


def test_requests_that_wait_for_their_turn_are_bounded(app: App, limits: Limits) -> None:
    limits()
    with serving(app) as port, connected(port) as connection, connected(port) as other:
        connection.sendall(GET * 60 + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_all(connection).count(b"HTTP/1.1 200 ") == 61
        other.sendall(GET * 1000)
        read_all(other)
        wait_until(lambda: len(app.turned_away) == 1)
    assert app.begun < 1000


def test_bodies_are_no_heads_however_long_they_are(app: App, limits: Limits) -> None:
    limits()
    with serving(app) as port, connected(port) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))
        assert read_answer(connection) == (200, b"ok")
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n")
        assert read_answer(connection) == (200, b"ok")
    assert list(map(len, app.bodies)) == [1_000_000, 100_000]
