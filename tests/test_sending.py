"""The HTTP client of the sinks that send, against servers that misbehave over real sockets."""

from __future__ import annotations

import base64
import contextlib
import gzip
import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from authority import DAY, SERVER, Authority, present
from cryptography import x509
from recording import Babble, Close, Reply, Reset, Server, Stall, Trickle

from tailrace import Context
from tailrace_plugins.sending.client import Client, Unanswered, place_of
from tailrace_plugins.sending.target import Credential, Target, Tls, address, parse_url
from tailrace_plugins.sending.tls import make_context

SECRET = "s3cr3t-t0ken"


def client(directory: Path, url: str, **options: Any) -> Client:
    return Client(Context("test", directory), Target(url, **options))


def failure(made: Client) -> str:
    with pytest.raises(Unanswered) as caught:
        made.post("", b"{}")
    made.close()
    return str(caught.value)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_all_goes_over_one_connection_as_it_was_given(tmp_path: Path) -> None:
    with Server(Reply(201, {"X-Said": "yes"}, b"taken"), Reply(503, body=b"no")) as server:
        made = client(tmp_path, f"{server.url}/base/?x=1", headers={"X-Cluster": "east"})
        first = made.post("", b"\x00{1}", {"Content-Type": "text/x"})
        second = made.post("/_bulk?y=2", b"")
        third = made.request("GET", "/_info")
        made.close()
    assert (first.status, first.body, first.is_taken, first.headers["x-said"]) == (201, b"taken", True, "yes")
    assert (second.status, second.body, second.is_taken) == (503, b"no", False)
    assert third.status == 503
    assert [(each.method, each.target, each.body) for each in server.requests] == [
        ("POST", "/base/?x=1", b"\x00{1}"),
        ("POST", "/base/_bulk?y=2", b""),
        ("GET", "/base/_info", b""),
    ]
    assert server.connections == 1
    sent = server.requests[0].headers
    assert (sent["content-type"], sent["x-cluster"], sent["user-agent"]) == ("text/x", "east", "tailrace")
    assert sent["host"] == f"127.0.0.1:{server.port}"
    assert "authorization" not in sent


def test_a_body_is_compressed_to_the_same_bytes_each_time(tmp_path: Path) -> None:
    with Server() as server:
        made = client(tmp_path, server.url, gzip=True)
        made.post("", b"x" * 1000)
        made.post("", b"x" * 1000)
        made.close()
    assert server.bodies[0] == server.bodies[1]
    assert gzip.decompress(server.bodies[0]) == b"x" * 1000
    assert server.requests[0].headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("act", [Close(), Reset()])
def test_a_kept_connection_that_fails_is_tried_anew_once_and_at_once(tmp_path: Path, act: Close | Reset) -> None:
    with Server(Reply(), act, Reply(202), act) as server:
        made = client(tmp_path, server.url)
        assert made.post("", b"1").status == 200
        assert made.post("", b"2").status == 202
        assert "closed the connection without an answer" in failure(made)
    assert server.bodies == [b"1", b"2", b"2", b"{}", b"{}"]


def test_a_kept_connection_that_was_closed_is_noticed(tmp_path: Path) -> None:
    with Server(Reply(close=True), Reply(202)) as server:
        made = client(tmp_path, server.url)
        assert made.post("", b"1").status == 200
        assert made.post("", b"2").status == 202
        made.close()
    assert server.bodies == [b"1", b"2"]


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (Close(), "closed the connection without an answer; check what happened there"),
        (Reset(), "closed the connection without an answer; check what happened there"),
        (Stall(), "did not answer within 0.2 s; check the load there, or give it more time"),
        (Trickle(), "did not answer within 0.2 s; check the load there, or give it more time"),
        (Reply(missing=5), "broke off; check what happened there"),
        (Babble(), "does not speak HTTP; check the URL"),
    ],
)
def test_what_is_no_answer_is_said_with_host_and_port(tmp_path: Path, act: Any, said: str) -> None:
    with Server(act) as server:
        message = failure(client(tmp_path, server.url, timeout=0.2 if isinstance(act, Stall | Trickle) else 30.0))
    assert said in message
    assert f"127.0.0.1:{server.port}" in message


