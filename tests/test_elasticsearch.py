"""The elasticsearch sink against a strict server: what it sends, and that each event is there once, or refused."""

from __future__ import annotations

import gzip
import json
import random
import threading
from pathlib import Path

import pytest
from bulk_server import BulkServer, Failure, Item, Request
from indexing import Indexing, Racing, events
from poison import READABLE, UNREADABLE, USERS, dead_letter, event
from waiting import wait_until

from tailrace import pipeline
from tailrace.faults import Crash, FaultyDisk
from tailrace.metrics import exposition
from tailrace.pipeline import PipelineFailed
from tailrace_plugins.filters.drop_keys import DropKeys
from tailrace_plugins.indexing import lanes, options

SAMPLE = gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes()).splitlines()


@pytest.mark.parametrize("compress", [True, False])
def test_every_event_is_in_its_index_to_the_byte(tmp_path: Path, compress: bool) -> None:
    with BulkServer() as server:
        template = "audit-{objectRef.namespace}-%Y.%m.%d"
        run = Indexing(tmp_path, SAMPLE, server, index=template, compress=compress, batch_size=100)
        run.run()
        assert server.violations == []
        assert server.sources() == sorted(SAMPLE)
        for (index, _), source in server.documents.items():
            namespace = json.loads(source).get("objectRef", {}).get("namespace", "_none")
            part = namespace if namespace.isascii() else "".join(f"~{byte:02x}" for byte in namespace.encode())
            assert index == f"audit-{part}-2026.11.23"
        assert run.figures["indexed"] == len(SAMPLE)
        encodings = {request.headers.get("Content-Encoding") for request in server.requests}
        assert encodings == {"gzip" if compress else None}
        assert run.figures["sent_bytes"] == sum(request.size for request in server.requests)
        assert run.figures["requests"] == len(server.requests)


def test_a_data_stream_gets_the_time_beside_the_bytes_and_nothing_else_changed(tmp_path: Path) -> None:
    own = b'{"@timestamp":"2026-01-01T00:00:00Z","stageTimestamp":"2026-11-23T06:51:11.0Z"}'
    inside = b'{"requestObject":{"@timestamp":1},"timestamp":"2026-11-23T06:51:12.0Z" , "n":1.10}'
    timeless = b'{"verb":"get"}'
    with BulkServer() as server:
        run = Indexing(tmp_path, [own, inside, timeless], server, data_stream="logs-audit-default")
        run.run()
        added = inside[:-1] + b',"@timestamp":"2026-11-23T06:51:12.0Z"}'
        assert server.sources("logs-audit-default") == sorted([own, added])
        assert [(each["event"], each["kind"]) for each in run.letters()] == [(timeless.decode(), "refused")]
        assert run.letters()[0]["reason"] == "the event has no time, which a document in a data stream needs"


def test_the_time_is_left_to_an_ingest_pipeline_if_it_is_not_to_be_added(tmp_path: Path) -> None:
    with BulkServer() as server:
        server.streams = "nothing"
        Indexing(
            tmp_path,
            events(3),
            server,
            data_stream="logs-audit-{verb}",
            add_timestamp=False,
            pipeline="a b&c",
            require_data_stream=True,
        ).run()
        assert server.sources("logs-audit-_none") == sorted(events(3))
        parameters = server.requests[0].parameters
        assert parameters["pipeline"] == ["a b&c"]
        assert parameters["require_data_stream"] == ["true"]


def test_events_whose_answer_was_lost_are_there_once(tmp_path: Path) -> None:
    lines = events(50)
    with BulkServer() as server:
        server.lose = lambda request: len(server.requests) <= 2
        run = Indexing(tmp_path, lines, server, bulk_max_events=20, requests=1)
        run.run(once=False)
        assert server.sources() == sorted(lines)
        assert run.figures["present"] > 0
        assert run.pipeline.counts.recoveries >= 1
        assert "closed the connection without an answer" in run.said.lines[0]


def test_with_ids_of_the_server_s_what_was_lost_is_there_twice(tmp_path: Path) -> None:
    lines = events(5)
    with BulkServer() as server:
        server.lose = lambda request: len(server.requests) == 1
        Indexing(tmp_path, lines, server, id="none").run(once=False)
        assert server.sources() == sorted(lines * 2)


