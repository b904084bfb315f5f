"""Another config takes over while a webhook receives: what was acknowledged is written once, whatever changes."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from pathlib import Path

from reloading import Options, Running, numbers, tail
from test_webhook_kill import free_port
from waiting import wait_until
from webhook import event_list

from tailrace_plugins.sources.webhook import Webhook


def receive(port: int, out: Path, **options: object) -> Options:
    return {
        "schema": "any",
        "source": {"type": "webhook", "listen": f"127.0.0.1:{port}"} | options,
        "sinks": [{"type": "file", "path": str(out)}],
    }


def body(number: int) -> bytes:
    return event_list([b'{"auditID":"%d","n":%d}' % (number, number)])


def post(connection: http.client.HTTPConnection, number: int, token: str = "") -> int:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection.request("POST", "/k8s/audit", body(number), headers)
    response = connection.getresponse()
    response.read()
    return response.status


def port_of(running: Running) -> int:
    source = running.pipeline().source
    assert isinstance(source, Webhook)
    wait_until(lambda: source.address.port != 0)
    return source.address.port


def connect(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=20)


def test_unchanged_receiver_keeps_its_port_and_its_connections(tmp_path: Path) -> None:
    out, log = tmp_path / "out.log", tmp_path / "other.log"
    log.touch()
    running = Running(tmp_path)
    running.write({"audit": receive(0, out), "other": tail(log, tmp_path / "other.out")})
    with running:
        connection = connect(port_of(running))
        assert post(connection, 0) == 200
        kept = connection.sock
        running.write({"audit": receive(0, out)})
        assert running.reload() == {"stopped": ["other"], "kept": ["audit"]}
        assert post(connection, 1) == 200
        assert connection.sock is kept
        connection.close()
        wait_until(lambda: numbers(out) == [0, 1])
    assert running.code == 0


def test_receiver_that_moves_answers_what_is_under_way_and_forgets_no_body(tmp_path: Path) -> None:
    out, token = tmp_path / "out.log", tmp_path / "token"
    token.write_text("secret\n")
    running = Running(tmp_path)
    running.write({"audit": receive(0, out)})
    with running:
        old, idle = connect(port_of(running)), connect(port_of(running))
        for connection in (old, idle):
            assert post(connection, 0) == 200
        data = body(1)
        old.putrequest("POST", "/k8s/audit")
        old.putheader("Content-Type", "application/json")
        old.putheader("Content-Length", str(len(data)))
        old.endheaders(data[:20])
        port = free_port()
        running.write({"audit": receive(port, out, token_file=str(token))})
        running.service.reload()
        assert idle.sock.recv(1) == b""  # closed: the receiver is stopping
        idle.close()
        old.send(data[20:])
        response = old.getresponse()
        assert (response.status, response.read()) == (200, b'{"accepted":1}')
        old.close()
        wait_until(lambda: bool(running.log.all("config reloaded")))
        assert port_of(running) == port
        wait_until(lambda: len(running.log.all("listening")) == 2)
        new = connect(port)
        assert post(new, 2) == 401
        assert post(new, 1, "secret") == 200  # the answer could have been lost; it is stored only once
        assert post(new, 2, "secret") == 200
        new.close()
        wait_until(lambda: numbers(out) == [0, 1, 2])
    assert running.code == 0


def test_what_is_acknowledged_during_reloads_is_written_once(tmp_path: Path) -> None:
    out, port = tmp_path / "out.log", free_port()
    running = Running(tmp_path)
    running.write({"audit": receive(port, out)})
    done = threading.Event()
    acknowledged: list[int] = []

    def send(sender: int) -> None:
        number = sender
        connection = connect(port)
        while not done.is_set():
            try:
                if post(connection, number) == 200:
                    acknowledged.append(number)
                    number += 4
            except (OSError, http.client.HTTPException):  # as client-go: the same body, over another connection
                connection.close()
        connection.close()

    with running:
        senders = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
        for sender in senders:
            sender.start()
        for change in range(5):
            enough = len(acknowledged) + 20
            wait_until(lambda enough=enough: len(acknowledged) >= enough)  # type: ignore[misc]  # a lambda's default
            running.write({"audit": receive(port, out, tag=f"audit.{change}")})
            assert running.reload() == {"restarted": ["audit"]}
        done.set()
        for sender in senders:
            sender.join()
    assert running.code == 0
    with running:  # what was acknowledged last may be in the spool
        wait_until(lambda: set(numbers(out)) >= set(acknowledged))
    assert not [number for number, times in Counter(numbers(out)).items() if times > 1]
