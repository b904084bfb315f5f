"""Events that have broken log collectors, and items that are none: what must not cost a neighbour.

The list follows the issue trackers of log collectors: values that decoders refuse or round, events that are not what
the schema says, names that attack a path, and bytes that are no JSON.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tailrace.names import encode_name

HEAD: Final = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"%b",'
TIME: Final = b'"stageTimestamp":"2026-11-23T06:51:11.251000Z"'
HOUR: Final = "2026112306"


def event(name: str, user: bytes = b'"alice"', *, more: bytes = b"") -> bytes:
    """Make an event of a user (JSON text), with more members if need be."""
    return HEAD % name.encode() + b'"user":{"username":%b},' % user + more + TIME + b"}"


def odd(name: str, value: bytes) -> bytes:
    """Make an event that holds a value where the object of a request is."""
    return event(name, more=b'"requestObject":{"spec":%b},' % value)


VALUES: Final[Mapping[str, bytes]] = {
    "lone surrogate": b'"\\ud800"',
    "reversed pair": b'"\\udc00\\ud800"',
    "surrogate key": b'{"\\udfff":1}',
    "overflow": b"[1e400,-1e400]",
    "beyond 64 bits": b"[18446744073709551616,-9223372036854775809]",
    "trailing zero": b"1.10",
    "minus zero": b"[-0,-0.0,0e0]",
    "5000 digits": b"7" * 5000,
    "repeated keys": b'{"a":1,"a":2,"a":{"a":[]}}',
    "depth 800": b"[" * 800 + b"]" * 800,
    "escapes": b'"\\u0000\\/\\b\\u003c\\u2028"',
    "raw signs": '"\u2028 e\u0301 \u00e9 \U0001f600 \x7f"'.encode(),
    "escaped quotes and brackets": b'"}],\\"]}\\\\"',
    "a line end in escapes": b'"\\n\\r\\n"',
    "not UTF-8": b'"\xff\xfe \xc0\xaf \xed\xa0\x80"',
    "blanks": b' \t{ "a" :\t1 }\r ',
}
READABLE: Final[Mapping[str, bytes]] = {
    **{name: odd(name, value) for name, value in VALUES.items()},
    "object that is an array": event("a1", more=b'"requestObject":[1],'),
    "object that is a string": event("a2", more=b'"requestObject":"x","objectRef":"y","annotations":7,'),
    "object that is a number": event("a3", more=b'"responseObject":1.10,"responseStatus":-0,'),
    "object that is null": event("a4", more=b'"requestObject":null,"user":null,') + b" ",
    "namespace of dots": event("n1", more=b'"objectRef":{"namespace":".."},'),
    "namespace none": event("n2", more=b'"objectRef":{"namespace":"none"},'),
    "namespace _cluster": event("n3", more=b'"objectRef":{"namespace":"_cluster"},'),
    "namespace of 300 signs": event("n4", more=b'"objectRef":{"namespace":"%b"},' % (b"n" * 300)),
    "namespace in upper case": event("n5", more=b'"objectRef":{"namespace":"KUBE-System"},'),
    "audit id of 1 MB": event("i" * 1_000_000),
    "v1beta1": event("b1")
    .replace(b"audit.k8s.io/v1", b"audit.k8s.io/v1beta1")
    .replace(b"stageTimestamp", b"timestamp"),
    "a mark of the spool": event("m1", more=b'"requestURI":"\\nspool1 00000000 5 {}",'),
}
UNREADABLE: Final[Mapping[str, bytes]] = {
    "depth 1025": odd("d1", b"[" * 1025 + b"]" * 1025),
    "depth 10000": odd("d2", b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "NUL head": b"\0\0\0" + event("z1"),
    "literal": odd("l1", b"tru"),
    "number": odd("l2", b"[01,1.,-,+1,.5,0x1F,NaN,Infinity]"),
    "escape": odd("l3", b'"\\x"'),
    "control sign in a string": odd("l4", b'"\x00\x1f"'),
    "comma too many": odd("l5", b"[1,,2,]"),
    "colon missing": odd("l6", b'{"a" 1}'),
    "key without quotes": odd("l7", b"{a:1}"),
    "bracket of the wrong kind": odd("l8", b'[{"a":1]'),
    "no object": b"[1]",
    "no object either": b'"text"',
    "words": b"no event",
    "two in one": b'{"a":1}{"b":2}',
    "a stray brace": event("s1") + b"}",
    "a mark of the spool alone": b'spool1 00000000 5 {"tag":"x","received":1}',
}
USERS: Final[Mapping[str, bytes]] = {
    "service account": b'"system:serviceaccount:a:b"',
    "its parts as a path": b'"system/serviceaccount/a/b"',
    "issuer": b'"https://issuer/#x"',
    "issuer, escaped": b'"https%3A%2F%2Fissuer%2F%23x"',
    "empty": b'""',
    "what empty becomes": b'"_empty"',
    "what none becomes": b'"_none"',
    "up": b'"../../x"',
    "up, with escapes": b'"\\u002e\\u002e\\/..\\/x/"',
    "root": b'"/etc/passwd"',
    "dot": b'"."',
    "dots": b'".."',
    "hidden": b'".ssh"',
    "line end": b'"a\\nb"',
    "line end at the end": b'"a\\n"',
    "blank": b'"a b"',
    "300 bytes": b'"%b"' % (b"u" * 300),
    "300 others": b'"%b"' % (b"u" * 299 + b"v"),
    "NUL": b'"a\\u0000b"',
    "composed": '"\u00e9"'.encode(),
    "decomposed": '"e\u0301"'.encode(),
    "compatible": '"\ufb01"'.encode(),
    "surrogate": b'"\\ud800"',
    "upper case": b'"ALICE"',
}


def directory_of(user: bytes) -> str:
    """Name the directory of a user (JSON text) in the output of configs/audit-by-user.yaml."""
    return f"kube-audit-{encode_name(json.loads(user))}"


def dead_letter(state_dir: Path) -> list[bytes]:
    """Give the events in a pipeline's dead letter, as they were."""
    letters = map(json.loads, (state_dir / "dead-letter.jsonl").read_bytes().splitlines())
    return [each["event"].encode() if "event" in each else base64.b64decode(each["event_base64"]) for each in letters]