def test_what_the_cluster_has_no_time_for_is_sent_again_alone(tmp_path: Path) -> None:
    lines = events(30)
    turned_away: list[str] = []

    def busy(item: Item) -> Failure | None:
        if json.loads(item.source)["auditID"] in ("3", "17") and turned_away.count(item.id or "") < 2:
            turned_away.append(item.id or "")
            return 429, "es_rejected_execution_exception", "queue is full"
        return None

    with BulkServer() as server:
        server.fail_item = busy
        run = Indexing(tmp_path, lines, server, clock=Racing(), batch_size=30)
        run.run()
        assert server.sources() == sorted(lines)
        assert [len(request.items) for request in server.requests] == [30, 2, 2]
        assert (run.figures["retried"], run.figures["present"]) == (4, 0)


def test_what_is_refused_for_good_goes_to_the_dead_letter_and_its_neighbours_go_on(tmp_path: Path) -> None:
    lines = events(30, level="Metadata")

    def strict(item: Item) -> Failure | None:
        if json.loads(item.source)["auditID"] == "7":
            return 400, "document_parsing_exception", "failed to parse field [auditID] of type [ip]"
        return None

    with BulkServer() as server:
        server.fail_item = strict
        run = Indexing(tmp_path, lines, server, filters=[DropKeys(keys=["level"])])
        run.run()
        assert len(server.documents) == 29
        (letter,) = run.letters()
        assert letter["event"].encode() == lines[7]  # as it was read, not as it was sent
        assert letter["offset"] == sum(map(len, lines[:7])) + 7
        assert letter["reason"] == (
            "document_parsing_exception: failed to parse field [auditID] of type [ip] (status 400, index audit)"
        )
        assert run.figures["refused"] == run.pipeline.counts.dead_letters["refused"] == 1


def test_requests_that_are_too_large_are_sent_in_halves_and_an_event_that_is_goes_to_the_dead_letter(
    tmp_path: Path,
) -> None:
    huge = b'{"auditID":"huge","x":"%b"}' % (b"x" * 5000)
    lines = [*events(40), huge]
    with BulkServer(limit=2000) as server:
        run = Indexing(tmp_path, lines, server, requests=1)
        run.run()
        assert server.sources() == sorted(lines[:-1])
        assert [letter["event"].encode() for letter in run.letters()] == [huge]
        assert "takes no request as large as this event" in run.letters()[0]["reason"]
        assert "requests are too large and are sent in halves" in run.said


def test_a_size_that_was_too_large_is_not_tried_again(tmp_path: Path) -> None:
    lines = events(400)
    with BulkServer(limit=8000) as server:
        run = Indexing(tmp_path, lines, server, requests=1, bulk_max_events=100)
        run.run()
        assert server.sources() == sorted(lines)
        refused = run.figures["requests"] - len(server.requests)
        assert refused <= 2


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ((401, "security_exception", "unable to authenticate"), "check user, password, API key or token"),
        ((403, "security_exception", "unauthorized"), "the privilege create_doc"),
        ((404, "index_not_found_exception", "no such index [audit]"), "action.auto_create_index"),
        ((500, "null_pointer_exception", "oops"), "status 500: null_pointer_exception: oops"),
        (b"<html>It works!</html>", "an answer that is none of the bulk API"),
        (b'{"errors":false,"items":[]}', "it has 0 items for 5 events"),
    ],
)
def test_what_is_no_event_s_fault_never_fills_the_dead_letter(
    tmp_path: Path, failure: Failure | bytes, said: str
) -> None:
    with BulkServer() as server:
        server.fail = lambda request: failure
        run = Indexing(tmp_path, events(5), server)
        with pytest.raises(PipelineFailed, match="nothing is lost: run it again") as raised:
            run.run()
        assert said in str(raised.value)
        assert f"127.0.0.1:{server.port}" in str(raised.value)
        assert run.letters() == []
        server.fail = lambda request: None
        again = Indexing(tmp_path, events(5), server)
        again.run()
        assert server.sources() == sorted(events(5))


