"""Requests as nobody should send them, and a client that sends them over a socket and reads what comes back."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st
from poison import READABLE, UNREADABLE
from webhook import HEAD

PATIENCE: Final = 10.0  # seconds until a missing answer counts as a hang
LIMIT: Final = 65_536  # max_body_bytes of the receiver

JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)
EVENTS: Final = st.builds(
    lambda event, ascii_only, indent: json.dumps(event, ensure_ascii=ascii_only, indent=indent).encode(),
    st.dictionaries(st.sampled_from(["auditID", "user", "verb", "kind", "x"]), JSON, max_size=4),
    st.booleans(),
    st.sampled_from([None, None, 1]),
)
ODD: Final = st.sampled_from([item for item in (*READABLE.values(), *UNREADABLE.values()) if len(item) < 10_000])
ITEMS: Final = st.lists(EVENTS | EVENTS | ODD, max_size=4)


class Body(NamedTuple):
    """A body, unpacked; `numbered` is to be filled with a number that makes it another one than all before."""

    numbered: bytes
    kind: bytes  # media type
    clean: bool  # an EventList as the API server sends it

    def __repr__(self) -> str:
        return f"Body({_brief(self.numbered)}, {self.kind!r}, {self.clean})"


def _brief(data: bytes) -> str:
    return repr(data) if len(data) < 300 else f"{data[:200]!r} and so on, {len(data)} bytes"


def _list(items: list[bytes]) -> Body:
    return Body(HEAD + b",".join([b'{"auditID":"#"}', *items]) + b"]}\n", b"application/json", True)


def _pretty(items: list[bytes]) -> Body:
    body = b'{\n "items" : [ {"auditID":"#"} %b ],\n "kind":"EventList", "apiVersion":"audit.k8s.io/v1"\n}'
    return Body(body % b"".join(b"\n, " + item for item in items), b"application/json; charset=utf-8", False)


def _array(items: list[bytes]) -> Body:
    return Body(b"[" + b" ,\r\n".join([*items, b'{"auditID":"#"}']) + b"]", b"application/json", False)


def _lines(items: list[bytes]) -> Body:
    lines = [item.replace(b"\n", b" ") for item in items]
    return Body(b'{"auditID":"#"}\n' + b"\r\n".join(lines), b"application/x-ndjson", False)


def _single(items: list[bytes]) -> Body:
    body = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"#","x":[%b]}' % b",".join(items)
    return Body(body, b"application/json", False)


def _spoilt(body: Body, at: int, cut: int, scrap: bytes) -> Body:
    at %= len(body.numbered)
    return Body(body.numbered[:at] + scrap + body.numbered[at + cut :], body.kind, False)


SOUND: Final = st.builds(
    lambda make, items: make(items), st.sampled_from([_list, _list, _pretty, _array, _lines, _single]), ITEMS
)
SPOILT: Final = st.builds(
    _spoilt, SOUND, st.integers(0, 10_000), st.sampled_from([0, 1, 5, 10_000]), st.binary(max_size=3) | st.just(b'"')
)
NOISE: Final = st.builds(Body, st.binary(max_size=100), st.sampled_from([b"", b"application/json"]), st.just(False))
BODIES: Final = st.one_of(SOUND, SOUND, SOUND, SPOILT, NOISE)


def _packed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


PACKINGS: Final[Mapping[str, tuple[bytes, Callable[[bytes], bytes]]]] = {
    "plain": (b"", lambda data: data),
    "gzip": (b"gzip", _packed),
    "two members": (b"x-gzip", lambda data: _packed(data[:9]) + _packed(b"") + _packed(data[9:])),
    "torn": (b"gzip", lambda data: _packed(data)[:-5]),
    "scrap behind": (b"gzip", lambda data: _packed(data) + b"x"),
    "not packed": (b"gzip", lambda data: data),
    "bomb": (b"gzip", lambda data: _packed(data + b" " * (LIMIT + 1))),
    "unknown": (b"br", lambda data: data),
    "twice": (b"gzip, gzip", lambda data: _packed(_packed(data))),
}
FRAMINGS: Final = ["length", "length", "chunks", "chunks with trimmings", "short", "long", "none", "both", "words"]


class Shape(NamedTuple):
    """How a request is made around a body."""

    line: bytes
    packing: str
    framing: str
    more: tuple[bytes, ...]  # lines of the head
    step: int  # size of chunks

    def __repr__(self) -> str:
        more = ", ".join(map(_brief, self.more))
        return f"Shape({_brief(self.line)}, {self.packing!r}, {self.framing!r}, ({more}), {self.step})"

    @property
    def is_clean(self) -> bool:
        """Tell whether there is no reason to refuse it."""
        return (
            self.line in LINES[:3] and self.packing in GOOD and self.framing in FRAMINGS[:4] and set(self.more) <= FINE
        )


GOOD: Final = {"plain", "gzip", "two members"}
LINES: Final = [
    b"POST / HTTP/1.1",
    b"POST /k8s/audit?timeout=30s HTTP/1.1",
    b"POST /%ff%00%3f%23/../%2e%2e//x?a=%zz HTTP/1.1",
    b"POST /%0ax%0a HTTP/1.1",
    b"POST / HTTP/1.0",
    b"POST http://elsewhere/x HTTP/1.1",
    b"POST http://elsewhere HTTP/1.1",
    b"POST * HTTP/1.1",
    b"POST /\xc3\xa9 HTTP/1.1",
    b"POST /a b HTTP/1.1",
    b"POST //[ HTTP/1.1",
    b"POST /%b HTTP/1.1" % (b"p" * 9000),
    b"PUT / HTTP/1.1",
    b"BREW / HTTP/1.1",
    b"CONNECT / HTTP/1.1",
    b"POST / HTTP/2.0",
    b"GET / HTTP/1.1",
    b"POST /livez HTTP/1.1",
]
FINE: Final = {b"Host: x", b"Host: [", b"X-%b: y" % (b"n" * 300), b"Expect: 100-continue", b"Accept-Encoding: gzip"}
HEADERS: Final = [
    *sorted(FINE),
    b"Host: a:b:c\xff",
    b"Origin: null",
    b"Sec-Fetch-Site: none",
    b"Expect: a miracle",
    b"Connection: close",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
    b"Content-Type: text/plain",
    b"Content-Type: \xff\xfe;;;",
    b"Authorization: Basic \xff",
    b"X-Long: " + b"x" * 70_000,
    b"X-Nul: \0",
    b"no colon",
    b"X-Folded: a\r\n b",
    b": nameless",
]
_DECENT: Final = st.builds(
    Shape,
    st.sampled_from(LINES[:3]),
    st.sampled_from(sorted(GOOD)),
    st.sampled_from(FRAMINGS[:4]),
    st.lists(st.sampled_from(sorted(FINE)), max_size=2).map(tuple),
    st.sampled_from([7, 1000, 100_000]),
)
_ANY: Final = st.builds(
    Shape,
    st.sampled_from(LINES),
    st.just("plain") | st.sampled_from(sorted(PACKINGS)),
    st.just("length") | st.sampled_from(FRAMINGS),
    st.lists(st.sampled_from(HEADERS), max_size=3).map(tuple),
    st.sampled_from([7, 1000, 100_000]),
)
SHAPES: Final = st.one_of(_DECENT, _DECENT, _ANY)


def frame(shape: Shape, body: bytes, kind: bytes) -> bytes:
    """Write a request."""
    encoding, pack = PACKINGS[shape.packing]
    data = pack(body)
    head = [shape.line, *shape.more, *([b"Content-Type: " + kind] if kind else [])]
    if encoding:
        head.append(b"Content-Encoding: " + encoding)
    length = {"short": len(data) // 2, "long": len(data) + 9}.get(shape.framing, len(data))
    if shape.framing == "words":
        head.append(b"Content-Length: many")
    elif shape.framing != "none" and not shape.framing.startswith("chunks"):
        head.append(b"Content-Length: %d" % length)
    if shape.framing.startswith("chunks") or shape.framing == "both":
        head.append(b"Transfer-Encoding: chunked")
        extra, trailer = (b';a="b"', b"X-Trailer: y\r\n") if shape.framing.endswith("trimmings") else (b"", b"")
        chunks = [data[at : at + shape.step] for at in range(0, len(data), shape.step)]
        data = (
            b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extra, chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"
        )
    return b"\r\n".join(head) + b"\r\n\r\n" + data


@dataclass
class Answer:
    """One answer."""

    status: int
    body: bytes
    is_last: bool  # the connection is closed behind it

    @property
    def json(self) -> Any:
        return json.loads(self.body)


_LENGTH: Final = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)


def exchange(address: tuple[str, int], data: bytes, answers: int) -> list[Answer]:
    """Send bytes on a new connection, then read so many answers, or until the other side closes; a hang is an error.

    With no answers expected the client has nothing more to say, and says so.
    """
    found: list[Answer] = []
    with socket.create_connection(address, PATIENCE) as connection:
        try:
            connection.sendall(data)
            if not answers:
                with contextlib.suppress(OSError):  # it may be closed already
                    connection.shutdown(socket.SHUT_WR)
            rest = b""
            while not answers or len(found) < answers:
                piece = connection.recv(65_536)
                rest += piece
                while (answer := _first(rest)) is not None:
                    found += [answer[0]] if answer[0].status >= 200 else []
                    rest = rest[answer[1] :]
                if not piece:
                    break
        except (ConnectionResetError, BrokenPipeError):
            pass  # it was told off before it had said all
    return found


def _first(data: bytes) -> tuple[Answer, int] | None:
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return None
    status = int(data[9:12])
    length = _LENGTH.search(data, 0, end)
    size = int(length[1]) if length else 0
    is_last = b"\r\nconnection: close\r\n" in data[:end].lower()
    return (Answer(status, data[end : end + size], is_last), end + size) if len(data) >= end + size else None
