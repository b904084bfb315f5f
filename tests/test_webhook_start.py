"""Starting a webhook source: files that are missing or wrong, secrets that lie open, an address that is taken."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from authority import Authority, trusting, write_all
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from posting import event_list, post
from running import Receiver, receiving
from waiting import wait_until

from tailrace.serving import Address, HttpServer
from tailrace_plugins.receiving.tls import make_context

BODY = event_list("a")
FILES = ["tls_cert", "tls_key", "client_ca", "token_file", "password_file"]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def options(authority: Authority, tmp_path: Path) -> dict[str, Any]:
    """The options of a source with all files that there can be."""
    pair = authority.sign_server()
    contents = [pair.certificate, pair.key, authority.ca, b"t0ken", b"east:password"]
    write_all(tmp_path, zip(FILES, contents, strict=True))
    return {name: str(tmp_path / name) for name in FILES}


def listens(receiver: Receiver) -> bool:
    return '"listening"' in receiver.said


def takes_events(receiver: Receiver, authority: Authority, directory: Path) -> bool:
    tls = trusting(authority, directory=directory)
    return post(receiver.port, BODY, tls=tls, Authorization="Bearer t0ken").status == 200


def remove(path: Path) -> None:
    path.unlink()


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("option", FILES)
@pytest.mark.parametrize(
    ("spoil", "reason"), [(remove, "No such file or directory"), (make_directory, "Is a directory")]
)
def test_pipeline_says_which_file_it_cannot_read_and_starts_when_it_can(
    spoil: Callable[[Path], None],
    reason: str,
    option: str,
    options: dict[str, Any],
    authority: Authority,
    tmp_path: Path,
) -> None:
    path = Path(options[option])
    content = path.read_bytes()
    spoil(path)
    with receiving(tmp_path / "state", **options) as receiver:
        wait_until(lambda: "will recover" in receiver.said)
        cause = receiver.said.all("will recover")[0]["cause"]
        assert cause == f"{option} {path} cannot be read: {reason}; name a file that this user may read"
        assert not listens(receiver)
        if path.is_dir():
            path.rmdir()
        path.write_bytes(content)
        wait_until(lambda: listens(receiver))
        assert takes_events(receiver, authority, tmp_path)


def test_file_that_says_nothing_is_reported_and_read_when_it_does(
    options: dict[str, Any], authority: Authority, tmp_path: Path
) -> None:
    path = Path(options["token_file"])
    path.write_bytes(b"# later\n")
    with receiving(tmp_path / "state", **options) as receiver:
        wait_until(lambda: f"token_file {path}: there is nothing in it" in receiver.said)
        path.write_bytes(b"t0ken\n")
        wait_until(lambda: listens(receiver))
        assert takes_events(receiver, authority, tmp_path)


def test_certificates_that_cannot_be_used_are_refused_by_name(
    options: dict[str, Any], authority: Authority, tmp_path: Path
) -> None:
    cert, key, ca = (options[name] for name in FILES[:3])
    (tmp_path / "empty").touch()
    (tmp_path / "half").write_bytes(Path(key).read_bytes()[:100])
    (tmp_path / "other").write_bytes(authority.sign_server().key)
    loaded = load_pem_private_key(Path(key).read_bytes(), None)
    (tmp_path / "locked").write_bytes(
        loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    )

    def refusal(cert: str = cert, key: str = key, ca: str = ca) -> str:
        with pytest.raises(ValueError, match=r"tls_|client_ca") as raised:
            make_context(cert, key, ca, other_ways=False)
        return str(raised.value).replace(f"{tmp_path}/", "")

    empty, half, other, locked = (str(tmp_path / name) for name in ("empty", "half", "other", "locked"))
    no_pair = "are not a certificate and its key in PEM"
    assert refusal(cert=empty).startswith(f"tls_cert empty and tls_key tls_key {no_pair}")
    assert refusal(cert=key).startswith(f"tls_cert tls_key and tls_key tls_key {no_pair}")
    assert refusal(key=half).startswith(f"tls_cert tls_cert and tls_key half {no_pair}")
    assert refusal(key=other) == (
        "tls_key other is not the key of tls_cert tls_cert; name the two that were made together"
    )
    assert refusal(key=locked) == "tls_key locked is encrypted, and nobody is there to give the password; decrypt it"
    assert refusal(ca=empty) == "client_ca empty holds no PEM certificate; name another file"
    assert refusal(ca=key) == "client_ca tls_key holds no PEM certificate; name another file"


@pytest.mark.parametrize(("mode", "is_said"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
@pytest.mark.parametrize("name", FILES)
def test_secret_that_every_user_can_reach_is_said_with_what_to_do(
    name: str, mode: int, is_said: bool, options: dict[str, Any], authority: Authority, tmp_path: Path
) -> None:
    os.chmod(options[name], mode)
    with receiving(tmp_path / "state", **options) as receiver:
        assert takes_events(receiver, authority, tmp_path)
        warnings = [(event["level"], event["do"]) for event in receiver.said.all("every user")]
    is_secret = name not in ("tls_cert", "client_ca")
    assert warnings == ([("warning", f"chmod o= {options[name]}")] if is_said and is_secret else [])


def test_address_that_is_taken_is_named_and_used_when_it_is_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with receiving(tmp_path / "state", listen=listen) as receiver:
            wait_until(lambda: "will recover" in receiver.said)
            cause = receiver.said.all("will recover")[0]["cause"]
            assert cause == f"cannot listen: Address already in use: {listen}"
            other.close()
            assert post(receiver.port, BODY).status == 200
            wait_until(lambda: receiver.kept.written != [])


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "192.0.2.1"])
def test_address_that_nobody_has_is_named(host: str) -> None:
    server = HttpServer(lambda: None, Address(host, 0), name="test")
    with pytest.raises(OSError, match="cannot listen: ") as raised:
        server.start()
    assert raised.value.filename == f"{host}:0"
    server.stop()


def test_server_that_cannot_begin_for_want_of_descriptors_says_so() -> None:
    code = """if True:
        import os, resource
        from tailrace.serving import Address, HttpServer
        next_one = os.open("/dev/null", os.O_RDONLY)
        os.close(next_one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_one + 1, next_one + 1))
        server = HttpServer(None, Address("127.0.0.1", 0), name="test")
        try:
            server.start()
        except OSError as error:
            print(error.errno)
        server.stop()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.returncode) == (f"{errno.EMFILE}\n", 0), done.stderr


def test_source_asks_for_certificates_only_where_it_trusts_an_authority(options: dict[str, Any]) -> None:
    cert, key, ca = (options[name] for name in FILES[:3])
    assert make_context(cert, key, None, other_ways=False).verify_mode == ssl.CERT_NONE
    assert make_context(cert, key, ca, other_ways=True).verify_mode == ssl.CERT_OPTIONAL
    assert make_context(cert, key, ca, other_ways=False).verify_mode == ssl.CERT_REQUIRED