@pytest.mark.parametrize("failure", [(404, "index_not_found_exception", "no such index [audit]")])
def test_an_index_that_is_missing_for_some_events_holds_up_the_pipeline_and_names_it(
    tmp_path: Path, failure: Failure
) -> None:
    with BulkServer() as server:
        server.fail_item = lambda item: failure if item.index == "audit-b" else None
        lines = [*events(3, verb="a"), *events(3, verb="b")]
        run = Indexing(tmp_path, lines, server, index="audit-{verb}")
        with pytest.raises(PipelineFailed, match=r"no such index \[audit\] \(status 404, index audit-b\); create the"):
            run.run()
        server.fail_item = lambda item: None
        again = Indexing(tmp_path, lines, server, index="audit-{verb}")
        again.run()
        assert server.sources() == sorted(lines)
        assert (again.figures["indexed"], again.figures["present"]) == (3, 3)


def test_an_index_that_is_a_data_stream_holds_up_the_pipeline_and_says_what_to_set(tmp_path: Path) -> None:
    with BulkServer() as server:
        run = Indexing(tmp_path, events(5), server, index="logs-audit-default")
        with pytest.raises(PipelineFailed, match="set the option data_stream instead of index"):
            run.run()
        assert run.letters() == []


def test_a_busy_cluster_is_given_time_and_then_the_pipeline_recovers(tmp_path: Path) -> None:
    with BulkServer() as server:
        patience = [True] * 3
        server.fail = lambda request: (
            (429, "circuit_breaking_exception", "Data too large") if patience and patience.pop() else None
        )
        run = Indexing(tmp_path, events(5), server, clock=Racing())
        run.run()
        assert server.sources() == sorted(events(5))
        assert run.figures["retried"] == 15
        server.fail = lambda request: (503, "unavailable_shards_exception", "primary shard is not active")
        with pytest.raises(PipelineFailed, match="primary shard is not active"):
            Indexing(tmp_path / "other", events(5), server, clock=Racing()).run()


def test_poisoned_events_are_there_to_the_byte_or_in_the_dead_letter(tmp_path: Path) -> None:
    lines = [*READABLE.values(), *UNREADABLE.values(), b"", b"\r", event("crlf") + b"\r"]
    with BulkServer() as server:
        run = Indexing(tmp_path, lines, server, index="audit-{objectRef.namespace}-%Y.%m.%d")
        run.run()
        assert server.violations == []
        stored = [*server.sources(), *dead_letter(run.context.state_dir)]
        assert sorted(line.removesuffix(b"\r") for line in stored) == sorted(line.removesuffix(b"\r") for line in lines)
        assert len(server.documents) >= len(READABLE) - 6
        assert {index[:6] for index in server.indices()} == {"audit-"}


def test_lines_that_nobody_decoded_are_refused_by_the_server_and_cost_no_neighbour(tmp_path: Path) -> None:
    good = events(4)
    lines = [good[0], b"", good[1], b"no JSON", b"[1]", good[2], b'{"create":{"_index":"other"}}', b" ", good[3]]
    with BulkServer() as server:
        run = Indexing(tmp_path, lines, server)
        run.run()
        assert server.indices() == {"audit"}
        assert server.sources() == sorted([*good, b'{"create":{"_index":"other"}}'])
        assert sorted(dead_letter(run.context.state_dir)) == [b"", b" ", b"[1]", b"no JSON"]
        assert server.violations == []


def test_names_that_attackers_choose_stay_within_their_index(tmp_path: Path) -> None:
    lines = [event(f"e{number}", user) for number, user in enumerate(USERS.values())]
    with BulkServer() as server:
        run = Indexing(tmp_path, lines, server, index="audit-{user.username}")
        run.run()
        assert server.violations == []
        assert server.sources() == sorted(lines)
        assert len(server.indices()) == len(USERS)  # each its own
        assert {request.path for request in server.requests} == {"/_bulk"}


