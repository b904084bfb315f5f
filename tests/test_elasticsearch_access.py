"""Whom the elasticsearch sink talks to, and how it proves who it is; secrets are never shown."""

from __future__ import annotations

import base64
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
from authority import SERVER, Authority, write_all
from bulk_server import BulkServer
from indexing import Indexing, events
from running import Said
from test_remote_sinks import Moved
from test_webhook_kill import free_port

from tailrace.context import Context
from tailrace.pipeline import PipelineFailed
from tailrace.stage import OptionError
from tailrace_plugins.indexing.hosts import AVOIDED, LONGEST, Hosts
from tailrace_plugins.sending.target import Target
from tailrace_plugins.sinks.elasticsearch import Elasticsearch

LINES = events(40)
SECRET = "s3cret-Pa55"


# Nodes


def test_requests_go_to_all_nodes_in_turn(tmp_path: Path) -> None:
    with BulkServer() as one, BulkServer() as other:
        run = Indexing(tmp_path, LINES, one, other, bulk_max_events=10, requests=1)
        run.run()
        assert (len(one.requests), len(other.requests)) == (2, 2)
        assert sorted([*one.sources(), *other.sources()]) == sorted(LINES)


def test_a_node_that_is_dead_costs_one_attempt_and_no_event(tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with BulkServer() as server:
        run = Indexing(tmp_path, LINES, hosts=[dead, server.url], bulk_max_events=5, requests=1)
        run.run()
        assert server.sources() == sorted(LINES)
        (said,) = run.said.all("a node is asked last for a while")
        assert dead.removeprefix("http://") in said["cause"]
        assert said["seconds"] == AVOIDED
        assert run.figures["present"] == 0


def test_a_node_that_stays_dead_is_asked_ever_more_rarely_and_comes_back(tmp_path: Path) -> None:
    port = free_port()
    dead = f"http://127.0.0.1:{port}"
    clock = Moved()
    with BulkServer() as server:
        targets = [Target(url) for url in (dead, server.url)]
        hosts = Hosts(Context("hosts", tmp_path, clock=clock), targets)
        body, headers = b'{"create":{"_index":"a"}}\n{}\n', {"Content-Type": "application/x-ndjson"}
        asked: list[float] = []
        while clock.now < 2000.0:
            said = Said()
            logging.getLogger("tailrace.hosts").addHandler(said)
            hosts.post("/_bulk", body, headers)
            logging.getLogger("tailrace.hosts").removeHandler(said)
            asked += [clock.now for _ in said.lines]
            clock.now += 10.0
        assert asked == pytest.approx([1000.0, 1030.0, 1090.0, 1210.0, 1450.0, 1930.0], abs=11)
        assert len(server.documents) == 100
        clock.now += LONGEST
        with BulkServer(port=port) as back:
            for _ in range(4):
                hosts.post("/_bulk", body, headers)
            assert len(back.requests) == 2
        hosts.close()


def test_a_node_that_is_away_is_passed_over_and_all_that_are_say_why(tmp_path: Path) -> None:
    with BulkServer() as away, BulkServer() as server:
        away.fail = lambda request: (503, "cluster_block_exception", "state not recovered")
        run = Indexing(tmp_path, LINES, away, server, bulk_max_events=5, requests=1)
        run.run()
        assert (len(away.requests), server.sources()) == (1, sorted(LINES))
        ports = free_port(), free_port()
        hosts = [f"http://127.0.0.1:{port}" for port in ports]
        with pytest.raises(PipelineFailed) as raised:
            Indexing(tmp_path / "other", LINES, hosts=hosts).run()
        for port in ports:
            assert f"no connection to 127.0.0.1:{port}" in str(raised.value)


def test_an_answer_that_one_node_lost_is_no_second_document_on_another(tmp_path: Path) -> None:
    with BulkServer() as one, BulkServer() as other:
        other.documents = one.documents  # of one cluster
        one.lose = lambda request: True
        run = Indexing(tmp_path, LINES, one, other, bulk_max_events=10)
        run.run()
        assert one.sources() == sorted(LINES)
        assert run.figures["present"] > 0


def test_a_cluster_may_lie_behind_a_path(tmp_path: Path) -> None:
    with BulkServer() as server:
        Indexing(tmp_path, LINES, hosts=[f"{server.url}/es/"]).run()
        assert {request.path for request in server.requests} == {"/es/_bulk"}


# TLS


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def context(authority: Authority, directory: Path) -> ssl.SSLContext:
    """The TLS of a server that asks for a client certificate."""
    pair = authority.sign_server()
    write_all(directory, [("server.crt", pair.certificate), ("server.key", pair.key), ("ca.crt", authority.ca)])
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.ca.decode())
    made.load_cert_chain(directory / "server.crt", directory / "server.key")
    return made


