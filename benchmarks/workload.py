"""Invented kube-apiserver audit lines: the same bytes for the same seed, on every machine and Python.

Who does what in the invented cluster stands in `cluster.json`; its weights, and the sizes of objects, are
those of the capture that `tests/data` is cut from. The lines have the API server's key order and escapes.
Randomness comes from `random.Random.random` alone, the one method whose sequence Python promises to keep, and
the arithmetic is plain enough (no powers, no logarithms) to round alike everywhere.

    python benchmarks/workload.py --events 1000000 --out audit.log
"""

from __future__ import annotations

import argparse
import json
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from pathlib import Path
from random import Random
from statistics import fmean
from typing import NamedTuple, TypeVar

T = TypeVar("T")
START = datetime(2026, 11, 23, 6, tzinfo=UTC)
CLUSTER = Path(__file__).with_name("cluster.json")
BLOCK = 64  # requests under way together: their lines are ordered by the time of their stage
PILOT = 4_000  # requests made beforehand, to learn how long lines are without the contents of objects
MOST_BYTES = 20_000  # the highest mean that can be asked for
RECEIVED = 0.6  # share of requests whose RequestReceived the policy does not omit
FORBIDDEN = 0.2  # shares of requests by answer
NOT_FOUND = 0.4
EXISTS = 0.05
ANONYMOUS = 0.0055
PANIC = 0.0004


class _User(NamedTuple):
    name: str
    json: str
    client: str  # sourceIPs and userAgent
    reason: str  # why this user is allowed what he does


class _Operation(NamedTuple):
    level: str
    verb: str
    uri: str  # with {namespace} and {name}
    reference: str  # the objectRef, likewise
    resource: str
    group: str
    scoped: bool


class _Answer(NamedTuple):
    code: int
    status: str  # the responseStatus
    decision: str  # "" where nobody was recognised who could be allowed anything


_STATUS = '{"metadata":{},"status":"Failure","message":"%s","reason":"%s"%s,"code":%d}'
_UNAUTHORIZED = _Answer(401, _STATUS % ("Unauthorized", "Unauthorized", "", 401), "")
_PANIC = "APIServer panic'd: net/http: abort Handler"
_PANICKED = _Answer(500, _STATUS % (_PANIC, "InternalError", "", 500), "allow")


