"""The sink `webhook` against a server that keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import gzip
import json
import logging
import pickle
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from delivering import Flying, deliver, letters, made, recorded
from poison import READABLE
from recording import Act, Close, Reply, Request, Server, Stall
from waiting import wait_until
from webhook import event_list

from tailrace.batch import Batch
from tailrace.context import Context
from tailrace.pipeline import PipelineFailed
from tailrace.stage import Damaged, OptionError, Retry
from tailrace.testing import ListSource
from tailrace_plugins.canonical import canonical
from tailrace_plugins.filters.truncate import Truncate
from tailrace_plugins.filters.upgrade import Upgrade
from tailrace_plugins.sending.delivery import MOST_IN_VAIN
from tailrace_plugins.sinks.webhook import Webhook

DATA = Path(__file__).parent / "data"
SAMPLE = gzip.decompress((DATA / "audit-sample.log.gz").read_bytes()).splitlines()
CASES = [
    json.loads(line) for line in gzip.decompress((DATA / "truncate-cases.jsonl.gz").read_bytes()).split(b"\n") if line
]
EVENTS = [b'{"auditID":"%d","verb":"get"}' % number for number in range(1000)]
NUMBERS = list(range(1000))


def webhook(server: Server, **options: Any) -> Webhook:
    given: dict[str, Any] = {"url": f"{server.url}/k8s/audit", "throttle_enable": False, "initial_backoff": 0.0}
    return Webhook(**given | options)


class _List(msgspec.Struct):
    items: list[msgspec.Raw]


def items_of(body: bytes) -> list[bytes]:
    return list(map(bytes, msgspec.json.decode(body, type=_List).items))


def numbers(request: Request) -> list[int]:
    return [int(item["auditID"]) for item in request.items]


# What is sent


def test_events_are_sent_as_the_api_server_sends_them(tmp_path: Path) -> None:
    with Server() as server:
        pipeline = deliver(tmp_path, webhook(server), SAMPLE, batch_size=130)
    assert server.bodies == [event_list(SAMPLE[start : start + 400]) for start in range(0, len(SAMPLE), 400)]
    first = server.requests[0]
    assert (first.method, first.target) == ("POST", "/k8s/audit")
    assert (first.headers["content-type"], first.headers["accept"]) == ("application/json", "application/json, */*")
    assert "content-encoding" not in first.headers
    assert server.connections == 1
    assert recorded(pipeline) == {}
    figures = {(each.name, *each.labels.values()): each.value for each in pipeline.stages[-1].measures()}
    assert figures[("sent_requests_total", "2xx")] == len(server.requests)
    assert figures[("sent_events_total",)] == len(SAMPLE)
    assert figures[("sent_bytes_total",)] == sum(map(len, server.bodies))
    assert figures[("sent_again_total",)] == figures[("sent_refused_events_total",)] == 0


def test_hostile_events_pass_as_they_are(tmp_path: Path) -> None:
    lines = [*READABLE.values(), *SAMPLE[:5]]
    lines = [line for line in lines if b"v1beta1" not in line]
    with Server() as server:
        deliver(tmp_path, webhook(server), lines, batch_size=7)
    assert server.bodies == [event_list(lines)]
    assert letters(tmp_path) == []


def test_what_is_no_object_never_reaches_a_list(tmp_path: Path) -> None:
    with Server() as server:
        deliver(tmp_path, webhook(server), [EVENTS[0], b"[1]", b"no JSON", b'{"a":1},{"b":2}', b"", EVENTS[1]])
    assert [numbers(request) for request in server.requests] == [[0, 1]]
    assert [each["kind"] for each in letters(tmp_path)] == ["not_an_object", "not_json", "not_json", "not_json"]


def test_an_event_of_twenty_megabytes_goes_alone_and_whole(tmp_path: Path) -> None:
    huge = b'{"auditID":"huge","requestObject":{"x":"' + b"x" * 20_000_000 + b'"}}'
    with Server() as server:
        deliver(tmp_path, webhook(server), [*EVENTS[:3], huge, *EVENTS[3:5]], batch_size=1)
    assert server.bodies == [event_list(EVENTS[:3]), event_list([huge]), event_list(EVENTS[3:5])]


def test_events_of_another_version_need_upgrade_in_front(tmp_path: Path) -> None:
    old = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1beta1","level":"Metadata","auditID":"7","metadata":{}}'
    odd = b'{"apiVersion":7,"auditID":"8"}'
    same = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"9"}'
    with Server() as server:
        deliver(tmp_path / "1", webhook(server), [old, EVENTS[0], odd, same])
        deliver(tmp_path / "2", webhook(server), [old, same], filters=[Upgrade()])
        deliver(tmp_path / "3", webhook(server, version="audit.k8s.io/v1beta1"), [old])
    assert server.bodies[0] == event_list([EVENTS[0], same])
    assert [item["apiVersion"] for item in server.requests[1].items] == ["audit.k8s.io/v1"] * 2
    assert json.loads(server.bodies[2])["apiVersion"] == "audit.k8s.io/v1beta1"
    assert [(each["event"], each["kind"]) for each in letters(tmp_path / "1")] == [
        (old.decode(), "refused"),
        (odd.decode(), "refused"),
    ]
    assert letters(tmp_path / "1")[0]["reason"] == (
        "an event of apiVersion 'audit.k8s.io/v1beta1', and the list is of audit.k8s.io/v1; "
        "put the filter upgrade in front of the sink"
    )


@pytest.fixture(scope="module")
def taking() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_batches_are_those_of_the_api_servers_truncating_backend(
    tmp_path: Path, case: dict[str, Any], taking: Server
) -> None:
    taking.requests.clear()
    events = [text.encode() for text in case["events"]]
    sink = webhook(taking, truncate_max_batch_size=case["maxBatchSize"])
    deliver(tmp_path, sink, events, filters=[Truncate(max_event_size=case["maxEventSize"])], batch_size=2)
    expected = case["expect"]["batches"]
    found = [items_of(request.body) for request in taking.requests]
    assert [len(items) for items in found] == [len(batch) for batch in expected]
    for items, batch in zip(found, expected, strict=True):
        for item, event in zip(items, batch, strict=True):
            if event["truncated"]:
                assert canonical(item) == event["line"].encode() + b"\n"
            else:
                assert item == events[event["event"]]
    dropped = [each["event"].encode() for each in letters(tmp_path)]
    assert dropped == [events[index] for index in case["expect"]["dropped"]]


def test_bodies_are_compressed_if_that_is_asked_for(tmp_path: Path) -> None:
    with Server() as server:
        deliver(tmp_path, webhook(server, compress=True, headers={"X-Cluster": "east"}), EVENTS[:9])
    assert gzip.decompress(server.bodies[0]) == event_list(EVENTS[:9])
    assert server.requests[0].headers["x-cluster"] == "east"


def test_only_events_whose_tag_matches_are_sent(tmp_path: Path) -> None:
    with Server() as server:
        deliver(tmp_path, webhook(server, match="other.**"), EVENTS[:9])
        assert server.requests == []
        deliver(tmp_path / "2", webhook(server, match="test"), EVENTS[:9])
    assert [numbers(request) for request in server.requests] == [NUMBERS[:9]]


# When it is sent


class Trickle(ListSource, kw_only=True):
    """Gives events in batches, and in between none; each such wait takes as long as it may, by the clock."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.looks = 0

    def read(self, timeout: float) -> Batch | None:
        assert isinstance(self.context.clock, Flying)
        self.looks += 1
        if self.looks % 2:
            self.context.clock.now += min(timeout, 7.0)
            return None
        return super().read(timeout)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, [10, 10]),  # two events each seven seconds: after the fifth look, thirty seconds have passed
        ({"batch_max_size": 4}, [4, 4, 2, 4, 4, 2]),  # the first commit comes later, for there may have been a crash
        ({"batch_max_size": 3}, [3, 3, 3, 1, 3, 1, 3, 1, 2]),  # what is over goes with the commit
        ({"batch_max_wait": "10s"}, [4] * 5),
        ({"mode": "blocking"}, [2] * 10),
        ({"mode": "blocking", "batch_max_size": 1}, [1] * 20),
    ],
)
def test_a_batch_waits_for_others_as_long_as_it_may(tmp_path: Path, options: dict[str, Any], sizes: list[int]) -> None:
    with Server() as server:
        source = Trickle(lines=EVENTS[:20], batch_size=2)
        pipeline = made(tmp_path, webhook(server, **options), [], clock=Flying(), source=source)
        pipeline.run(threading.Event())
    assert [len(request.items) for request in server.requests] == sizes