def test_a_node_whose_authority_is_another_gets_no_event_and_no_password(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other.crt").write_bytes(Authority("other").ca)
    with BulkServer(tls=context(authority, tmp_path)) as server:
        options: dict[str, Any] = {"user": "u", "password": SECRET, "ca": str(tmp_path / "other.crt")}
        run = Indexing(tmp_path, LINES, server, **options)
        with pytest.raises(PipelineFailed, match="is signed by a CA that is not trusted; give that CA"):
            run.run()
        assert (server.requests, server.documents) == ([], {})
        options["ca"] = str(tmp_path / "ca.crt")
        Indexing(tmp_path, LINES, server, **options).run()
        assert server.sources() == sorted(LINES)


def test_a_client_certificate_is_shown(authority: Authority, tmp_path: Path) -> None:
    tls = context(authority, tmp_path)
    tls.verify_mode = ssl.CERT_REQUIRED
    pair = authority.sign("tailrace")
    write_all(tmp_path, [("client.crt", pair.certificate), ("client.key", pair.key)])
    files: dict[str, Any] = {"client_cert": str(tmp_path / "client.crt"), "client_key": str(tmp_path / "client.key")}
    with BulkServer(tls=tls) as server:
        Indexing(tmp_path, LINES, server, ca=str(tmp_path / "ca.crt"), **files).run()
        assert server.sources() == sorted(LINES)


def test_a_file_that_cannot_be_read_is_trouble_that_may_pass(tmp_path: Path) -> None:
    with BulkServer() as server:
        missing = str(tmp_path / "missing")
        run = Indexing(tmp_path, LINES, server, token_file=missing)
        with pytest.raises(PipelineFailed, match="missing cannot be read: No such file"):
            run.run()
        Path(missing).write_text("t0ken")
        Indexing(tmp_path, LINES, server, token_file=missing).run()
        assert server.requests[0].headers["Authorization"] == "Bearer t0ken"


def test_a_certificate_for_clients_is_none_of_a_node(authority: Authority, tmp_path: Path) -> None:
    pair = authority.sign("node")
    assert pair != authority.sign("node", purpose=SERVER)
    write_all(tmp_path, [("server.crt", pair.certificate), ("server.key", pair.key), ("ca.crt", authority.ca)])
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    with BulkServer(tls=tls) as server:
        run = Indexing(tmp_path, LINES, server, ca=str(tmp_path / "ca.crt"))
        with pytest.raises(PipelineFailed, match="certificate"):
            run.run()
        assert server.documents == {}


# Credentials


def test_credentials_stand_in_their_own_options_and_in_no_header() -> None:
    with pytest.raises(OptionError, match="authorization is made by tailrace; leave it out") as error:
        Elasticsearch(hosts=["http://127.0.0.1"], index="audit", headers={"authorization": f"Other {SECRET}"})
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({"user": "u", "password": SECRET}, "Basic " + base64.b64encode(f"u:{SECRET}".encode()).decode()),
        ({"api_key": SECRET}, f"ApiKey {SECRET}"),
        ({"token": SECRET}, f"Bearer {SECRET}"),
    ],
)
def test_credentials_reach_the_server_and_nothing_else(
    tmp_path: Path, options: dict[str, Any], header: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with BulkServer(authorization=header) as server:
        run = Indexing(tmp_path, LINES, server, **options)
        run.run()
        assert server.sources() == sorted(LINES)
        server.authorization = "another"
        denied = Indexing(tmp_path / "other", LINES, server, **options)
        with pytest.raises(PipelineFailed, match="check user, password, API key or token") as raised:
            denied.run()
    coded = base64.b64encode(f"u:{SECRET}".encode()).decode()
    shown = [*run.said.lines, *denied.said.lines, str(raised.value), repr(run.sink), str(run.sink), *capfd.readouterr()]
    for file in tmp_path.rglob("*"):
        if file.is_file():
            shown.append(file.read_bytes().decode("latin-1"))
    assert [text for text in shown if SECRET in text or coded in text] == []


def test_a_password_that_is_changed_in_its_file_is_taken_up(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old\n")
    expected = "Basic " + base64.b64encode(b"u:new").decode()
    with BulkServer(authorization=expected) as server:
        run = Indexing(tmp_path, LINES, server, user="u", password_file=str(file))
        with pytest.raises(PipelineFailed):
            run.run()
        file.write_text("new\n")
        Indexing(tmp_path, LINES, server, user="u", password_file=str(file)).run()
        assert server.sources() == sorted(LINES)


# Options

NODE = ["https://es:9200"]


@pytest.mark.parametrize(
    ("options", "option", "message"),
    [
        ({}, "index", "give either index or data_stream"),
        ({"index": "a", "data_stream": "b"}, "index", "give either index or data_stream"),
        ({"index": "{verb}"}, "index", "begin it with a small letter"),
        ({"data_stream": "logs-%Y"}, "data_stream", "cannot stand in a name"),
        ({"index": "a", "require_data_stream": True}, "require_data_stream", "no data_stream"),
        ({"index": "a", "hosts": ["es:9200"]}, "hosts", "write https://HOST:PORT"),
        ({"index": "a", "hosts": ["https://es/?x=1"]}, "hosts", "leave out what follows the ?"),
        ({"index": "a", "hosts": [*NODE, "https://es:9200/"]}, "hosts", "a node is named twice"),
        ({"index": "a", "user": "u"}, "user", "takes a user, and password or password_file"),
        ({"index": "a", "password": SECRET}, "user", "takes a user, and password or password_file"),
        ({"index": "a", "user": "u", "api_key": SECRET}, "user", "takes a user, and password or password_file"),
        ({"index": "a", "api_key": SECRET, "token": SECRET}, "api_key", "something else prove who sends"),
        ({"index": "a", "api_key": SECRET, "api_key_file": "f"}, "api_key_file", "something else prove who sends"),
        ({"index": "a", "api_key": SECRET, "hosts": ["http://es"]}, "hosts", "can read the credentials"),
        ({"index": "a", "token": SECRET, "hosts": ["http://es"]}, "hosts", "can read the credentials"),
        ({"index": "a", "ca": "ca.pem", "hosts": ["http://es"]}, "hosts", "over http:// nothing is verified"),
        ({"index": "a", "hosts": [f"https://u:{SECRET}@es"]}, "hosts", "the URL holds a @"),
        ({"index": "a", "proxy": "proxy:3128"}, "proxy", "is not a URL"),
        ({"index": "a", "client_cert": "c.pem"}, "client_key", "needs both"),
        ({"index": "a", "client_key": "c.key"}, "client_cert", "needs both"),
        ({"index": "a", "headers": {"X-A": f"{SECRET}\n"}}, "headers", "'X-A' cannot be sent"),
        ({"index": "a", "headers": {"X A": "b"}}, "headers", "'X A' cannot be sent"),
        ({"index": "a", "bulk_max_size": "5 bulks"}, "bulk_max_size", "is not a size"),
        ({"index": "a", "timezone": "Mars"}, "timezone", "is not a time zone"),
    ],
)
def test_options_that_cannot_work_are_named_and_no_secret_is(
    options: dict[str, Any], option: str, message: str
) -> None:
    given: dict[str, Any] = {"hosts": NODE} | options
    with pytest.raises(OptionError) as raised:
        Elasticsearch(**given)
    assert raised.value.option == option
    assert message in str(raised.value)
    assert SECRET not in str(raised.value)


def test_events_that_cross_the_network_in_the_clear_are_warned_of_once(tmp_path: Path) -> None:
    run = Indexing(tmp_path, [], hosts=["http://es.example:9200"])
    run.context.log.addHandler(run.said)
    try:
        for _ in range(2):
            run.sink.open(None)
            run.sink.close()
    finally:
        run.context.log.removeHandler(run.said)
    (said,) = run.said.all("events cross the network in the clear")
    assert said["url"] == "http://es.example:9200"


def test_what_an_older_server_does_not_know_is_said_in_its_words(tmp_path: Path) -> None:
    with BulkServer(knows_streams=False) as server:
        run = Indexing(tmp_path, LINES, server, data_stream="logs-a-b", require_data_stream=True)
        with pytest.raises(PipelineFailed, match=r"unrecognized parameter: \['require_data_stream'\]"):
            run.run()
        assert server.documents == {}
