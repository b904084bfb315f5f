"""TLS of the webhook source, and who may send by the certificate that he shows: real certificates, real sockets."""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from authority import DAY, SERVER, Authority, trusting, write_all
from cryptography import x509
from cryptography.x509.oid import NameOID
from posting import Answer, Client, connected, event_list, post, read_all
from running import Receiver, receiving
from waiting import wait_until

from tailrace.certificates import Pair

BODY = event_list("a")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> dict[str, Any]:
    """The options of a source with a certificate of the authority."""
    pair = authority.sign_server()
    names = [("server.crt", pair.certificate), ("server.key", pair.key), ("ca.crt", authority.ca), ("token", b"t0ken")]
    write_all(tmp_path, names)
    return {"tls_cert": str(tmp_path / "server.crt"), "tls_key": str(tmp_path / "server.key")}


@pytest.fixture
def server(tls: dict[str, Any], tmp_path: Path) -> Iterator[Receiver]:
    """A source with TLS and nothing else."""
    with receiving(tmp_path / "state", **tls) as receiver:
        yield receiver


@pytest.fixture
def mutual(tls: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The options of a source that asks for a certificate."""
    return tls | {"client_ca": str(tmp_path / "ca.crt"), "tag": "audit.{client}"}


def of_version(authority: Authority, version: ssl.TLSVersion, directory: Path) -> ssl.SSLContext:
    """A client that speaks this version and no other, be it as insecure as it may."""
    context = trusting(authority, directory=directory)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():  # that TLS 1.1 should not be spoken is what is tested
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


def send(receiver: Receiver, authority: Authority, pair: Pair | None, directory: Path, **headers: str) -> Answer:
    """Post with this certificate."""
    return post(receiver.port, BODY, tls=trusting(authority, pair=pair, directory=directory), **headers)


# Versions and protocols


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_from_1_2_on_is_spoken(
    server: Receiver, authority: Authority, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    assert post(server.port, BODY, tls=of_version(authority, version, tmp_path)).status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_before_1_2_is_not_spoken(
    server: Receiver, authority: Authority, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        post(server.port, BODY, tls=of_version(authority, version, tmp_path))
    wait_until(lambda: "unsupported protocol" in server.said)


def test_plain_http_gets_no_answer_where_tls_is_spoken(server: Receiver) -> None:
    with connected(server.port) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        assert b"HTTP/" not in read_all(connection)
    wait_until(lambda: "the TLS handshake failed: http request" in server.said)
    assert {"webhook_turned_away_total": 1}.items() <= {
        each.name: each.value for each in server.source.measures()
    }.items()
    assert not server.kept.written


def test_client_that_offers_http_2_gets_http_1_1(server: Receiver, authority: Authority, tmp_path: Path) -> None:
    context = trusting(authority, directory=tmp_path)
    for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["h2"], None)):
        context.set_alpn_protocols(offered)
        with connected(server.port) as plain, context.wrap_socket(plain, server_hostname="localhost") as connection:
            assert connection.selected_alpn_protocol() == chosen
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


# Certificates of clients


def test_certificate_of_the_authority_is_enough_where_no_names_are_given(
    mutual: dict[str, Any], authority: Authority, tmp_path: Path
) -> None:
    with receiving(tmp_path / "state", **mutual) as receiver:
        assert send(receiver, authority, authority.sign("east"), tmp_path).status == 200
        wait_until(lambda: receiver.kept.tags == ["audit.east"])


@pytest.mark.parametrize(
    ("common", "others", "tag"),
    [
        ("east", [], "audit.east"),
        ("x", [x509.DNSName("east.example")], "audit.east.example"),
        ("x", [x509.UniformResourceIdentifier("spiffe://east/apiserver")], "audit.spiffe:%2F%2Feast%2Fapiserver"),
        (None, [x509.DNSName("other"), x509.DNSName("east.example")], "audit.east.example"),
    ],
)
def test_listed_name_may_send_and_gives_the_tag(
    mutual: dict[str, Any],
    authority: Authority,
    common: str | None,
    others: list[x509.GeneralName],
    tag: str,
    tmp_path: Path,
) -> None:
    names = ["west", "east", "east.example", "spiffe://east/apiserver"]
    with receiving(tmp_path / "state", client_names=names, **mutual) as receiver:
        assert send(receiver, authority, authority.sign(common, *others), tmp_path).status == 200
        wait_until(lambda: receiver.kept.tags == [tag])


@pytest.mark.parametrize(
    ("pair", "shown"),
    [
        (("west",), "west"),
        (("EAST",), "EAST"),
        (("east\u200b",), "east"),
        (("west", x509.DNSName("*.example"), x509.DNSName("west.example")), "west, *.example, west.example"),
        ((None, x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "east")]))), "nobody"),
    ],
)
def test_unlisted_name_is_forbidden_and_named(
    mutual: dict[str, Any], authority: Authority, pair: tuple[Any, ...], shown: str, tmp_path: Path
) -> None:
    with receiving(tmp_path / "state", client_names=["east", "a.example"], **mutual) as receiver:
        answer = send(receiver, authority, authority.sign(*pair), tmp_path)
        assert answer.status == 403
        assert shown in answer.error
        assert "client_names" in answer.error
        assert "www-authenticate" not in answer.headers
        assert "is not in client_names" in receiver.said
    assert not receiver.kept.written


def test_client_without_a_certificate_gets_no_answer_where_nothing_else_proves_who_he_is(
    mutual: dict[str, Any], authority: Authority, tmp_path: Path
) -> None:
    with receiving(tmp_path / "state", **mutual) as receiver:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            send(receiver, authority, None, tmp_path)
        wait_until(lambda: "peer did not return a certificate" in receiver.said)


def test_client_without_a_certificate_may_show_a_token_where_there_are_some(
    mutual: dict[str, Any], authority: Authority, tmp_path: Path
) -> None:
    with receiving(tmp_path / "state", token_file=str(tmp_path / "token"), **mutual) as receiver:
        answer = send(receiver, authority, None, tmp_path)
        assert (answer.status, answer.error) == (401, "no credentials; send a client certificate or a bearer token")
        assert answer.headers["www-authenticate"]
        assert send(receiver, authority, None, tmp_path, Authorization="Bearer t0ken").status == 200


def test_token_helps_a_client_whose_certificate_is_not_listed(
    mutual: dict[str, Any], authority: Authority, tmp_path: Path
) -> None:
    options = mutual | {"client_names": ["east"], "token_file": str(tmp_path / "token")}
    with receiving(tmp_path / "state", **options) as receiver:
        west = authority.sign("west")
        assert send(receiver, authority, west, tmp_path).status == 403
        assert send(receiver, authority, west, tmp_path, Authorization="Bearer wrong").status == 401
        assert send(receiver, authority, west, tmp_path, Authorization="Bearer t0ken").status == 200


@pytest.mark.parametrize(
    ("stranger", "options", "reason"),
    [
        (True, {}, "certificate verify failed"),
        (False, {"valid_for": -DAY}, "certificate has expired"),
        (False, {"purpose": SERVER}, "certificate purpose"),
    ],
)
@pytest.mark.parametrize("with_tokens", [False, True])
def test_certificate_that_proves_nothing_fails_the_handshake(
    mutual: dict[str, Any],
    authority: Authority,
    stranger: bool,
    options: dict[str, Any],
    reason: str,
    with_tokens: bool,
    tmp_path: Path,
) -> None:
    pair = (Authority() if stranger else authority).sign("east", **options)
    more: dict[str, Any] = {"token_file": str(tmp_path / "token")} if with_tokens else {}
    with receiving(tmp_path / "state", **mutual, **more) as receiver:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            send(receiver, authority, pair, tmp_path, Authorization="Bearer t0ken")
        wait_until(lambda: reason in receiver.said)
    assert not receiver.kept.written


def test_certificate_that_expires_while_its_connection_lives_is_refused(
    mutual: dict[str, Any], authority: Authority, tmp_path: Path
) -> None:
    context = trusting(authority, pair=authority.sign("east", valid_for=timedelta(seconds=2)), directory=tmp_path)
    with receiving(tmp_path / "state", **mutual) as receiver, Client(receiver.port, context) as client:
        answers = []

        def is_refused() -> bool:
            answers.append(client.post(BODY))
            return answers[-1].status != 200

        wait_until(is_refused)
        assert len(answers) > 1
        assert (answers[-1].status, answers[-1].headers["connection"]) == (401, "close")
        assert answers[-1].error == "the certificate of east has expired; connect with a new one"


def test_names_of_a_client_are_worth_nothing_without_tls(tmp_path: Path) -> None:
    headers: dict[str, Any] = {"Host": "east", "Authorization": "Basic ZWFzdDo=", "From": "east", "Via": "east"}
    forwarded: dict[str, Any] = {
        "X-Forwarded-Client-Cert": "Subject=CN=east",
        "X-Forwarded-For": "10.1.1.1",
        "X-Remote-User": "east",
    }
    with receiving(tmp_path / "state", tag="audit.{client}") as receiver:
        assert post(receiver.port, BODY, **headers, **forwarded).status == 200
        wait_until(lambda: receiver.kept.tags == ["audit._none"])
        assert post(receiver.port, b"{", **headers, **forwarded).status == 400
        (refusal,) = receiver.said.all("requests are refused")
        assert refusal["client"] == "127.0.0.1"


def test_peer_that_leaves_during_the_handshake_costs_nothing(
    server: Receiver, authority: Authority, tmp_path: Path
) -> None:
    for garbage in (b"", b"\x16\x03\x01", b"\x00" * 500, b"GET / HTTP/1.1\r\n\r\n"):
        with connected(server.port) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)
    assert post(server.port, BODY, tls=trusting(authority, directory=tmp_path)).status == 200
