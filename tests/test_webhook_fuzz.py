"""Whatever is sent, in whatever form: no 500, no hang, and what was acknowledged is there once, to the byte."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Final

from hostile import BODIES, LIMIT, SHAPES, Body, Shape, exchange, frame
from hypothesis import given, settings
from hypothesis import strategies as st
from poison import dead_letter
from waiting import wait_until
from webhook import Running

from tailrace_plugins.receiving.events import BadBody, Events, cut

STATUSES: Final = {200, 400, 403, 404, 405, 411, 413, 415}
ROUNDS: Final = 10 * (settings.default or settings()).max_examples
"""So many times one to three requests are sent, some of them twice."""


class Tally:
    """What has to be there, and what may be there because nobody was told that it is not."""

    def __init__(self) -> None:
        self.sure: Counter[bytes] = Counter()
        self.maybe: Counter[bytes] = Counter()
        self.bodies: dict[bytes, bool] = {}  # by digest, those whose repetition is known: whether they are surely there
        self.statuses: Counter[int] = Counter()

    def acknowledged(self, body: bytes, events: Events, answer: dict[str, int]) -> None:
        items = Counter(map(stored, map(bytes, events.items)))
        digest = hashlib.sha256(body).digest()
        if answer.get("repeated"):
            assert answer == {"accepted": 0, "repeated": items.total()}
            if not self.bodies[digest]:
                self.maybe -= items
                self.sure += items
        else:
            assert answer == {"accepted": items.total()}
            assert not self.bodies.get(digest)
            self.sure += items
        if events.audit and events.items:
            self.bodies[digest] = True

    def unanswered(self, body: bytes, events: Events) -> None:
        digest = hashlib.sha256(body).digest()
        if digest not in self.bodies:
            self.maybe += Counter(map(stored, map(bytes, events.items)))
        if events.audit:
            self.bodies.setdefault(digest, False)


def stored(item: bytes) -> bytes:
    """Say what becomes of an item: a newline between tokens is a blank."""
    try:
        json.loads(item.decode("utf-8", "surrogateescape"), parse_int=str, parse_constant=int)  # NaN is no JSON
    except (ValueError, RecursionError):
        return item
    return item.replace(b"\n", b" ")


def content(body: bytes, shape: Shape) -> bytes:
    """Say what arrives of a body, if it is taken."""
    return body[: len(body) // 2] if shape.framing == "short" else body


def events_of(body: bytes, kind: bytes) -> Events | None:
    try:
        return cut(body, lines=kind == b"application/x-ndjson")
    except BadBody:
        return None


@settings(max_examples=ROUNDS)
@given(
    requests=st.lists(st.tuples(BODIES, SHAPES), min_size=1, max_size=3),
    again=st.booleans(),
    scrap=st.just(b"") | st.binary(max_size=40),
)
def send(
    running: Running,
    tally: Tally,
    numbers: count[int],
    requests: list[tuple[Body, Shape]],
    again: bool,
    scrap: bytes,
) -> None:
    """Send requests on one connection without waiting for answers, perhaps twice, with scrap behind them."""
    requests = requests[: next((number for number, (_, shape) in enumerate(requests, 1) if shape.framing == "long"), 3)]
    scrap = b"" if requests[-1][1].framing == "long" else scrap  # what follows would belong to the body
    bodies = [body.numbered.replace(b'"#"', b'"%d"' % next(numbers), 1) for body, _ in requests]
    data = b"".join(frame(shape, body, about.kind) for body, (about, shape) in zip(bodies, requests, strict=True))
    is_whole = not scrap and not any(shape.framing in ("long", "short") for _, shape in requests)
    for _ in range(1 + again):
        answers = exchange(running.source.address, data + scrap, len(requests) if is_whole else 0)
        statuses = [answer.status for answer in answers]
        tally.statuses.update(statuses)
        assert set(statuses) <= STATUSES
        if is_whole and all(about.clean and shape.is_clean for about, shape in requests):
            assert set(statuses) == {200}
            assert len(statuses) == len(requests) or answers[-1].is_last
        for number, (body, (about, shape)) in enumerate(zip(bodies, requests, strict=True)):
            arrived = content(body, shape)
            events = events_of(arrived, about.kind)
            if number < len(answers) and answers[number].status == 200:
                assert events is not None
                tally.acknowledged(arrived, events, answers[number].json)
            elif events is not None and not (is_whole and len(requests) == 1):
                tally.unanswered(arrived, events)


def test_what_is_acknowledged_is_there_once_and_to_the_byte_whatever_is_sent(tmp_path: Path) -> None:
    tally = Tally()
    with Running(tmp_path, max_body_bytes=LIMIT) as running:
        send(running, tally, count())
        # it comes out last, for all that was acknowledged lies before it in the spool
        last = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"last"}'
        assert running.post(last).status == 200
        wait_until(lambda: last in running.memory.written and running.pipeline.counts.uncommitted_since is None)
        found = Counter(running.memory.written) + Counter(dead_letter(tmp_path)) - Counter([last])
    missing, surplus = tally.sure - found, found - tally.sure - tally.maybe
    assert not missing
    assert not surplus
    assert set(tally.statuses) > {200, 400, 403, 413, 415}
    assert tally.statuses.total() > ROUNDS  # some send several requests
    assert tally.statuses[200] > ROUNDS / 5
