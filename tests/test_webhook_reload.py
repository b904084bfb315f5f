"""Secrets are replaced while clients post: no request is lost by that, and none is taken for that of somebody else."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from posting import Client, connected, event_list, post
from rotating import Site, Traffic, basic, rename, rewrite, swap_links
from running import Receiver, receiving
from waiting import wait_until

FILES_ARE_LOOKED_AT = 0.1  # seconds between two looks, here


@pytest.fixture
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace.serving.TICK_SECONDS", FILES_ARE_LOOKED_AT)


@pytest.fixture(params=[rename, rewrite, swap_links])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return Site(tmp_path, request.param)


@pytest.fixture
def plain_site(tmp_path: Path) -> Site:
    return Site(tmp_path, rewrite)


def wait_for_another(receiver: Receiver, text: str, before: int) -> None:
    """Wait until this was said once more than `before`."""
    wait_until(lambda: len(receiver.said.all(text)) > before)


@pytest.fixture
def receiver(site: Site, tmp_path: Path, _quickly: None) -> Iterator[Receiver]:
    with receiving(tmp_path / "state", **site.options) as made:
        yield made


def seen_certificate(port: int, tls: ssl.SSLContext) -> str:
    """Give the name in the server's certificate on a new connection."""
    with connected(port) as plain, tls.wrap_socket(plain, server_hostname="localhost") as connection:
        return str(dict(connection.getpeercert() or {}).get("subject"))


def is_accepted(port: int, tls: ssl.SSLContext, authorization: str | None = None) -> bool:
    headers = {} if authorization is None else {"Authorization": authorization}
    try:
        return post(port, b"[]", "/", tls, **headers).status == 200
    except (ssl.SSLError, ConnectionError):
        return False


def wait_for_looks(receiver: Receiver, site: Site, number: int) -> None:
    """Wait until the source has looked at its files a few times more, which shows in what it takes."""
    for turn in range(number):
        before = len(receiver.said.all("tokens and passwords"))
        site.replace(token=b"old\nturn-%d\n" % turn)
        wait_for_another(receiver, "tokens and passwords", before)


def test_all_secrets_are_replaced_while_clients_post(site: Site, receiver: Receiver) -> None:
    port, anonymous = receiver.port, site.client()
    one, two = site.client(site.first.sign("a")), site.client(site.second.sign("b"))
    by_token = Traffic(port, anonymous, "Bearer old")
    by_password = Traffic(port, anonymous, basic("old"))
    by_certificate = Traffic(port, one, None)

    site.replace(token=b"old\nnew\n", users=b"u:old\nu:new\n")
    wait_until(lambda: is_accepted(port, anonymous, "Bearer new") and is_accepted(port, anonymous, basic("new")))
    site.replace(ca=site.first.ca + site.second.ca)
    wait_until(lambda: is_accepted(port, two))
    site.replace_pair(site.first.sign_server("after"))
    wait_until(lambda: "after" in seen_certificate(port, anonymous))

    by_token.use(anonymous, "Bearer new")
    by_password.use(anonymous, basic("new"))
    by_certificate.use(two, None)
    site.replace(token=b"new\n", users=b"u:new\n", ca=site.second.ca)
    wait_until(lambda: not is_accepted(port, anonymous, "Bearer old"))
    wait_until(lambda: not is_accepted(port, anonymous, basic("old")))
    wait_until(lambda: not is_accepted(port, one))

    for traffic in (by_token, by_password, by_certificate):
        traffic.wait_for_more()
    assert sum(traffic.end() for traffic in (by_token, by_password, by_certificate)) > 30
    assert "cannot be used" not in receiver.said


def test_token_that_was_taken_out_stops_working_within_two_looks(plain_site: Site, tmp_path: Path) -> None:
    site, tls = plain_site, plain_site.client()
    with receiving(tmp_path / "state", **site.options) as receiver:
        assert is_accepted(receiver.port, tls, "Bearer old")
        site.replace(token=b"new")
        replaced = time.monotonic()
        wait_until(lambda: not is_accepted(receiver.port, tls, "Bearer old"))
        assert time.monotonic() - replaced < 4  # two seconds, on a machine that may be busy