def test_a_name_that_is_unknown_and_a_port_that_is_closed(tmp_path: Path) -> None:
    assert failure(client(tmp_path, "http://no-such-host.invalid:8080/x")) == (
        "the name in no-such-host.invalid:8080 is not known; check the URL, and DNS"
    )
    port = free_port()
    assert failure(client(tmp_path, f"http://127.0.0.1:{port}")) == (
        f"no connection to 127.0.0.1:{port} (Connection refused); check that the receiver runs there, and the way to it"
    )


def test_a_body_that_is_not_taken_in_time_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = client(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.2)
        with pytest.raises(Unanswered, match=r"did not take the request within 0.2 s"):
            made.post("", bytes(50_000_000))
        made.close()


def test_a_redirect_is_an_answer_and_nothing_is_sent_there(tmp_path: Path) -> None:
    with Server() as other, Server(Reply(307, {"Location": f"{other.url}/x"})) as server:
        made = client(tmp_path, server.url, credential=Credential(SECRET))
        answer = made.post("", b"{}")
        made.close()
    assert (answer.status, answer.headers["location"]) == (307, f"{other.url}/x")
    assert other.requests == []


def test_an_answer_without_end_is_cut_and_the_connection_given_up(tmp_path: Path) -> None:
    with Server(Reply(body=b"x" * 300_000), Reply(body=b"y")) as server:
        made = client(tmp_path, server.url, most_answer_bytes=100_000)
        assert made.post("", b"")[2:] == (b"x" * 100_000, True)
        assert made.post("", b"")[2:] == (b"y", False)
        made.close()
    assert server.connections == 2


