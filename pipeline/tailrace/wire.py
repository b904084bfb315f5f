"""Messages between a pipeline and its crew: pickled objects on a socket, with or without a descriptor.

Both ends are ours, and nobody else can reach the socket: it has no name.
"""

from __future__ import annotations

import array
import pickle
import socket
from typing import Any

_HEAD = 8  # bytes that tell the length of what follows


def send(end: socket.socket, message: object, descriptor: int | None = None) -> None:
    """Send a message; the other end gets a descriptor of its own. Raises OSError if nobody is there."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    head = len(data).to_bytes(_HEAD, "big")
    if descriptor is None:
        end.sendall(head)
    else:
        rights = array.array("i", [descriptor])
        sent = end.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        end.sendall(head[sent:])
    end.sendall(data)


def receive(end: socket.socket) -> tuple[Any, int | None]:
    """Wait for a message and the descriptor that came with it. Raises EOFError if the other end has ended."""
    room = socket.CMSG_SPACE(array.array("i").itemsize)
    head, rights, _, _ = end.recvmsg(_HEAD, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for _, _, data in rights:
        descriptors.frombytes(data)
    head += _receive(end, _HEAD - len(head))
    return pickle.loads(_receive(end, int.from_bytes(head, "big"))), descriptors[0] if descriptors else None  # noqa: S301


def _receive(end: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = end.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return data