def test_full_batches_do_not_wait_for_the_commit(tmp_path: Path) -> None:
    with Server() as server:
        sink = webhook(server, batch_max_size=10)
        pipeline = made(tmp_path, sink, [])
        sink.open(None)
        for start in range(0, 25, 5):
            sink.write(sink.encode(Batch(EVENTS[start : start + 5])))
        assert [numbers(request) for request in server.requests] == [NUMBERS[:10], NUMBERS[10:20]]
        assert sink.held() == sum(map(len, EVENTS[20:25]))
        sink.flush()
        assert numbers(server.requests[-1]) == NUMBERS[20:25]
        assert sink.held() == 0
        pipeline.close()


def test_no_more_requests_go_out_than_the_throttle_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace_plugins.sending.backoff.LOOK", 0.0)
    clock = Flying(0.001)
    times: list[float] = []

    def note(request: Request) -> Act:
        times.append(clock.now)
        return Reply()

    with Server(decide=note) as server:
        sink = webhook(server, batch_max_size=10, throttle_enable=True, throttle_qps=50, throttle_burst=5)
        deliver(tmp_path, sink, EVENTS[:400], clock=clock)
        assert len(times) == 40
        assert times[4] - times[0] < 0.02  # a burst
        for number, time in enumerate(times[5:], 1):
            assert time - times[0] >= number / 50
        times.clear()
        deliver(tmp_path / "2", webhook(server, mode="blocking", batch_max_size=10), EVENTS[:400], clock=Flying())
        assert len(times) == 40