def _compact(value: object) -> str:
    """Write JSON as Go does: no spaces, not only ASCII, and `&`, `<`, `>` escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


class _Contents:
    """What objects hold: slices of one long text of settings, their lengths those of the capture, scaled."""

    def __init__(self, random: Callable[[], float], sizes: list[tuple[float, int]]) -> None:
        settings = [
            f',"SETTING_{number}":"registry.example.com/{int(random() * 16**10):010x}:{number % 97}"'
            for number in range(8_000)
        ]
        self._random = random
        self._text = "".join(settings)
        self._starts = list(accumulate(map(len, settings), initial=0))
        self._sizes = sizes
        self._shares = [share for share, _ in sizes]
        self.scale = 0.0

    def __call__(self) -> str:
        """Give the inside of a JSON object."""
        share, where = self._random(), self._random()
        after = bisect(self._shares, share)
        (p, a), (q, b) = self._sizes[after - 1], self._sizes[after]
        wanted = min(int((a + (b - a) * (share - p) / (q - p)) * self.scale), len(self._text))
        start = self._starts[bisect(self._starts, where * (len(self._text) - wanted)) - 1]
        # up to the nearest setting, so that the lengths are right on average
        end = self._starts[bisect(self._starts, start + wanted + 25) - 1]
        return self._text[start + 1 : end]


class _Cluster:
    """The invented cluster, writing the lines of one request after the other."""

    def __init__(self, seed: int, namespaces: int) -> None:
        cluster = json.loads(CLUSTER.read_text(encoding="utf-8"))
        self._random = Random(seed).random
        names = cluster["namespaces"] + [f"team-{number:04}" for number in range(namespaces)]
        self._namespace = self._chooser(names[:namespaces], [1 / rank for rank in range(1, namespaces + 1)])
        users = [
            _User(
                row["user"]["username"],
                _compact(row["user"]),
                _compact({key: row[key] for key in ("sourceIPs", "userAgent")})[1:-1],
                _compact(row["reason"]),
            )
            for row in cluster["users"]
        ]
        operations = [
            _Operation(
                row["level"],
                row["verb"],
                _compact(row["requestURI"]),
                f',"objectRef":{_compact(reference)}' if (reference := row["objectRef"]) else "",
                reference.get("resource", ""),
                reference.get("apiGroup", ""),
                "namespace" in reference,
            )
            for row in cluster["operations"]
        ]
        self._user = self._chooser(users, [row["weight"] for row in cluster["users"]])
        self._operation = self._chooser(operations, [row["weight"] for row in cluster["operations"]])
        self._contents = _Contents(self._random, cluster["objectSizes"])
        self._names = [f"{app}-{n}" for app in ("web", "worker", "db-proxy", "batch") for n in range(1, 13)]
        self._second = (-1, "")

    def _chooser(self, items: Sequence[T], weights: Sequence[float]) -> Callable[[], T]:
        bounds = list(accumulate(weights))
        total, random = bounds[-1], self._random
        return lambda: items[bisect(bounds, random() * total)]

    def _uuid(self) -> str:
        a, b, c = (f"{int(self._random() * 16**digits):0{digits}x}" for digits in (12, 12, 6))
        return f"{a[:8]}-{a[8:]}-4{b[:3]}-a{b[3:6]}-{b[6:]}{c}"

    def _stamp(self, at: int) -> str:
        """Write microseconds since START as the API server does: RFC 3339 with six digits and Z."""
        second, micros = divmod(at, 1_000_000)
        if second != self._second[0]:
            self._second = second, f"{START + timedelta(seconds=second):%Y-%m-%dT%H:%M:%S}"
        return f"{self._second[1]}.{micros:06}Z"

    def request(self, at: int) -> list[tuple[int, str]]:
        """Give the lines of a request that arrives `at` microseconds after START, each with its time."""
        random = self._random
        operation, user = self._operation(), self._user()
        namespace, name = self._namespace() if operation.scoped else "", self._names[int(random() * 48)]
        answer = self._answer(operation, user, namespace, name)
        stage, who = "ResponseComplete", user.json
        chance = random()
        if chance < ANONYMOUS and operation.resource:
            stage, who, answer = "ResponseStarted", "{}", _UNAUTHORIZED
        elif chance > 1 - PANIC:
            stage, answer = "Panic", _PANICKED
        head = (
            f'{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"{operation.level}",'
            f'"auditID":"{self._uuid()}","stage":"'
        )
        uri = operation.uri.replace("{namespace}", namespace).replace("{name}", name)
        reference = operation.reference.replace("{namespace}", namespace).replace("{name}", name)
        middle = f'","requestURI":{uri},"verb":"{operation.verb}","user":{who},{user.client}{reference}'
        received = self._stamp(at)
        times = f',"requestReceivedTimestamp":"{received}","stageTimestamp":"'
        annotations = ""
        if answer.decision:
            reason = user.reason if answer.decision == "allow" else '""'
            annotations = (
                f',"annotations":{{"authorization.k8s.io/decision":"{answer.decision}",'
                f'"authorization.k8s.io/reason":{reason}}}'
            )
        lines = []
        if random() < RECEIVED and answer.decision:
            lines.append((at, f'{head}RequestReceived{middle}{times}{received}"}}'))
        status = f',"responseStatus":{answer.status}'
        if operation.verb == "watch" and answer.code == 200:
            at += 300 + int(random() * 3_000)
            ending = f'{status}{times}{self._stamp(at)}"{annotations}}}'
            lines.append((at, f"{head}ResponseStarted{middle}{ending}"))
        at += 300 + int(random() * random() * 40_000)
        objects = ""
        if stage == "ResponseComplete" and operation.level != "Metadata" and operation.verb != "watch":
            objects = self._objects(operation, answer, namespace, name, received)
        ending = f'{status}{objects}{times}{self._stamp(at)}"{annotations}}}'
        lines.append((at, f"{head}{stage}{middle}{ending}"))
        return lines

    def _answer(self, operation: _Operation, user: _User, namespace: str, name: str) -> _Answer:
        chance = self._random()
        verb, resource, group = operation.verb, operation.resource, operation.group
        kind = f"{resource}.{group}" if group else resource
        if chance < FORBIDDEN and resource:
            place = rf"in the namespace \"{namespace}\"" if namespace else "at the cluster scope"
            message = (
                rf"{kind} is forbidden: User \"{user.name}\" cannot {verb} "
                rf"resource \"{resource}\" in API group \"{group}\" {place}"
            )
            return _failed(403, "Forbidden", message, name, resource, "forbid")
        if chance < FORBIDDEN + NOT_FOUND and namespace and verb in ("get", "patch", "delete"):
            return _failed(404, "NotFound", rf"{kind} \"{name}\" not found", name, resource, "allow")
        if chance < FORBIDDEN + EXISTS and verb == "create":
            message = rf"{kind} \"{name}\" already exists"
            return _failed(409, "AlreadyExists", message, name, resource, "allow")
        code = 201 if verb == "create" else 200
        return _Answer(code, f'{{"metadata":{{}},"code":{code}}}', "allow")

    def _objects(self, operation: _Operation, answer: _Answer, namespace: str, name: str, received: str) -> str:
        """Write requestObject and responseObject, as far as level and verb have them."""
        objects = ""
        contents = self._contents()
        metadata = f'"name":"{name}","namespace":"{namespace}"'
        if operation.verb in ("create", "update", "patch"):
            # the client sends about half of what it gets back with all defaults filled in
            sent = contents[: max(contents.rfind(",", 0, len(contents) // 2), 0)]
            objects = f',"requestObject":{{"kind":"Object","metadata":{{{metadata}}},"data":{{{sent}}}}}'
        if operation.level == "RequestResponse":
            if answer.code >= 400:
                objects += f',"responseObject":{{"kind":"Status","apiVersion":"v1",{answer.status[1:]}'
            else:
                made = f'"uid":"{self._uuid()}","resourceVersion":"{1000 + int(self._random() * 900_000)}"'
                objects += (
                    f',"responseObject":{{"kind":"Object","metadata":{{{metadata},{made},'
                    f'"creationTimestamp":"{received[:19]}Z"}},"data":{{{contents}}}}}'
                )
        return objects

    def set_mean(self, mean_bytes: int) -> None:
        """Choose how much objects hold, so that lines with their newline have this mean."""
        means = []
        for self._contents.scale in (0.0, 1.0):
            means.append(fmean(len(line.encode()) + 1 for _ in range(PILOT) for _, line in self.request(0)))
        lean, full = means
        if not lean <= mean_bytes <= MOST_BYTES:
            raise ValueError(f"mean_bytes is {mean_bytes}; it can be from {lean:.0f} to {MOST_BYTES}")
        self._contents.scale = (mean_bytes - lean) / (full - lean)


def _failed(code: int, reason: str, message: str, name: str, kind: str, decision: str) -> _Answer:
    details = f',"details":{{"name":"{name}","kind":"{kind}"}}'
    return _Answer(code, _STATUS % (message, reason, details, code), decision)


def lines(seed: int, events: int, *, namespaces: int = 40, hours: int = 3, mean_bytes: int = 1200) -> Iterator[bytes]:
    """Give `events` audit lines, without newlines.

    Namespaces have Zipf frequencies (the n-th has 1/n of the first's). The stages' times fill `hours` hours
    from 2026-11-23T06:00Z evenly. The mean size, newline included, comes near `mean_bytes`. Raises ValueError
    for what cannot be.
    """
    if min(namespaces, hours) < 1:
        raise ValueError(f"there must be a namespace and an hour, not {namespaces} and {hours}")
    cluster = _Cluster(seed, namespaces)
    cluster.set_mean(mean_bytes)
    return islice(_all_lines(cluster, hours * 3_600_000_000 - 1_000_000, events), events)


def _all_lines(cluster: _Cluster, span: int, events: int) -> Iterator[bytes]:
    made = 0
    while made < events:
        block: list[tuple[int, str]] = []
        for _ in range(BLOCK):
            block += cluster.request(span * min(made + len(block), events) // events)
        made += len(block)
        for _, line in sorted(block):
            yield line.encode()


def write(path: Path, events: Iterable[bytes]) -> int:
    """Write lines to a file, as the API server's log backend does, and give its size in bytes."""
    made = iter(events)
    with path.open("wb") as file:
        while part := list(islice(made, 1_000)):
            file.write(b"\n".join(part) + b"\n")
        return file.tell()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write invented kube-apiserver audit lines to a file.")
    parser.add_argument("--out", type=Path, required=True)
    defaults = {"events": 100_000, "seed": 1, "namespaces": 40, "hours": 3, "mean_bytes": 1200}
    for option, default in defaults.items():
        parser.add_argument(f"--{option.replace('_', '-')}", type=int, default=default)
    options = vars(parser.parse_args(arguments))
    out = options.pop("out")
    print(f"{out}: {write(out, lines(**options))} bytes")


if __name__ == "__main__":
    main()
