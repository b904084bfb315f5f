r"""A record of the spool: the events of one request, as bytes that can be checked.

    spool1 5a3f9c21 812345 {"tag":"audit","received":"2026-11-23T06:51:11.251Z",...}\n
    {"level":"Metadata",...}\n
    {"level":"Request",...}\n

First a mark, then the CRC-32 of all that follows its blank, the number of payload bytes, and what is known of the
request. The payload is one event a line. Where `escaped` is set some signs of it are written as in a URL, because an
item is no JSON and holds line ends (it will be rejected, but is kept to the byte all the same), or holds a mark, which
must not be taken for a record's. In JSON it cannot be, for the quotes of a head have no place behind it.

A newline ends the record. The events of a request are in one record, so that they are there together or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from isal import isal_zlib

from tailrace_plugins.receiving.grammar import NotJson, Unreadable, read

MARK: Final = b"spool1 "
HEAD_BYTES: Final = 16_384  # no head is longer; see `Request`
_HEAD = re.compile(rb"spool1 ([0-9a-f]{8}) ([0-9]{1,12}) (\{[^\n]*\})\n")
_TEXT = 1024  # of what a client chooses, so much is kept


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a request beside its events."""

    tag: str
    received: float  # seconds since the epoch
    client: str = ""  # address
    path: str = ""
    version: str = ""  # apiVersion of the list
    digest: str = ""  # of the body, in hexadecimal digits, if a repetition shall be recognised
    escaped: bool = False

    def origin(self, segment: str) -> dict[str, str]:
        """Say where the events of the record come from, for the dead letter."""
        return {"path": segment, "client": self.client, "request": self.path}


class Record(NamedTuple):
    """A record as it was found in a segment."""

    request: Request
    start: int  # offset of its first byte
    payload: int  # offset of the payload's first byte
    end: int  # offset behind its last byte


def shorten(text: str) -> str:
    """Cut what a client chose to a length that a head can hold, and escape what UTF-8 cannot."""
    return text[:_TEXT].encode("utf-8", "backslashreplace").decode()


def encode(request: Request, payload: bytes) -> bytes:
    """Write a record."""
    rest = b"%d %b\n" % (len(payload), msgspec.json.encode(request))
    crc = isal_zlib.crc32(b"\n", isal_zlib.crc32(payload, isal_zlib.crc32(rest)))
    return b"".join((MARK, b"%08x " % crc, rest, payload, b"\n"))


def encode_all(request: Request, items: Sequence[bytes], *, are_json: bool = False) -> bytes:
    """Write the record of a request's items; a newline in one that is JSON becomes a blank, in others it stays."""
    payload = b"\n".join(items)
    if payload.count(b"\n") >= len(items):
        # between tokens, for no JSON string can hold one
        items = [
            item.replace(b"\n", b" ") if b"\n" in item and (are_json or is_json(item)) else item
            for item in map(bytes, items)
        ]
        payload = b"\n".join(items)
    if not are_json and (payload.count(b"\n") >= len(items) or MARK in payload):
        request = msgspec.structs.replace(request, escaped=True)
        payload = b"\n".join(map(_escape, map(bytes, items)))
    return encode(request, payload)


def decode_all(request: Request, payload: bytes) -> list[bytes]:
    """Give the items that `encode_all` was given."""
    lines = payload.split(b"\n")
    return list(map(_unescape, lines)) if request.escaped else lines


def _escape(item: bytes) -> bytes:
    return item.replace(b"%", b"%25").replace(b"\n", b"%0A").replace(MARK, b"%%%02X" % MARK[0] + MARK[1:])


def _unescape(line: bytes) -> bytes:
    return line.replace(b"%%%02X" % MARK[0], MARK[:1]).replace(b"%0A", b"\n").replace(b"%25", b"%")


def is_json(item: bytes) -> bool:
    """Tell whether it is JSON by the grammar."""
    try:
        msgspec.json.decode(item, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            read(item)
        except (NotJson, Unreadable):
            return False
    return True


class Damage(Exception):  # noqa: N818 - said of the bytes
    """Where a record should be there is none, or its checksum is wrong."""


def parse(data: bytes, at: int, base: int) -> Record | int:
    """Read the record at `data[at]`, which lies at offset `base + at` in its segment.

    Gives the number of bytes, counted from `at`, that it takes to know more, if `data` ends too early. Raises Damage.
    """
    head = _HEAD.match(data, at)
    if head is None:
        newline = data.find(b"\n", at)
        if newline >= 0 or len(data) - at >= HEAD_BYTES:
            raise Damage("no record begins here")
        return HEAD_BYTES
    end = head.end() + int(head[2]) + 1
    if end > len(data):
        return end - at
    view = memoryview(data)
    if isal_zlib.crc32(view[head.start(2) : end]) != int(head[1], 16):
        raise Damage("the checksum does not match")
    try:
        request = msgspec.json.decode(head[3], type=Request)
    except msgspec.DecodeError as error:
        raise Damage(f"the head of a record cannot be read: {error}") from None
    return Record(request, base + at, base + head.end(), base + end)


def is_first_part(data: bytes, size: int) -> bool:
    """Tell whether `data`, the beginning of `size` bytes, is that of a record which an interrupted write cut off."""
    head = _HEAD.match(data)
    if head is not None:
        return head.end() + int(head[2]) + 1 > size
    return len(data) == size and b"\n" not in data and data[: len(MARK)] == MARK[:size]