# Answers


def refusing(*bad: int, status: int = 400) -> Server:
    """A server that refuses what holds one of these."""

    def decide(request: Request) -> Act:
        return Reply(status, body=b'{"error":"no"}') if set(bad) & set(numbers(request)) else Reply()

    return Server(decide=decide)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_bad_event_costs_no_neighbour(tmp_path: Path, status: int) -> None:
    with refusing(3, 250, 251, status=status) as server:
        pipeline = deliver(tmp_path, webhook(server), EVENTS[:400])
        host = f"127.0.0.1:{server.port}"
    taken = [
        number
        for request in server.requests
        if not {3, 250, 251} & set(numbers(request))
        for number in numbers(request)
    ]
    assert taken == [number for number in NUMBERS[:400] if number not in (3, 250, 251)]
    assert [(each["event"], each["kind"], each["offset"]) for each in letters(tmp_path)] == [
        (EVENTS[number].decode(), "refused", sum(map(len, EVENTS[:number])) + number) for number in (3, 250, 251)
    ]
    assert letters(tmp_path)[0]["reason"] == f'{host} answered {status} ({{"error":"no"}})'
    assert len(server.requests) < 60
    assert pipeline.counts.dead_letters["refused"] == 3


def test_a_batch_that_is_too_large_is_halved_until_it_is_not(tmp_path: Path) -> None:
    def decide(request: Request) -> Act:
        return Reply(413 if len(request.body) > 2000 else 200)

    with Server(decide=decide) as server:
        deliver(tmp_path, webhook(server), EVENTS[:400])
    taken = [request for request in server.requests if len(request.body) <= 2000]
    assert [number for request in taken for number in numbers(request)] == NUMBERS[:400]
    assert letters(tmp_path) == []


@pytest.mark.parametrize(("status", "events"), [(400, 1), (422, 1), (413, 1), (413, 90)])
def test_what_is_refused_by_itself_is_put_aside(tmp_path: Path, status: int, events: int) -> None:
    with Server(Reply(status)) as server:
        deliver(tmp_path, webhook(server), EVENTS[:events])
    assert [each["event"].encode() for each in letters(tmp_path)] == EVENTS[:events]
    assert len(server.requests) == 2 * events - 1


@pytest.mark.parametrize(("events", "requests"), [(400, MOST_IN_VAIN), (5, 9), (2, 3)])
def test_a_receiver_that_refuses_everything_is_no_events_fault(tmp_path: Path, events: int, requests: int) -> None:
    with Server(Reply(400, body=b"what is this?")) as server, pytest.raises(PipelineFailed) as caught:
        deliver(tmp_path, webhook(server), EVENTS[:events])
    assert "answered 400 (what is this?), to whatever it is sent; check the path of the URL" in str(caught.value)
    assert len(server.requests) == requests
    assert letters(tmp_path) == []