def test_events_that_a_filter_made_equal_stay_two_and_equal_ones_become_one(tmp_path: Path) -> None:
    lines = [b'{"verb":"get","auditID":"1"}', b'{"verb":"get","auditID":"2"}', b'{"verb":"get","auditID":"2"}']
    with BulkServer() as server:
        run = Indexing(tmp_path, lines, server, filters=[DropKeys(keys=["auditID"])])
        run.run()
        assert server.sources() == [b'{"verb":"get"}', b'{"verb":"get"}']
        assert (run.figures["indexed"], run.figures["present"]) == (2, 1)


def test_requests_are_as_large_as_the_options_say_and_several_are_under_way(tmp_path: Path) -> None:
    lines = events(100)
    both = threading.Barrier(2, timeout=20)

    def meet(request: Request) -> None:
        if len(server.requests) <= 2:
            both.wait()

    with BulkServer() as server:
        server.fail = meet
        Indexing(tmp_path, lines, server, bulk_max_events=30, requests=2).run()
        assert sorted(len(request.items) for request in server.requests) == [10, 30, 30, 30]
        assert server.sources() == sorted(lines)
        server.requests.clear()
        both.reset()
        Indexing(tmp_path / "b", lines, server, bulk_max_size=1000, requests=2, compress=False).run()
        assert max(request.size for request in server.requests) <= 1000
        assert server.violations == []


def test_a_commit_waits_for_all_requests_that_are_under_way(tmp_path: Path) -> None:
    lines = events(40)
    with BulkServer() as server:
        server.fail = lambda request: (
            (401, "security_exception", "no") if any(b'"5"' in item.source for item in request.items) else None
        )
        run = Indexing(tmp_path, lines, server, bulk_max_events=10, requests=4)
        with pytest.raises(PipelineFailed):
            run.run()
        assert run.pipeline.counts.commits == 0
        server.fail = lambda request: None
        Indexing(tmp_path, lines, server).run()
        assert server.sources() == sorted(lines)


def test_events_and_letters_are_there_once_at_whatever_operation_the_process_dies(tmp_path: Path) -> None:
    lines = events(12)
    bad = {lines[4], lines[9]}
    deaths = 0
    with BulkServer() as server:
        server.fail_item = lambda item: (400, "odd_exception", "odd") if item.source in bad else None
        while True:
            directory = tmp_path / str(deaths)
            server.documents.clear()
            disk = FaultyDisk(deaths + 1)
            run = Indexing(directory, lines, server, batch_size=3, commit_bytes=200, disk=disk)
            try:
                run.run()
            except Crash:
                run.pipeline.close()
                disk.die()
                disk.lose_unsynced()
                run = Indexing(directory, lines, server, batch_size=3, commit_bytes=200)
                run.run()
            else:
                break
            assert server.sources() == sorted(set(lines) - bad), f"death {deaths}"
            assert {letter["event"].encode() for letter in run.letters()} == bad
            assert len(run.letters()) == 2
            deaths += 1
    assert deaths > 20


def test_a_stop_ends_the_wait_for_a_busy_cluster(tmp_path: Path) -> None:
    asked = threading.Event()

    def busy(request: Request) -> Failure:
        asked.set()
        return 429, "es_rejected_execution_exception", "queue is full"

    with BulkServer() as server:
        server.fail = busy
        run = Indexing(tmp_path, events(5), server)
        stop = threading.Event()
        ended: list[bool] = []
        thread = threading.Thread(target=lambda: ended.append(run.pipeline.run(stop)))
        thread.start()
        assert asked.wait(20)
        stop.set()
        run.pipeline.wake()
        thread.join(20)
        assert ended == [False]


def test_events_wait_for_others_so_that_requests_are_not_small() -> None:
    with BulkServer() as server:
        assert Indexing(Path("unused"), [], server).sink.linger() == 1.0
        assert Indexing(Path("unused"), [], server, flush_interval=0).sink.linger() == 0.0


