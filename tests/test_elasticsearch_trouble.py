"""The elasticsearch sink in bad times: whatever fails, each event is there once, or refused once."""

from __future__ import annotations

import gzip
import json
import random
import threading
from pathlib import Path

import pytest
from bulk_server import BulkServer, Failure, Item, Request
from indexing import Indexing, Racing, events
from waiting import wait_until

from tailrace import pipeline
from tailrace.faults import Crash, FaultyDisk
from tailrace.metrics import exposition
from tailrace.pipeline import PipelineFailed
from tailrace_plugins.indexing import lanes, options

SAMPLE = gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes()).splitlines()


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