def test_proxies_of_the_environment_are_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as server, Server(Reply(299)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        made = client(tmp_path, f"{server.url}/a")
        assert made.post("", b"").status == 200
        made.close()
        made = client(tmp_path, f"{server.url}/a", proxy=proxy.url)
        assert made.post("", b"").status == 299
        made.close()
        assert "the proxy on the way to" in failure(
            client(tmp_path, server.url, proxy=f"http://127.0.0.1:{free_port()}")
        )
    assert [each.target for each in proxy.requests] == [f"{server.url}/a"]


@contextlib.contextmanager
def tunnelling(status: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Serve as a proxy that answers CONNECT so, and passes bytes on for one connection; give its URL and the heads."""
    heads: list[bytes] = []

    def serve() -> None:
        with listener.accept()[0] as near:
            heads.append(near.recv(65_536))
            near.sendall(b"HTTP/1.1 " + status + b"\r\n\r\n")
            if status.startswith(b"200"):
                host, port = heads[0].split()[1].decode().split(":")
                with socket.create_connection((host, int(port))) as far:
                    back = threading.Thread(target=copy, args=(far, near))
                    back.start()
                    copy(near, far)
                    back.join()

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65_536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heads
        thread.join(30)


def test_a_proxy_sees_nothing_of_what_goes_over_tls(tmp_path: Path, authority: Authority) -> None:
    with serving(authority, tmp_path, names=[x509.DNSName("audit.example")]) as server:
        tls = Tls(authority.ca, server_name="audit.example")
        with tunnelling(b"200 OK") as (proxy, heads):
            made = client(tmp_path, server.url, tls=tls, proxy=proxy, credential=Credential(SECRET))
            assert [made.post("", b"{}").status for _ in range(2)] == [200, 200]
            made.close()
        assert len(heads) == 1
        assert heads[0].startswith(f"CONNECT 127.0.0.1:{server.port} ".encode())
        assert SECRET.encode() not in heads[0]
        with tunnelling(b"407 Authenticate") as (proxy, heads):
            assert "the proxy on the way to" in failure(client(tmp_path, server.url, tls=tls, proxy=proxy))
    assert len(server.requests) == 2


# Credentials


@pytest.mark.parametrize(
    ("credential", "header", "value"),
    [
        (Credential(SECRET), "authorization", f"Bearer {SECRET}"),
        (Credential(SECRET, prefix="ApiKey "), "authorization", f"ApiKey {SECRET}"),
        (Credential(SECRET, prefix="", header="X-Api-Key"), "x-api-key", SECRET),
        (Credential("pass word", user="me"), "authorization", "Basic " + base64.b64encode(b"me:pass word").decode()),
    ],
)
def test_each_kind_of_credential_is_sent(tmp_path: Path, credential: Credential, header: str, value: str) -> None:
    with Server() as server:
        made = client(tmp_path, server.url, credential=credential)
        made.post("", b"")
        made.close()
    assert server.requests[0].headers[header] == value
    assert SECRET not in repr(credential)


def test_a_token_file_is_read_anew_when_it_changes_and_at_once_when_it_is_not_accepted(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    file.chmod(0o600)
    with Server(Reply(), Reply(), Reply(), Reply(401), Reply()) as server:
        made = client(tmp_path, server.url, credential=Credential(file=str(file)))
        made.post("", b"")
        file.write_text("two")
        made.post("", b"")  # it may be half written
        made.post("", b"")
        file.write_text("three")
        assert made.post("", b"").status == 401
        made.post("", b"")
        made.close()
    sent = [each.headers["authorization"].removeprefix("Bearer ") for each in server.requests]
    assert sent == ["one", "one", "two", "two", "three"]


def test_a_token_file_that_goes_bad_leaves_the_former_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    with Server(Reply(401)) as server:
        made = client(tmp_path, server.url, credential=Credential(file=str(file)))
        assert [record.getMessage() for record in caplog.records] == [
            "every user of this machine may read or change a secret"
        ]
        file.write_text("two words")
        made.post("", b"")
        made.post("", b"")
        made.close()
    assert {each.headers["authorization"] for each in server.requests} == {f"Bearer {SECRET}"}
    assert "does not hold one token and nothing else" in str(vars(caplog.records[-1])["cause"])
    assert SECRET not in caplog.text
    with pytest.raises(ValueError, match="does not hold one token"):
        client(tmp_path, server.url, credential=Credential(file=str(file)))
    file.unlink()
    with pytest.raises(ValueError, match=r"token cannot be read: No such file or directory; name a file"):
        client(tmp_path, server.url, credential=Credential(file=str(file)))


def test_nothing_of_a_secret_stands_in_log_or_errors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Server(Close()) as server:
        message = failure(client(tmp_path, server.url, credential=Credential(SECRET)))
    assert SECRET not in message + caplog.text
    with pytest.raises(ValueError, match="give them as options") as caught:
        parse_url(f"https://me:{SECRET}@host/")
    assert SECRET not in str(caught.value)
    assert place_of(f"https://me:{SECRET}@host:1/path?token={SECRET}") == "https://host:1/path"
    assert place_of("http://[") == "a place that is no URL"


# TLS


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def serving(pair_of: Authority, directory: Path, *, client_ca: Authority | None = None, **signed: Any) -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = signed.pop("names", [x509.IPAddress(ip_address("127.0.0.1"))])
    present(context, pair_of.sign("receiver", *names, purpose=SERVER, **signed), directory)
    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca.ca.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return Server(tls=context)


def test_a_server_whose_certificate_the_ca_signed_is_trusted(tmp_path: Path, authority: Authority) -> None:
    pair = authority.sign("sender")
    for name, content in (
        ("ca.crt", b"# caf\xc3\xa9\n" + authority.ca),
        ("c.crt", pair.certificate),
        ("c.key", pair.key),
    ):
        (tmp_path / name).write_bytes(content)
    given = Tls(str(tmp_path / "ca.crt"), str(tmp_path / "c.crt"), str(tmp_path / "c.key"))
    data = Tls(authority.ca, pair.certificate, pair.key)
    with serving(authority, tmp_path, client_ca=authority) as server:
        for tls in (given, data):
            made = client(tmp_path, server.url, tls=tls)
            assert made.post("", b"{}").status == 200
            made.close()
    subjects = [each.peer["subject"] for each in server.requests]
    assert subjects == [((("commonName", "sender"),),)] * 2
    assert not [name for name in os.listdir("/proc/self/fd") if "tailrace-pair" in _target(name)]


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("signed", "said"),
    [
        ({"by": "another"}, "is signed by a CA that is not trusted; give that CA"),
        ({"names": [x509.DNSName("elsewhere")]}, "is for another address; check host and server name"),
        ({"valid_for": -DAY}, "has expired; renew it there"),
    ],
)
def test_a_server_that_cannot_be_trusted_is_sent_nothing(
    tmp_path: Path, authority: Authority, signed: dict[str, Any], said: str
) -> None:
    signer = Authority("another") if signed.pop("by", None) else authority
    with serving(signer, tmp_path, **signed) as server:
        message = failure(client(tmp_path, server.url, tls=Tls(authority.ca), credential=Credential(SECRET)))
    assert message == f"the certificate of 127.0.0.1:{server.port} {said}"
    assert server.requests == []


def test_a_server_name_stands_in_for_the_host(tmp_path: Path, authority: Authority) -> None:
    with serving(authority, tmp_path, names=[x509.DNSName("audit.example")]) as server:
        made = client(tmp_path, server.url, tls=Tls(authority.ca, server_name="audit.example"))
        assert made.post("", b"{}").status == 200
        made.close()
        message = failure(client(tmp_path, server.url, tls=Tls(authority.ca, server_name="other.example")))
    assert "is for another name; check host and server name" in message


def test_without_verification_it_is_sent_and_said(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(authority, tmp_path, valid_for=-DAY) as server:
        made = client(tmp_path, server.url, tls=Tls(insecure=True))
        assert made.post("", b"{}").status == 200
        made.close()
    assert "the receiver is not verified" in caplog.text


def test_a_server_that_wants_a_certificate_says_so(tmp_path: Path, authority: Authority) -> None:
    with serving(authority, tmp_path, client_ca=authority) as server:
        for pair in (None, Authority("another").sign("sender")):
            tls = Tls(authority.ca, *(pair or (None, None)))
            message = failure(client(tmp_path, server.url, tls=tls))
            # the server may have closed before its alert was read
            assert (
                "does not accept the client certificate, or wants one" in message or "closed the connection" in message
            )
    assert server.requests == []


def test_tls_at_a_port_that_does_not_speak_it(tmp_path: Path, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        assert "does not speak TLS; check the port" in failure(client(tmp_path, url, tls=Tls(authority.ca)))
        thread.join()


def test_certificates_that_change_are_taken_up(tmp_path: Path, authority: Authority) -> None:
    other = Authority("another")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.ca)
    with serving(authority, tmp_path) as first, serving(other, tmp_path) as second:
        made = client(tmp_path, first.url, tls=Tls(str(ca)))
        assert made.post("", b"").status == 200
        ca.write_bytes(b"none")
        for _ in range(2):
            assert made.post("", b"").status == 200  # the former stays in force
        ca.write_bytes(other.ca)
        assert made.post("", b"").status == 200  # it may be half written
        assert "is signed by a CA that is not trusted" in failure(made)
        made.close()
        assert second.requests == []


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        (Tls(ca=b"none"), r"^CA \(given as data\) holds no PEM certificate"),
        (Tls(ca="/nowhere/ca"), r"^CA /nowhere/ca cannot be read: No such file or directory; name a file"),
        (Tls(cert=b"x"), "^a client certificate needs its key"),
        (Tls(cert=b"x", key=b"y"), "are not a certificate and its key in PEM"),
    ],
)
def test_files_that_cannot_be_used_are_named(tls: Tls, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_context(tls)


def test_a_key_of_another_certificate_is_named(authority: Authority) -> None:
    one, two = authority.sign("one"), authority.sign("two")
    with pytest.raises(ValueError, match="does not belong to client certificate"):
        make_context(Tls(cert=one.certificate, key=two.key))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("receiver:8888", "write https://HOST:PORT/PATH"),
        ("ftp://x/", "over https:// and http:// only"),
        ("http://", "names no host and port"),
        ("http://x:0/", "names no host and port"),
        ("http://x:99999/", "is not a URL"),
        ("http://x/a b", "without blanks"),
        ("http://x/#y", "what follows # is never sent"),
    ],
)
def test_urls_that_cannot_be_used(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_url(url)


def test_addresses_are_named_with_their_ports() -> None:
    assert [address(parse_url(url)) for url in ("http://x", "https://[::1]/", "https://x:1/")] == [
        "x:80",
        "[::1]:443",
        "x:1",
    ]
