"""What hostile senders can make the receiver hold, and how long they can keep it busy."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from webhook import LIMIT, Running, event_list

from tailrace import connection as limits
from tailrace_plugins.receiving.events import BadBody, cut
from tailrace_plugins.receiving.scanner import _BRACKET, MOST_DEPTH

MIB4: Final = 4 << 20


@pytest.mark.parametrize(
    "make",
    [
        lambda n: b"[" * n,
        lambda n: b'{"' * (n // 2),
        lambda n: b'"\\' * (n // 2),
        lambda n: b'["\\' * (n // 3),
        lambda n: b"[" + b"," * n,
        lambda n: b"[" * (n // 2) + b"]" * (n // 2),
        lambda n: b"[" * (MOST_DEPTH - 9) + b"}" * n,
        lambda n: b'{"a":[' * (n // 6),
        lambda n: b'["' + b'a"' * (n // 2),
        lambda n: b"[" + b'"a' * (n // 2),
        lambda n: b'["' + b"a" * n,
        lambda n: b'["' + b"\\" * n,
        lambda n: b"[{" + b'"a",' * (n // 4),
        lambda n: b"[" + b"1]" * (n // 2),
        lambda n: b"[" + b"1}" * (n // 2),
        lambda n: b"{" + b'"a":0,' * (n // 6) + b"1",
        lambda n: b'{"a":[' + b"[]," * (n // 3) + b"tru]}",
        lambda n: b"[" + b"[[[[1]]]]" * (n // 9) + b"]",
        lambda n: b"{" + b" " * n,
        lambda n: b"[1" + b" " * n + b"2",
        lambda n: b"{" + b"\n" * n + b"{}\n",
        lambda n: b"{}\n" + b"\r" * n + b"x",
        lambda n: event_list([b'{"a":"' + b"x" * n + b"}"]),
        lambda n: event_list([b"[" * (n // 2) + b"tru" + b"]" * (n // 2)]),
    ],
)
def test_four_hostile_mebibytes_take_no_time(make: Callable[[int], bytes]) -> None:
    body = make(MIB4)
    began = time.process_time()
    with contextlib.suppress(BadBody):
        cut(body)
    assert time.process_time() - began < 5.0  # alone it is one at most; with work that grew as the square, minutes


def test_no_step_of_the_scanner_is_long_for_no_other_thread_runs_meanwhile() -> None:
    step = _BRACKET.match(b"[]," * 100_000)
    assert step is not None
    assert 0 < step.end() < 10_000
    assert cut(event_list([b'{"a":[' + b"[]," * 100_000 + b"tru]}"])).items  # and it goes on behind it


MEASURE: Final = """
import sys
from tailrace_plugins.receiving.events import BadBody, cut

def kib(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

head, part, end = (text.encode() for text in sys.argv[1:4])
body = bytearray(head)
while len(body) < 64 << 20:
    body += part * 100_000
body = bytes(body + end)
cut(b"[1e400, tru]")
before = kib("VmRSS")
try:
    cut(body, lines=part.endswith(b"\\n"))
except BadBody:
    pass
print((kib("VmHWM") - before) >> 10)
"""
LIST: Final = event_list([])[:-4].decode()


@pytest.mark.parametrize(
    ("head", "part", "end"),
    [
        ("[", "0,", "0]"),
        ("[", "1234567,", "0]"),
        (LIST, "{},", "{}]}"),
        (LIST + '{"a":[', "[],", "tru]}]}"),
        ('{"kind":[', "{},", "0]}"),
        ('{"kind":"Event","a":[', "[],", "0]}"),
        ('{"kind":"Event","a":[', "[],", "tru]}"),
        ("{", '"a":0,', '"a":tru}'),
        ("{", '"items":0,', '"kind":"EventList"}'),
        ("", "[[[[", ""),
        ("", "{}\n", ""),
        ("", " \n", "x"),
    ],
)
def test_dense_body_of_64_mib_takes_little_more_than_its_own_memory(head: str, part: str, end: str) -> None:
    command = [sys.executable, "-c", MEASURE, head, part, end]
    more = int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert more < 2 * 64 + 32  # MiB: the bytearray of the making, and a copy


# Heads


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A connection to a receiver that waits for heads no longer than half a second."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.5)
    with Running(tmp_path) as running, socket.create_connection(running.source.address, LIMIT) as connection:
        yield connection


def everything(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            found += piece
    return found


def answer(connection: socket.socket) -> int:
    """Read one answer; give its status."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


POST: Final = b"POST / HTTP/1.1\r\nHost: x\r\n"
SMALL: Final = POST + b'Content-Length: 7\r\n\r\n{"n":1}'
FORBIDDEN: Final = POST + b"Origin: https://evil.example\r\nContent-Length: 1000000\r\n\r\n"
CHUNKED: Final = POST + b"Transfer-Encoding: chunked\r\n\r\n7"


@pytest.mark.parametrize("head", [b"GET /", POST + b"X: ", CHUNKED + b";", CHUNKED + b'\r\n{"n":1}\r\n0\r\nX: '])
def test_endless_head_or_trailer_is_cut_off_long_before_it_fills_the_memory(
    connection: socket.socket, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", 60.0)
    connection.sendall(SMALL)
    assert answer(connection) == 200
    connection.sendall(head)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(512):
            connection.sendall(b"x" * 1024)
    assert everything(connection)[:13] in (b"HTTP/1.1 400 ", b"")  # a reset may overtake the answer


def test_a_long_head_is_taken(connection: socket.socket) -> None:
    connection.sendall(SMALL.replace(b"\r\n\r\n", b"\r\nX: %b\r\n\r\n" % (b"x" * 30_000)))
    assert answer(connection) == 200


def test_requests_without_waiting_for_answers_are_answered_in_turn_but_not_thousands(connection: socket.socket) -> None:
    connection.sendall(SMALL * limits.PIPELINE)
    answers = b""
    while answers.count(b'{"accepted":1}') < limits.PIPELINE:
        answers += connection.recv(65536)
    connection.sendall(SMALL * 2000)
    rest = everything(connection)
    assert rest.count(b"HTTP/1.1 400 ") == 1
    assert rest.count(b"HTTP/1.1 200 ") <= 1


def test_connection_is_not_held_by_the_rest_of_a_body_that_does_not_come(connection: socket.socket) -> None:
    connection.sendall(FORBIDDEN)
    assert answer(connection) == 403
    connection.sendall(b"x")
    assert everything(connection) == b""


def test_connection_goes_on_after_a_body_that_was_refused_before_it_came(connection: socket.socket) -> None:
    connection.sendall(FORBIDDEN)
    assert answer(connection) == 403
    connection.sendall(b"x" * 1_000_000)
    connection.settimeout(3 * limits.HEAD_SECONDS)
    with pytest.raises(TimeoutError):  # longer than a head may take, and it is still there
        connection.recv(1)
    connection.settimeout(LIMIT)
    connection.sendall(SMALL)
    assert answer(connection) == 200