def test_a_stop_waits_for_an_answer_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answering = threading.Event(), threading.Event()

    def hang(request: Request) -> None:
        asked.set()
        answering.wait(60)

    with BulkServer() as server:
        server.fail = hang
        for patience, taken in ((0.1, False), (60.0, True)):
            monkeypatch.setattr(lanes, "PATIENCE", patience)
            asked.clear()
            run = Indexing(tmp_path, events(5), server)
            stop = threading.Event()
            thread = threading.Thread(target=run.pipeline.run, args=(stop,))
            thread.start()
            assert asked.wait(20)
            stop.set()
            run.pipeline.wake()
            if taken:
                answering.set()
            thread.join(20)
            assert not thread.is_alive()
            assert run.pipeline.counts.commits == taken
            assert run.pipeline.counts.recoveries == (not taken)
        assert server.sources() == sorted(events(5))


def test_an_answer_that_does_not_end_is_none_of_the_bulk_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "_MOST_ANSWER_BYTES", 100)
    with BulkServer() as server, pytest.raises(PipelineFailed, match="none of the bulk API: it does not end"):
        Indexing(tmp_path, events(5), server).run()


def test_the_condition_of_the_pipeline_says_why_nothing_is_taken_until_it_is(tmp_path: Path) -> None:
    with BulkServer() as server:
        server.fail = lambda request: (403, "security_exception", "action is unauthorized")
        run = Indexing(tmp_path, events(5), server)
        thread = threading.Thread(target=run.run, kwargs={"once": False})
        thread.start()
        try:
            wait_until(lambda: run.pipeline.condition.state == "recovering")
            assert "action is unauthorized" in run.pipeline.condition.cause
            assert "the privilege create_doc" in run.pipeline.condition.cause
        finally:
            server.fail = lambda request: None
            thread.join(30)
        assert server.sources() == sorted(events(5))
        page = exposition([run.pipeline]).decode()
        assert 'tailrace_elasticsearch_indexed_total{pipeline="to-index",stage="elasticsearch"} 5.0' in page


class Unlucky:
    """A server's day on which everything goes wrong now and then."""

    def __init__(self, seed: int, bad: set[bytes]) -> None:
        self.bad = bad
        self.random = random.Random(seed)
        self.lock = threading.Lock()

    def happens(self, share: float) -> bool:
        with self.lock:
            return self.random.random() < share

    def fail(self, request: Request) -> Failure | bytes | None:
        if self.happens(0.3):
            failures: list[Failure | bytes] = [
                (429, "es_rejected_execution_exception", "full"),
                (503, "unavailable_shards_exception", "down"),
                (502, "", ""),
                (401, "security_exception", "expired"),
                b'{"errors":false,"items":[',
                b'{"errors":false,"items":[]}',
            ]
            with self.lock:
                return self.random.choice(failures)
        return None

    def fail_item(self, item: Item) -> Failure | None:
        if self.happens(0.1):
            return 429, "es_rejected_execution_exception", "full"
        return (400, "odd_exception", "odd") if item.source in self.bad else None

    def lose(self, request: Request) -> bool:
        return self.happens(0.2)


@pytest.mark.parametrize("round_", range(8))
def test_whatever_goes_wrong_each_event_is_there_once_or_refused_once(
    tmp_path: Path, round_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "BACKOFF", (0.0,))
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    lines = events(rng.randint(1, 60), x="x" * rng.randint(0, 100))
    batch_size = rng.randint(1, 20)
    unlucky = Unlucky(seed, set(rng.sample(lines, len(lines) // 5)))
    with BulkServer(limit=rng.choice([2500, 100_000])) as one, BulkServer() as other:
        other.documents = one.documents
        for server in (one, other):
            server.fail, server.fail_item, server.lose = unlucky.fail, unlucky.fail_item, unlucky.lose
        run = Indexing(
            tmp_path,
            lines,
            *rng.sample([one, other], rng.randint(1, 2)),
            clock=Racing(),
            batch_size=batch_size,
            bulk_max_events=rng.randint(batch_size // 2 + 1, 30),  # few requests for a commit, or it never succeeds
            requests=rng.randint(1, 3),
            commit_bytes=rng.randint(100, 10_000),
        )
        run.run(once=False)
        assert one.violations == other.violations == []
        assert one.sources() == sorted(set(lines) - unlucky.bad)
        assert sorted(letter["event"].encode() for letter in run.letters()) == sorted(unlucky.bad)
