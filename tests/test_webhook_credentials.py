"""Tokens and passwords of the webhook source: what files may hold, what clients may send, and what nobody sees."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from authority import Authority, trusting, write_all
from posting import Answer, Client, connected, event_list, post, read_answer
from running import receiving
from waiting import wait_until

from tailrace.stage import Payload
from tailrace.testing import ListSink
from tailrace_plugins.receiving.credentials import Caller, Credentials, Denied

BODY = event_list("a")
NOW = 0.0


def hashed(secret: str) -> str:
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def read(directory: Path, tokens: bytes | None = None, passwords: bytes | None = None) -> Credentials:
    """Read credentials from files that hold this."""
    given: dict[str, Any] = {"token_file": tokens, "password_file": passwords}
    write_all(directory, [(name, content) for name, content in given.items() if content is not None])
    files = {name: str(directory / name) for name, content in given.items() if content is not None}
    credentials = Credentials(certificates=False, **files)
    credentials.load()
    return credentials


def accepts(credentials: Credentials, authorization: str | None) -> bool:
    try:
        credentials.check(authorization, None, NOW)
    except Denied as denied:
        if denied.status == 401:
            return False
        raise
    return True


# Files


@pytest.mark.parametrize(
    "content",
    [
        b"t0ken",
        b"t0ken\n",
        b"t0ken\r\n",
        b"\n\n  \n\t t0ken \t\r\n\n",
        b"# of the API server\r\nother\r\n# the next\r\nt0ken\r\n",
        b"  # a comment with blanks before it\nt0ken\n",
        b"\xef\xbb\xbft0ken\n",
        hashed("t0ken").encode(),
        hashed("t0ken").upper().replace("SHA256", "sha256").encode() + b"\nother\n",
        b"other\n" * 50 + b"t0ken\n",
    ],
)
def test_each_token_of_the_file_is_accepted(content: bytes, tmp_path: Path) -> None:
    credentials = read(tmp_path, tokens=content)
    assert accepts(credentials, "Bearer t0ken")
    assert accepts(credentials, "bearer  t0ken ")
    assert accepts(credentials, "Bearer other") == (b"other" in content)
    for wrong in ("t0ke", "t0ken1", "T0KEN", "", "# of the API server", "#", hashed("t0ken")):
        assert not accepts(credentials, f"Bearer {wrong}")


@pytest.mark.parametrize(
    "content",
    [
        b"east:pass word",
        b"west:x\r\neast:pass word\r\n",
        b"east:former\n# until Friday\neast:pass word\n",
        b"east:" + hashed("pass word").encode(),
    ],
)
def test_each_password_of_the_file_is_accepted_for_its_user(content: bytes, tmp_path: Path) -> None:
    credentials = read(tmp_path, passwords=content)
    assert credentials.check(basic("east", "pass word"), None, NOW) == Caller("east")
    assert accepts(credentials, basic("east", "former")) == (b"former" in content)
    for user, password in (("east", "x"), ("east", ""), ("west", "pass word"), ("", ""), ("EAST", "pass word")):
        assert not accepts(credentials, basic(user, password))


def test_password_may_hold_colons_and_any_letters(tmp_path: Path) -> None:
    credentials = read(tmp_path, passwords="ost:größer:als:é\nwest:\x85\u2028à\n".encode())
    assert credentials.check(basic("ost", "größer:als:é"), None, NOW) == Caller("ost")
    assert credentials.check(basic("west", "\x85\u2028à"), None, NOW) == Caller("west")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": there is nothing in it, so nobody could send; write one a line"),
        (b"\n# t0ken\n\r\n", ": there is nothing in it, so nobody could send; write one a line"),
        (b"other\nmy t0ken\n", ":2: a token has no blanks; write one a line"),
        (b"\nsha256:t0ken", ":2: after sha256: there must be 64 hexadecimal digits, as sha256sum prints them"),
    ],
)
def test_token_file_that_says_nothing_clear_is_refused_by_file_and_line(
    content: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="token_file") as refusal:
        read(tmp_path, tokens=content)
    assert str(refusal.value) == f"token_file {tmp_path}/token_file{message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#\n", ": there is nothing in it, so nobody could send; write one a line"),
        (b"a:b\n\npassword\n", ":3: write user:password, or user:sha256:<64 hexadecimal digits>"),
        (b":password\n", ":1: write user:password, or user:sha256:<64 hexadecimal digits>"),
        (b"east:\n", ":1: write user:password, or user:sha256:<64 hexadecimal digits>"),
        (b"e\xffst:password\n", ":1: the name of the user is not UTF-8"),
        (b"east:sha256:12", ":1: after sha256: there must be 64 hexadecimal digits, as sha256sum prints them"),
    ],
)
def test_password_file_that_says_nothing_clear_is_refused_by_file_and_line(
    content: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="password_file") as refusal:
        read(tmp_path, passwords=content)
    assert str(refusal.value) == f"password_file {tmp_path}/password_file{message}"


# Headers


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "t0ken",
        "Token t0ken",
        "Bearer\tt0ken",
        "Bearer, Bearer t0ken",
        "Bearer t0ken, Bearer x",
        "Basic",
        "Basic t0ken",
        "Basic ====",
        "Basic ZWFzdA==",  # no colon
        "Basic /////w==",  # no UTF-8
        "Basic \xe4",
        "Basic ZWFzdDpwYXNz d29yZA==",
        'Digest username="east"',
        "Negotiate YII=",
        "\xff\xfe",
        "Bearer \xff" + "x" * 5000,
    ],
)
def test_header_that_proves_nothing_is_no_proof(authorization: str | None, tmp_path: Path) -> None:
    assert not accepts(read(tmp_path, tokens=b"t0ken", passwords=b"east:password"), authorization)


def test_digest_in_a_file_is_not_a_secret_itself(tmp_path: Path) -> None:
    digest = hashed("t0ken")
    credentials = read(tmp_path, tokens=digest.encode(), passwords=f"east:{digest}".encode())
    for secret in (digest, digest.removeprefix("sha256:")):
        assert not accepts(credentials, f"Bearer {secret}")
        assert not accepts(credentials, basic("east", secret))


@pytest.mark.parametrize("token", ["tökén", "voilà", "\u3000x", "x\xa0"])
def test_token_beyond_ascii_is_compared_by_its_bytes(token: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{token}\n", encoding="utf-8")
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nAuthorization: Bearer %b\r\n\r\n"
    with receiving(tmp_path / "state", token_file=str(tmp_path / "token")) as receiver:
        for sent, status in ((token, 200), (token[:-1], 401)):
            with connected(receiver.port) as connection:
                connection.sendall(head % (len(BODY), sent.encode()) + BODY)
                assert read_answer(connection)[0] == status


def test_every_secret_is_compared_by_its_digest_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = read(tmp_path, tokens=b"first\nsecond\nthird", passwords=b"east:first\neast:second\nwest:third")
    compare = hmac.compare_digest
    lengths: list[tuple[int, int]] = []

    def watch(a: bytes, b: bytes) -> bool:
        lengths.append((len(a), len(b)))
        return compare(a, b)

    monkeypatch.setattr("hmac.compare_digest", watch)
    for token in ("first", "third", "none", "x" * 5000):
        lengths.clear()
        accepts(credentials, f"Bearer {token}")
        assert lengths == [(32, 32)] * 3
    for user, number in (("east", 2), ("west", 1), ("nobody", 1)):
        lengths.clear()
        accepts(credentials, basic(user, "first"))
        assert lengths == [(32, 32)] * number


# Answers and logs


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """The options of a source that takes a token or a password."""
    write_all(tmp_path, [("token", b"t0ken"), ("passwords", b"east:pass-w0rd")])
    return {"token_file": str(tmp_path / "token"), "password_file": str(tmp_path / "passwords")}


def test_answer_to_nobody_says_how_to_prove_who_one_is(options: dict[str, Any], tmp_path: Path) -> None:
    with receiving(tmp_path / "state", tag="audit.{client}", **options) as receiver:
        answer = post(receiver.port, BODY)
        assert (answer.status, answer.error) == (401, "no credentials; send a bearer token or user and password")
        assert answer.headers["www-authenticate"] == 'Bearer realm="tailrace", Basic realm="tailrace"'
        answer = post(receiver.port, BODY, Authorization="Bearer wrong")
        assert (answer.status, answer.headers["www-authenticate"][:6]) == (401, "Bearer")
        with Client(receiver.port) as client:
            for headers, status in (({}, 401), ({"Authorization": basic("east", "pass-w0rd")}, 200)):
                assert client.request("GET", "/metrics", headers=headers).status == status
        assert post(receiver.port, BODY, Authorization=basic("east", "pass-w0rd")).status == 200
        wait_until(lambda: receiver.kept.tags == ["audit.east"])
        assert post(receiver.port, b"[1]", Authorization="Bearer t0ken").status == 200


def test_connection_goes_on_after_a_refusal(options: dict[str, Any], tmp_path: Path) -> None:
    with receiving(tmp_path / "state", **options) as receiver, Client(receiver.port) as client:
        assert client.post(event_list(*map(str, range(5000)))).status == 401
        before = client.connection.sock
        assert client.post(BODY, Authorization="Bearer t0ken").status == 200
        assert client.connection.sock is before


def test_no_secret_is_ever_said(options: dict[str, Any], tmp_path: Path) -> None:
    authority, pair = Authority(), Authority().sign_server()
    write_all(tmp_path, [("crt", pair.certificate), ("key", pair.key), ("ca", authority.ca)])
    tls: dict[str, Any] = {
        "tls_cert": str(tmp_path / "crt"),
        "tls_key": str(tmp_path / "key"),
        "client_ca": str(tmp_path / "ca"),
    }
    context = trusting(directory=tmp_path)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    attempts = ["Bearer t0ken", "Bearer t0ken!", "Bearer  s3cret", basic("east", "pass-w0rd"), basic("east", "s3cret")]
    answers: list[Answer] = []
    with receiving(tmp_path / "state", **tls, **options) as receiver:
        for path in ("/", "/livez", "/clusters/east"):
            for attempt in attempts:
                for body in (BODY, b"{", b"[]"):
                    answers.append(post(receiver.port, body, path, context, Authorization=attempt))
        (tmp_path / "token").write_bytes(b"new-t0ken\ns3cret t0ken\n")
        (tmp_path / "passwords").write_bytes(b"s3cret-pass-w0rd\n")
        wait_until(lambda: "cannot be used" in receiver.said)
        (tmp_path / "token").write_bytes(b"new-t0ken\n")
        (tmp_path / "passwords").write_bytes(b"east:s3cret\n")
        (tmp_path / "key").write_bytes(pair.key[:100])
        wait_until(lambda: "are in force" in receiver.said and "tls_key" in receiver.said)
    assert {answer.status for answer in answers} == {200, 400, 401}
    said = "".join(receiver.said.lines) + "".join(f"{answer.headers} {answer.body!r}" for answer in answers)
    secrets = ["t0ken", "pass-w0rd", "s3cret", *(attempt.split()[1] for attempt in attempts)]
    for secret in [*secrets, *pair.key.decode().splitlines()[1:-1], "authorization", "Basic Z"]:
        assert secret.lower() not in said.lower(), secret


class Stuck(ListSink, kw_only=True):
    """A sink that takes nothing until it is let go."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gate = threading.Event()

    def write(self, payload: Payload) -> None:
        assert self.gate.wait(30)
        super().write(payload)


def test_readiness_says_why_not_only_to_those_who_may_send(options: dict[str, Any], tmp_path: Path) -> None:
    sink, proof = Stuck(), {"Authorization": "Bearer t0ken"}
    with receiving(tmp_path / "state", sink, spool_bytes=1024, **options) as receiver, Client(receiver.port) as client:
        assert client.request("GET", "/readyz").body == b"ok\n"
        assert client.post(event_list(*map(str, range(100))), **proof).status == 200
        assert client.request("GET", "/readyz")[::2] == (503, b"events are refused at present\n")
        status, _, reason = client.request("GET", "/readyz", headers=proof)
        assert (status, reason[:17]) == (503, b"the spool is full")
        sink.gate.set()
