"""What hostile senders can make the receiver hold, and how long they can keep it busy."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

import pytest
from webhook import event_list

from tailrace_plugins.receiving.events import BadBody, cut
from tailrace_plugins.receiving.scanner import MOST_DEPTH

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
    assert time.process_time() - began < 2.0  # alone it is one at most; with work that grew as the square, minutes


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