@pytest.mark.usefixtures("_quickly")
def test_pair_that_does_not_match_is_said_once_and_taken_when_it_does(plain_site: Site, tmp_path: Path) -> None:
    site = plain_site
    anonymous, fresh = site.client(), site.first.sign_server("after")
    with receiving(tmp_path / "state", **site.options) as receiver:
        traffic = Traffic(receiver.port, anonymous, "Bearer old")
        for contents in ({"crt": fresh.certificate}, {"key": fresh.key[:50]}):
            before = len(receiver.said.all("cannot be used"))
            site.replace(**contents)
            wait_for_another(receiver, "cannot be used", before)
            wait_for_looks(receiver, site, 2)
            assert len(receiver.said.all("cannot be used")) == before + 1
            assert "before" in seen_certificate(receiver.port, anonymous)
        causes = [event["cause"] for event in receiver.said.all("cannot be used")]
        assert causes[0].startswith(f"tls_key {site.options['tls_key']} is not the key of tls_cert ")
        assert f"tls_key {site.options['tls_key']} are not a certificate and its key" in causes[1]
        site.replace(key=fresh.key)
        wait_until(lambda: "after" in seen_certificate(receiver.port, anonymous))
        assert traffic.end()


@pytest.mark.usefixtures("_quickly")
@pytest.mark.parametrize(
    ("name", "content"),
    [("token", b"\n"), ("token", b"two words"), ("users", b"nobody"), ("ca", b"-----BEGIN CERTIFICATE-----\n")],
)
def test_file_that_says_nothing_clear_leaves_the_former_one_in_force(
    name: str, content: bytes, plain_site: Site, tmp_path: Path
) -> None:
    site = plain_site
    client = site.client(site.first.sign("a"))
    with receiving(tmp_path / "state", **site.options) as receiver:
        port = receiver.port
        good = (site.directory / name).read_bytes()
        site.replace(**{name: content})
        wait_until(lambda: "cannot be used" in receiver.said)
        assert str(site.directory / name) in receiver.said.all("cannot be used")[0]["cause"]
        for authorization in (None, "Bearer old", basic("old")):
            assert is_accepted(port, client if authorization is None else site.client(), authorization)
        site.replace(**{name: good})
        wait_until(lambda: "are in force" in receiver.said)


@pytest.mark.usefixtures("_quickly")
def test_file_that_is_gone_for_a_while_leaves_the_former_one_in_force(plain_site: Site, tmp_path: Path) -> None:
    site = plain_site
    with receiving(tmp_path / "state", **site.options) as receiver:
        port = receiver.port
        (site.directory / "token").unlink()
        wait_until(lambda: "cannot be read: No such file or directory" in receiver.said)
        assert is_accepted(port, site.client(), "Bearer old")
        site.replace(token=b"new")
        wait_until(lambda: is_accepted(port, site.client(), "Bearer new"))
        assert not is_accepted(port, site.client(), "Bearer old")


@pytest.mark.usefixtures("_quickly")
def test_connection_under_a_former_certificate_ends_with_its_next_answer(plain_site: Site, tmp_path: Path) -> None:
    site = plain_site
    tls = site.client(site.first.sign("a"))
    with receiving(tmp_path / "state", **site.options) as receiver, Client(receiver.port, tls) as client:
        assert client.post(event_list("1")).headers.get("connection") is None
        site.replace(ca=site.second.ca)
        wait_until(lambda: "are in force" in receiver.said)
        answer = client.post(event_list("2"))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            client.post(event_list("3"))


@pytest.mark.usefixtures("_quickly")
def test_secret_that_became_readable_for_every_user_is_said(plain_site: Site, tmp_path: Path) -> None:
    site = plain_site
    for name in ("key", "token", "users"):
        (site.directory / name).chmod(0o600)
    with receiving(tmp_path / "state", **site.options) as receiver:
        assert is_accepted(receiver.port, site.client(), "Bearer old")
        assert "chmod" not in receiver.said
        (site.directory / "token").chmod(0o644)
        wait_until(lambda: f"chmod o= {site.directory / 'token'}" in receiver.said)
