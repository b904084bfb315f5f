"""Files with credentials are tried before the API server tries them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tailrace.certificates import issue
from tailrace.credentials import load
from tailrace.kubeconfig import KubeconfigError


@pytest.fixture
def files(tmp_path: Path) -> Path:
    made = issue(["localhost"], "client", datetime.now(UTC))
    (tmp_path / "ca").write_bytes(made.ca)
    (tmp_path / "cert").write_bytes(made.client.certificate)
    (tmp_path / "key").write_bytes(made.client.key)
    (tmp_path / "other.key").write_bytes(made.server.key)
    (tmp_path / "token").write_text("t0ken\n")
    (tmp_path / "empty").touch()
    return tmp_path


def complaint(**files: Path) -> str:
    with pytest.raises(KubeconfigError) as caught:
        load(**files)
    return str(caught.value)


def test_files_are_loaded_with_their_absolute_paths(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    loaded = load(ca=Path("ca"), cert=Path("cert"), key=Path("key"), token=Path("token"))
    assert loaded.options == ["--ca", "--cert", "--key", "--token-file"]
    for file, name in zip(loaded, ("ca", "cert", "key", "token"), strict=True):
        assert file == (str(files / name), (files / name).read_bytes())


def test_symbolic_links_stay_what_they_are(files: Path) -> None:
    (files / "current").symlink_to("ca")
    loaded = load(ca=files / "current").ca
    assert loaded is not None
    assert loaded.path == str(files / "current")


def test_nothing_given_is_nothing_loaded() -> None:
    assert load().options == []


def test_certificate_without_its_key_is_an_error(files: Path) -> None:
    assert complaint(cert=files / "cert") == "--cert is given without --key; a client certificate needs both"
    assert complaint(key=files / "key") == "--key is given without --cert; a client certificate needs both"


def test_file_that_cannot_be_read_is_an_error(files: Path) -> None:
    assert complaint(ca=files / "nowhere").startswith(
        f"--ca {files}/nowhere cannot be read: No such file or directory;"
    )
    assert f"--token-file {files} cannot be read: Is a directory" in complaint(token=files)


def test_key_of_another_certificate_is_an_error(files: Path) -> None:
    said = complaint(cert=files / "cert", key=files / "other.key")
    assert said.startswith(f"--key {files}/other.key is not the key of --cert {files}/cert; ")


@pytest.mark.parametrize(("cert", "key"), [("empty", "key"), ("cert", "empty"), ("token", "key"), ("key", "cert")])
def test_files_that_are_no_certificate_and_key_are_an_error(files: Path, cert: str, key: str) -> None:
    assert "are not a certificate and its key in PEM" in complaint(cert=files / cert, key=files / key)


def test_encrypted_key_is_an_error_and_nobody_is_asked_for_a_password(files: Path) -> None:
    key = load_pem_private_key((files / "key").read_bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    (files / "key").write_bytes(encrypted)
    assert "is encrypted, and the API server knows no password" in complaint(cert=files / "cert", key=files / "key")


@pytest.mark.parametrize("name", ["empty", "token", "key"])
def test_ca_file_without_a_certificate_is_an_error(files: Path, name: str) -> None:
    assert complaint(ca=files / name) == (
        f"--ca {files}/{name} holds no PEM certificate; convert it, or name another file"
    )


@pytest.mark.parametrize(
    "content", ["", "\n", "one\ntwo\n", "# a comment\n", "two words", "sha256:" + "0" * 64, "\ufefftoken", "a\x00b"]
)
def test_file_that_does_not_hold_one_token_is_an_error_that_does_not_show_it(files: Path, content: str) -> None:
    (files / "token").write_text(content)
    said = complaint(token=files / "token")
    assert said.startswith(f"--token-file {files}/token does not hold one token and nothing else")
    assert not content.strip() or content not in said
