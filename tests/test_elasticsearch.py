"""The elasticsearch sink against a strict server: what it sends, and what becomes of events that are odd."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path

import pytest
from bulk_server import BulkServer, Failure, Item, Request
from indexing import Indexing, events
from poison import READABLE, UNREADABLE, USERS, dead_letter, event

from tailrace_plugins.filters.drop_keys import DropKeys

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


def test_events_wait_for_others_so_that_requests_are_not_small() -> None:
    with BulkServer() as server:
        assert Indexing(Path("unused"), [], server).sink.linger() == 1.0
        assert Indexing(Path("unused"), [], server, flush_interval=0).sink.linger() == 0.0
