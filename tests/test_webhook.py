"""What a request is answered, and what becomes of its events."""

from __future__ import annotations

import gzip
import json
import re
import socket
from pathlib import Path

import pytest
from waiting import wait_until
from webhook import Running, event_list

from tailrace.stage import OptionError
from tailrace_plugins.sources.webhook import Webhook

DATA = Path(__file__).parent / "data" / "webhook"
BODY = gzip.decompress((DATA / "0001-dev.json.gz").read_bytes())
ITEMS = [json.dumps(item, separators=(",", ":"), ensure_ascii=False).encode() for item in ({"auditID": "1"}, {"b": 2})]


def items_of(body: bytes) -> list[bytes]:
    """Cut the items out of a body of the API server by hand: no item of these holds the separator."""
    inside = body[body.index(b'"items":[') + 9 : body.rindex(b"]}")]
    parts = inside.split(b',{"level":')
    return [parts[0], *(b'{"level":' + part for part in parts[1:])]


def test_the_items_of_a_real_body_come_out_byte_for_byte(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        answer = running.post(BODY)
        assert (answer.status, answer.json) == (200, {"accepted": 400})
        assert answer.headers["content-type"] == "application/json"
        assert running.lines(400) == items_of(BODY)
        assert running.memory.tags == ["audit"] * 400


@pytest.mark.parametrize("name", ["0026-blocktrunc.json.gz", "0029-blocktrunc.json.gz"])
def test_an_event_that_the_api_server_truncated_passes(tmp_path: Path, name: str) -> None:
    body = gzip.decompress((DATA / name).read_bytes())
    with Running(tmp_path) as running:
        assert running.post(body).status == 200
        assert running.lines(1) == items_of(body)


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_every_version_of_the_audit_api_is_taken(tmp_path: Path, version: str) -> None:
    body = event_list(ITEMS).replace(b"audit.k8s.io/v1", b"audit.k8s.io/" + version.encode())
    with Running(tmp_path, restore_kind=True) as running:
        assert running.post(body).status == 200
        head = b'{"kind":"Event","apiVersion":"audit.k8s.io/%b",' % version.encode()
        assert running.lines(2) == [head + item[1:] for item in ITEMS]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (ITEMS[0], "application/json"),
        (b"[" + b" , ".join(ITEMS) + b"]", "application/json; charset=utf-8"),
        (b"\n".join(ITEMS), "application/json"),
        (b"\r\n" + b"\n\n".join(ITEMS) + b"\n", "application/x-ndjson"),
    ],
    ids=["event", "array", "lines", "declared lines"],
)
def test_other_senders_may_send_an_event_an_array_or_lines(tmp_path: Path, body: bytes, kind: str) -> None:
    count = 1 if body == ITEMS[0] else 2
    with Running(tmp_path) as running:
        assert running.post(body, Content_Type=kind).json == {"accepted": count}
        assert running.lines(count) == ITEMS[:count]


def test_bodies_may_be_packed_or_come_in_chunks_without_a_length(tmp_path: Path) -> None:
    packed = gzip.compress(BODY)
    with Running(tmp_path) as running:
        assert running.post(packed, Content_Encoding="gzip").json == {"accepted": 400}
        chunks = [BODY[at : at + 10_000] for at in range(0, len(BODY), 10_000)]
        assert running.post(chunks).json == {"accepted": 0, "repeated": 400}  # it is the same body
        halves = [packed[:100], packed[100:]]
        assert running.post(halves, "/other", Content_Encoding="gzip").json["repeated"] == 400
        assert running.lines(400) == items_of(BODY)


def test_one_bad_item_costs_only_itself(tmp_path: Path) -> None:
    good = items_of(BODY)[:399]
    bad = b'{"auditID":"bad","n":tru\ne}'
    with Running(tmp_path) as running:
        assert running.post(event_list([*good[:200], bad, *good[200:]])).json == {"accepted": 400}
        assert running.lines(400) == good
        (letter,) = running.dead_letter()
        assert letter["event"].encode() == bad
        assert letter["origin"]["client"] == "127.0.0.1"
        assert letter["origin"]["request"] == "/k8s/audit"
        assert "not JSON" in letter["reason"]


