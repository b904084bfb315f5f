"""How many connections the HTTP server has, who is turned out, and how the server itself begins and ends."""

from __future__ import annotations

import contextlib
import logging
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from answering import GET, POST, App, Limits, limiting, serving
from authority import Authority, present, trusting
from posting import connected, read_all, read_answer
from running import Said
from waiting import wait_until

from tailrace.serving import Address, HttpServer


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Limits:
    return limiting(monkeypatch)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n", GET])
def test_peers_that_wait_keep_nobody_out(
    app: App, limits: Limits, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    limits(MAX_CONNECTIONS=4)
    with serving(app) as port, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connected(port)) for _ in range(4)]
        for connection in idle:
            connection.sendall(said)
            if said == GET:
                assert read_answer(connection) == (200, b"ok")
        for _ in range(3):
            new = stack.enter_context(connected(port))
            new.sendall(GET)
            assert read_answer(new) == (200, b"ok")
        for connection in idle[:3]:  # those that waited longest
            assert read_all(connection) == b""
        idle[3].sendall(GET if said == GET or not said else b"\r\n")
        assert read_answer(idle[3]) == (200, b"ok")


def test_handshakes_that_wait_keep_nobody_out(app: App, limits: Limits, tmp_path: Path) -> None:
    limits(MAX_CONNECTIONS=4)
    authority = Authority()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    present(tls, authority.sign_server(), tmp_path)
    client = trusting(authority, directory=tmp_path)
    with serving(app, tls) as port, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connected(port)) for _ in range(12)]
        new = stack.enter_context(client.wrap_socket(stack.enter_context(connected(port)), server_hostname="localhost"))
        new.sendall(GET)
        assert new.recv(100).startswith(b"HTTP/1.1 200 ")
        assert read_all(silent[0]) == b""


def test_requests_under_way_are_never_turned_out(app: App, limits: Limits) -> None:
    limits(MAX_CONNECTIONS=2)
    with serving(app) as port, contextlib.ExitStack() as stack:
        working = [stack.enter_context(connected(port)) for _ in range(2)]
        for connection in working:
            connection.sendall(POST + b"1")
        wait_until(lambda: app.begun == 2)
        waiting = stack.enter_context(connected(port))
        waiting.sendall(GET)
        waiting.settimeout(0.2)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        waiting.settimeout(30)
        for connection in working:
            connection.sendall(b"2345")
            assert read_answer(connection) == (200, b"ok")
        assert read_answer(waiting) == (200, b"ok")
    assert app.bodies == [b"12345", b"12345"]


def test_server_that_has_no_descriptor_left_lets_peers_in_when_there_is_one_again() -> None:
    code = """if True:
        import errno, os, resource
        from answering import App
        from tailrace.serving import Address, HttpServer
        server = HttpServer(App(), Address("127.0.0.1", 0), name="test")
        server.start()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError as error:
            assert error.errno == errno.EMFILE
        print(server.address.port, flush=True)
        input()
        os.close(taken.pop())
        input()
        server.stop()
    """
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with connected(int(process.stdout.readline())) as connection:
            connection.sendall(GET)
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.settimeout(30)
            process.stdin.write("\n")
            process.stdin.flush()
            assert read_answer(connection) == (200, b"ok")
        process.stdin.write("\n")
    assert process.returncode == 0


def test_server_says_now_and_then_that_peers_are_turned_away() -> None:
    said, log = Said(), logging.getLogger("uvicorn.error")
    log.addHandler(said)
    server = HttpServer(App(), Address("127.0.0.1", 0), name="test")
    server.start()
    try:
        for _ in range(5):
            with connected(server.address.port) as connection:
                connection.sendall(b"no HTTP\r\n\r\n")
                read_all(connection)
        (warning,) = said.all("Invalid HTTP request received.")
        assert (warning["level"], warning["client"]) == ("warning", "127.0.0.1")
    finally:
        server.stop()
        log.removeHandler(said)


def test_error_in_a_tick_ends_the_server_and_is_raised() -> None:
    threads = threading.active_count()

    def tick() -> None:
        raise KeyError("a bug")

    server = HttpServer(App(), Address("127.0.0.1", 0), name="test", tick=tick)
    with contextlib.suppress(KeyError):
        server.start()
    wait_until(lambda: threading.active_count() == threads)
    with pytest.raises(KeyError, match="a bug"):
        server.check()
    server.stop()