def test_a_batch_of_bad_events_alone_is_put_aside_where_others_were_taken(tmp_path: Path) -> None:
    with refusing(*range(4, 8)) as server:
        deliver(tmp_path, webhook(server, batch_max_size=4), EVENTS[:12])
    assert [each["event"].encode() for each in letters(tmp_path)] == EVENTS[4:8]


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (Reply(401), "answered 401: it does not accept the credentials; check token, password or client certificate"),
        (Reply(403), "answered 403: it knows who sends, and does not allow it; check what is allowed there"),
        (Reply(404), "answered 404: it takes nothing at this path; check the path of the URL"),
        (Reply(405), "answered 405: it takes no POST at this path; check the path of the URL"),
        (
            Reply(302, {"Location": "http://me:secret@elsewhere:81/x?token=secret"}),
            "answered 302: nothing is sent on to http://elsewhere:81/x; give the right URL",
        ),
        (Reply(429), "answered 429: it has no room for more at present"),
        (Reply(500, body=b"oh\n no"), "answered 500 (oh no); check the log there"),
        (Close(), "closed the connection without an answer; check what happened there"),
        (Stall(), "did not answer within 0.05 s; check the load there, or give it more time"),
        (Reply(missing=3), "broke off; check what happened there"),
    ],
)
def test_what_says_nothing_about_events_is_tried_five_times(
    tmp_path: Path, act: Act, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(act) as server:
        sink = webhook(server, timeout=0.05 if isinstance(act, Stall) else 30.0)
        with pytest.raises(PipelineFailed, match="nothing is lost: run it again") as caught:
            deliver(tmp_path, sink, EVENTS[:9])
        assert server.bodies == [event_list(EVENTS[:9])] * 5
    assert said in str(caught.value)
    assert f"127.0.0.1:{server.port} " in str(caught.value)
    warnings = [vars(record) for record in caplog.records if "was not taken" in record.getMessage()]
    assert len(warnings) == 4
    assert said in warnings[0]["cause"]
    assert "secret" not in caplog.text + str(caught.value)
    assert letters(tmp_path) == []
    figures = {(each.name, *each.labels.values()): each.value for each in sink.measures()}
    assert figures[("sent_again_total",)] == 4
    assert (
        figures[
            ("sent_requests_total", f"{act.status // 100}xx" if isinstance(act, Reply) and not act.missing else "none")
        ]
        == 5
    )


def test_the_same_body_comes_again_after_the_time_that_the_receiver_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace_plugins.sending.backoff.LOOK", 0.0)
    clock = Flying(1.0)
    times: list[float] = []
    acts = [Reply(503, {"Retry-After": "20"})] * 12 + [Reply(500), Reply()]

    def decide(request: Request) -> Act:
        times.append(clock.now)
        return acts[len(times) - 1]

    with Server(decide=decide) as server:
        sink = webhook(server, initial_backoff="100s")
        deliver(tmp_path, sink, EVENTS[:9], clock=clock)
    assert server.bodies == [event_list(EVENTS[:9])] * 14
    waits = [after - before for before, after in pairwise(times)]
    assert all(20 <= wait < 30 for wait in waits[:10])
    assert 100 <= waits[10] < 130  # its patience, ten times, is one try of ours
    assert 20 <= waits[11] < 30
    assert 150 <= waits[12] < 200
    (waited,) = [each.value for each in sink.measures() if each.name == "sent_wait_seconds_total"]
    assert waited >= 470


def test_a_pipeline_recovers_until_the_receiver_takes_the_same_bodies(tmp_path: Path) -> None:
    with Server(Reply(), *[Reply(500)] * 5, Reply()) as server:
        pipeline = made(tmp_path, webhook(server, batch_max_size=10), EVENTS[:25], batch_size=7)
        assert pipeline.run(threading.Event())
        assert pipeline.counts.recoveries == 1
    first, second, third = (event_list(EVENTS[start : start + 10][: 25 - start]) for start in (0, 10, 20))
    assert server.bodies == [first, *[second] * 5, first, second, third]


def test_a_stop_ends_the_waits_and_keeps_the_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    ended: list[bool] = []
    with Server(*[Reply(503)] * 2, Reply()) as server:
        pipeline = made(tmp_path, webhook(server, initial_backoff="1h"), EVENTS[:9])
        thread = threading.Thread(target=lambda: ended.append(pipeline.run(stop)))
        thread.start()
        wait_until(lambda: "was not taken" in caplog.text)
        stop.set()
        pipeline.wake()
        thread.join(30)
        assert ended == [False]
        assert len(server.requests) == 1
        again = made(tmp_path, webhook(server, initial_backoff=0.0), EVENTS[:9])
        assert again.run(threading.Event())
    assert server.bodies == [event_list(EVENTS[:9])] * 3


def test_at_a_stop_what_waits_is_sent_without_waiting_for_the_throttle(tmp_path: Path) -> None:
    class Endless(ListSource, kw_only=True):
        def read(self, timeout: float) -> Batch | None:
            return super().read(timeout) if self._next < len(self.lines) else None

    stop = threading.Event()
    with Server() as server:
        sink = webhook(server, batch_max_size=5, throttle_enable=True, throttle_qps=0.001, throttle_burst=1)
        source = Endless(lines=EVENTS[:8], batch_size=8)
        pipeline = made(tmp_path, sink, [], source=source)
        thread = threading.Thread(target=pipeline.run, args=(stop,))
        thread.start()
        wait_until(lambda: len(server.requests) == 1)
        stop.set()
        pipeline.wake()
        thread.join(30)
    assert [numbers(request) for request in server.requests] == [NUMBERS[:5], NUMBERS[5:8]]
    assert pipeline.counts.commits == 1


# Recovery


def test_what_is_sent_again_is_sent_as_the_same_bodies(tmp_path: Path) -> None:
    with Server() as server:
        sink = webhook(server, batch_max_size=10)
        context = made(tmp_path, sink, []).context

        def feed(to: Webhook, *spans: tuple[int, int]) -> None:
            for start, end in spans:
                to.write(to.encode(Batch(EVENTS[start:end])))

        sink.open(None)
        feed(sink, (0, 7), (7, 24))
        first = sink.prepare()
        assert first == {"borders": [24]}
        sink.flush()  # and then the process dies, and there is more to read
        sink = webhook(server, batch_max_size=10)
        sink.attach(context)
        sink.open(first)
        feed(sink, (0, 30), (30, 37))
        second = sink.prepare()
        assert second == {"borders": [24, 37]}
        sink.flush()
        sink = webhook(server, batch_max_size=10)
        sink.attach(context)
        sink.open(second)
        feed(sink, (0, 37))
        assert sink.prepare() == {}
        assert sink.flush() == {"borders": None}
        feed(sink, (37, 40))
        assert sink.prepare() == {"borders": [3]}
        assert sink.flush() == {"borders": None}
        sink.close()
        assert sink.prepare() == {}
        assert sink.flush() == {}
    bodies = [numbers(request) for request in server.requests]
    once = [NUMBERS[:10], NUMBERS[10:20], NUMBERS[20:24]]
    more = [NUMBERS[24:34], NUMBERS[34:37]]
    assert bodies == [*once, *once, *more, *once, *more, NUMBERS[37:40]]


def test_a_position_that_is_none_stops_the_pipeline(tmp_path: Path) -> None:
    with Server() as server:
        sink = webhook(server)
        made(tmp_path, sink, [])
        with pytest.raises(Damaged, match="the checkpoint's position of the webhook cannot be understood"):
            sink.open({"borders": "many"})


def test_files_that_cannot_be_read_are_waited_for(tmp_path: Path) -> None:
    with Server() as server:
        sink = webhook(server, token_file=str(tmp_path / "token"))
        made(tmp_path, sink, [])
        with pytest.raises(Retry, match="token cannot be read: No such file"):
            sink.open(None)


# Options


@pytest.mark.parametrize(
    ("options", "option", "said"),
    [
        ({}, "url", "give url or kubeconfig; one of them says where to send to"),
        ({"url": "http://x", "kubeconfig": "y"}, "kubeconfig", "url is given too; one of them"),
        ({"url": "x"}, "url", "write https://HOST:PORT/PATH"),
        ({"url": "http://x", "context": "y"}, "context", "a context is one of a kubeconfig"),
        ({"url": "https://x", "client_cert": "y"}, "client_key", "needs both client_cert and client_key"),
        ({"url": "https://x", "client_key": "y"}, "client_cert", "needs both client_cert and client_key"),
        ({"url": "https://x", "token": "y", "token_file": "z"}, "token_file", "are both given"),
        ({"url": "https://x", "user": "y"}, "user", "takes a user, and password or password_file"),
        ({"url": "https://x", "password": "y"}, "user", "takes a user, and password or password_file"),
        ({"url": "http://x", "token": "y"}, "url", "everybody on the way can read the credentials"),
        ({"url": "http://x", "ca": "y"}, "url", "over http:// nothing is verified"),
        ({"url": "https://x", "proxy": "socks5://y"}, "proxy", "over https:// and http:// only"),
        ({"url": "https://x", "headers": {"X-A": "a\r\nX-B: b"}}, "headers", "holds what no header can hold"),
        ({"url": "https://x", "headers": {"X A": "a"}}, "headers", "holds what no header can hold"),
        ({"url": "https://x", "headers": {"authorization": "a"}}, "headers", "credentials have their own options"),
        ({"url": "https://x", "batch_max_wait": "soon"}, "batch_max_wait", "is not a duration"),
        ({"url": "https://x", "initial_backoff": -1.0}, "initial_backoff", "a time is not less than 0"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], option: str, said: str) -> None:
    options = {{"context": "kube_context"}.get(name, name): value for name, value in options.items()}
    with pytest.raises(OptionError) as caught:
        Webhook(**options)
    assert caught.value.option == option
    assert said in str(caught.value)


def test_credentials_may_go_to_this_machine_in_the_clear(tmp_path: Path) -> None:
    with Server() as server:
        deliver(tmp_path / "1", webhook(server, token="t"), EVENTS[:1])
        deliver(tmp_path / "2", webhook(server, user="u", password="p"), EVENTS[:1])
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer t", "Basic dTpw"]


def test_events_in_the_clear_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = Webhook(url="http://receiver.invalid/")
    sink.attach(Context("test", tmp_path))
    for _ in range(2):
        sink.open(None)
    assert [str(vars(record)["cause"]) for record in caplog.records] == [
        "events cross the network in the clear; send them to an https:// URL"
    ]
    assert caplog.records[0].levelno == logging.WARNING


def test_it_encodes_the_same_in_another_process() -> None:
    sink = Webhook(url="http://localhost:1/")
    other = pickle.loads(pickle.dumps(sink))
    assert other.encode(Batch(EVENTS[:9])) == sink.encode(Batch(EVENTS[:9]))
    payload = sink.encode(Batch(EVENTS[:9], origin={"path": "/log"}))
    assert pickle.loads(pickle.dumps(payload)) == payload


def test_an_answer_that_takes_its_time_is_waited_for(tmp_path: Path) -> None:
    time_has_come = threading.Event()
    with Server(Reply(after=time_has_come)) as server:
        pipeline = made(tmp_path, webhook(server), EVENTS[:9])
        thread = threading.Thread(target=pipeline.run, args=(threading.Event(),))
        thread.start()
        wait_until(lambda: len(server.requests) == 1)
        assert pipeline.counts.commits == 0
        time_has_come.set()
        thread.join(30)
    assert server.bodies == [event_list(EVENTS[:9])]
    assert pipeline.counts.commits == 1


def test_a_commit_waits_until_all_that_was_sent_is_there_again(tmp_path: Path) -> None:
    with Server() as server:
        sink = webhook(server, batch_max_size=10, batch_max_wait=1.0)
        made(tmp_path, sink, [], clock=Flying())
        sink.open(None)
        assert sink.linger() == 5.0  # before there was a commit: who knows what was sent before
        assert sink.flush() == {}
        sink.commit({})
        assert sink.linger() == 5.0  # there was one, of no event
        sink.write(sink.encode(Batch(EVENTS[:15])))
        sink.flush()
        sink.commit({})
        assert sink.linger() == 1.0
        sink.write(sink.encode(Batch(EVENTS[:15])))
        assert sink.linger() == 0.0
        for position, needed in ((None, 15), ({"borders": [17]}, 17)):
            sink.open(position)
            assert sink.flush() == {}
            sink.commit({})
            for number in range(needed):
                assert sink.linger() == 30.0
                sink.write(sink.encode(Batch(EVENTS[number : number + 1])))
            assert sink.linger() == 0.0
        sink.close()