def test_items_that_are_no_objects_go_to_the_dead_letter(tmp_path: Path) -> None:
    odd = [b"5", b'"text"', b"null", b"[1]"]
    with Running(tmp_path) as running:
        assert running.post(event_list([ITEMS[0], *odd, ITEMS[1]])).status == 200
        assert running.lines(6) == ITEMS
        assert [letter["event"].encode() for letter in running.dead_letter()] == odd


def test_a_line_feed_between_tokens_becomes_a_blank(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        assert running.post(b'[{\n  "a": "\\n"\n}\n,\n{"b":1}]').status == 200
        assert running.lines(2) == [b'{   "a": "\\n" }', b'{"b":1}']


def test_different_bodies_with_equal_audit_ids_are_both_kept(tmp_path: Path) -> None:
    first, second = event_list([b'{"auditID":"x","n":1}']), event_list([b'{"auditID":"x","n":2}'])
    with Running(tmp_path) as running:
        assert running.post(first).json == {"accepted": 1}
        assert running.post(second).json == {"accepted": 1}
        assert running.post(first).json == {"accepted": 0, "repeated": 1}
        assert running.lines(2) == [b'{"auditID":"x","n":1}', b'{"auditID":"x","n":2}']


def test_equal_lines_of_other_senders_are_not_taken_for_repetitions(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        for _ in range(3):
            assert running.post(b'[{"tick":1}]').json == {"accepted": 1}
        assert running.lines(3) == [b'{"tick":1}'] * 3


def test_a_repeated_body_is_recognised_after_a_restart(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        assert running.post(BODY).json == {"accepted": 400}
        running.lines(400)
    with Running(tmp_path) as running:
        assert running.post(BODY).json == {"accepted": 0, "repeated": 400}
        assert running.pipeline.counts.events_in == 0


def test_several_clusters_are_told_apart_by_the_path(tmp_path: Path) -> None:
    body = event_list(ITEMS[:1])
    with Running(tmp_path, path="/clusters", tag="audit.{path[1]}") as running:
        assert running.post(body, "/clusters/east/audit?timeout=30s").json == {"accepted": 1}
        assert running.post(body, "/clusters/west").json == {"accepted": 1}  # the same bytes of another cluster
        assert running.post(body, "/clusters").json == {"accepted": 1}
        running.lines(3)
        assert running.memory.tags == ["audit.east", "audit.west", "audit._none"]
        assert running.post(body, "/other").status == 404
        assert running.post(body, "/clusterseast").status == 404


def test_an_empty_list_is_accepted(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        assert running.post(event_list([])).json == {"accepted": 0}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty"),
        (b"not JSON", "begins with neither { nor ["),
        (b'{"kind":"EventList","items":[', "not JSON"),
        (b'{"a":tru}', "not JSON: JSON is malformed"),
        (b'{"kind":"EventList","apiVersion":"v1","items":[]}', "apiVersion 'v1'"),
        (b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":7}', "no list"),
    ],
)
def test_what_is_no_json_is_400_with_a_reason(tmp_path: Path, body: bytes, reason: str) -> None:
    with Running(tmp_path) as running:
        answer = running.post(body)
        assert answer.status == 400
        assert reason in answer.json["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "br"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 400),
        ({"Content-Type": "application/json", "Origin": "https://evil.example"}, 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403),
        ({}, 200),
    ],
)
def test_heads_that_do_not_fit_are_refused(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    with Running(tmp_path) as running:
        answer = running.request("POST", "/", ITEMS[0], headers)
        assert answer.status == status
        assert ("error" in answer.json) == (status != 200)


def test_a_post_without_length_or_chunks_is_411(tmp_path: Path) -> None:
    with Running(tmp_path) as running, socket.socket() as connection:
        connection.connect(running.source.address)
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 411")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_other_methods_are_405(tmp_path: Path, method: str) -> None:
    with Running(tmp_path) as running:
        answer = running.request(method, "/k8s/audit")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_body_over_the_limit_is_413_announced_or_not(tmp_path: Path) -> None:
    body = event_list([b'{"x":"%b"}' % (b"x" * 3000)])
    with Running(tmp_path, max_body_bytes=2048) as running:
        for answer in (
            running.post(body),
            running.post([body[:1000], body[1000:]]),
            running.post(gzip.compress(body), Content_Encoding="gzip"),
        ):
            assert answer.status == 413
            assert "2048 bytes (max_body_bytes)" in answer.json["error"]
        assert running.post(event_list(ITEMS)).status == 200


def test_a_connection_is_kept_and_requests_may_follow_each_other(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        connection = running.connect()
        for number in range(5):
            connection.request("POST", "/", b'{"n":%d}' % number, {"Content-Type": "application/json"})
            assert connection.getresponse().read() == b'{"accepted":1}'
        connection.close()
        assert running.lines(5) == [b'{"n":%d}' % number for number in range(5)]


def test_health_is_served_beside_the_events(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        assert running.request("GET", "/livez").body == b"ok\n"
        assert running.request("GET", "/readyz").status == 200
        assert running.request("GET", "/metrics").status == 200


def test_events_received_while_the_sink_fails_are_written_when_it_recovers(tmp_path: Path) -> None:
    from tailrace.stage import Retry
    from tailrace.testing import ListSink

    class Broken(ListSink, kw_only=True):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.works = False

        def flush(self) -> dict[str, int]:
            if not self.works:
                raise Retry("the outside world")
            return dict(super().flush())

    sink = Broken()
    with Running(tmp_path, sink) as running:
        assert running.post(BODY).status == 200
        wait_until(lambda: running.pipeline.counts.recoveries > 0)
        assert running.post(event_list(ITEMS)).status == 200  # the receiver stays up meanwhile
        sink.works = True
        wait_until(lambda: len(sink.written) == 402)
        assert sink.written == [*items_of(BODY), *ITEMS]


def test_the_spool_is_emptied_when_nothing_more_comes(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        assert running.post(BODY).status == 200
        spool = running.source._spool
        assert spool is not None
        wait_until(lambda: running.pipeline.counts.commits > 1 or spool.used() == 0)
        wait_until(lambda: spool.used() == 0)


@pytest.mark.parametrize(
    ("options", "option", "message"),
    [
        ({"listen": "0.0.0.0:8888"}, "listen", "nobody would have to prove who he is"),
        ({"listen": ":8888"}, "listen", "nobody would have to prove who he is"),
        ({"listen": "[::]:8888"}, "listen", "nobody would have to prove who he is"),
        ({"listen": "8888"}, "listen", "write it like 127.0.0.1:8888"),
        ({"listen": "::1:8888"}, "listen", "brackets"),
        ({"listen": "127.0.0.1:99999"}, "listen", "write it like"),
        ({"path": "k8s"}, "path", "begins with /"),
        ({"tag": "audit.{path}"}, "tag", "column 7: there is no {path}"),
        ({"tag": "audit.{client"}, "tag", "a brace without its partner"),
        ({"tls_cert": "a"}, "tls_key", "both a certificate"),
        ({"tls_key": "a"}, "tls_cert", "both a certificate"),
        ({"client_ca": "a"}, "client_ca", "set tls_cert and tls_key"),
        ({"client_names": ["a"]}, "client_names", "need client_ca"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object], option: str, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        Webhook(**options)  # type: ignore[arg-type]  # wrong on purpose, some of them
    assert caught.value.option == option


def test_an_open_address_is_allowed_if_somebody_has_to_prove_who_he_is_or_nobody_cares() -> None:
    Webhook(listen="0.0.0.0:8888", insecure=True)
    Webhook(listen="0.0.0.0:8888", token_file="tokens")
    Webhook(listen="[::1]:8888")
    Webhook(listen="localhost:8888")
