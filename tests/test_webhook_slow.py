"""A webhook source and clients that are slow, idle, or never done: while it runs and when it stops."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from authority import Authority, trusting, write_all
from posting import connected, event_list, post, read_all
from running import receiving
from waiting import wait_until

BODY = event_list("a")
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)


def refuses_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    except ConnectionError:
        return True
    return False


def tls_options(authority: Authority, directory: Path) -> dict[str, Any]:
    pair = authority.sign_server()
    write_all(directory, [("crt", pair.certificate), ("key", pair.key)])
    return {"tls_cert": str(directory / "crt"), "tls_key": str(directory / "key")}


def test_body_that_does_not_arrive_in_time_is_answered_with_408(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace_plugins.receiving.bodies.READ_SECONDS", 0.3)
    with receiving(tmp_path / "state") as receiver, connected(receiver.port) as connection:
        connection.sendall(HEAD)
        connection.settimeout(0.02)
        said = b""
        for byte in BODY:
            try:
                connection.sendall(bytes([byte]))
                said += connection.recv(4096)
            except TimeoutError:
                continue
            break
        connection.settimeout(30)
        said += read_all(connection)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close\r\n" in said
        assert b"the body did not arrive in time" in said
        assert post(receiver.port, BODY).status == 200


def test_request_under_way_is_finished_when_the_source_stops(tmp_path: Path) -> None:
    with receiving(tmp_path / "state") as receiver, connected(receiver.port) as connection:
        port = receiver.port
        connection.sendall(HEAD + BODY[:10])
        post(port, b"[]")  # what was sent before is known to the server now
        stopping = threading.Thread(target=receiver.end)
        stopping.start()
        wait_until(lambda: refuses_connections(port))
        connection.sendall(BODY[10:])
        said = read_all(connection)
        stopping.join()
        assert said.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close\r\n" in said
    with receiving(tmp_path / "state") as receiver:
        wait_until(lambda: receiver.kept.written != [])


@pytest.mark.parametrize("with_tls", [False, True])
def test_source_stops_in_time_whatever_its_clients_do_not_do(
    with_tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace.serving.STOP_SECONDS", 0.5)
    authority = Authority()
    tls = trusting(authority, directory=tmp_path) if with_tls else None
    options = tls_options(authority, tmp_path) if with_tls else {}
    with receiving(tmp_path / "state", **options) as receiver, contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            plain = stack.enter_context(connected(receiver.port))
            return stack.enter_context(tls.wrap_socket(plain, server_hostname="localhost")) if tls else plain

        stack.enter_context(connected(receiver.port)).sendall(b"\x16")
        idle, in_head, in_body, unread = (connect() for _ in range(4))
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        idle.recv(1000)
        in_head.sendall(HEAD[:10])
        in_body.sendall(HEAD + BODY[:10])
        unread.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        post(receiver.port, b"[]", tls=tls)
        began = time.monotonic()
        receiver.end()
        assert time.monotonic() - began < 5
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(receiver.name)]
    assert not [line for line in receiver.said.lines if '"error"' in line]


def test_clients_that_wait_never_exhaust_the_descriptors_of_the_process(tmp_path: Path) -> None:
    config = {
        "type": "webhook",
        "listen": "127.0.0.1:0",
    } | tls_options(authority := Authority(), tmp_path)
    sink = {"type": "file", "path": f"{tmp_path}/out/{{verb}}.log.gz"}
    pipelines = {"audit": {"source": config, "sinks": [sink]}}
    (tmp_path / "config.yaml").write_text(json.dumps({"state_dir": f"{tmp_path}/state", "pipelines": pipelines}))
    code = """if True:
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        from tailrace.cli import main
        main()
    """
    with subprocess.Popen(
        [sys.executable, "-c", code, "run", str(tmp_path / "config.yaml")], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said: list[dict[str, Any]] = []
        try:
            while not said or said[-1]["message"] != "listening":
                said.append(json.loads(process.stderr.readline()))
            port = int(said[-1]["url"].rsplit(":", 1)[1].rstrip("/"))
            tls = trusting(authority, directory=tmp_path)
            with contextlib.ExitStack() as stack:
                for number in range(3):
                    for _ in range(60):
                        stack.enter_context(connected(port))
                    for _ in range(10):
                        plain = stack.enter_context(connected(port))
                        idle = stack.enter_context(tls.wrap_socket(plain, server_hostname="localhost"))
                        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                        assert idle.recv(100).startswith(b"HTTP/1.1 200 ")
                    assert len(os.listdir(f"/proc/{process.pid}/fd")) < 48
                    assert post(port, event_list(f"{number}"), tls=tls).status == 200
                wait_until(lambda: number_of_events(tmp_path / "out" / "get.log.gz") == 3)
        finally:
            process.terminate()
            rest = [json.loads(line) for line in process.stderr]
    assert process.returncode == 0
    [warning] = [event for event in said + rest if event["level"] != "info"]
    assert warning["limit"] == 64  # too few for the default of the file sink, which uses one at a time here


def number_of_events(path: Path) -> int:
    return len(gzip.decompress(path.read_bytes()).splitlines()) if path.exists() else 0
