"""The certificates that are made to begin with, in handshakes of OpenSSL."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from handshake import Outcome, shake_hands

from tailrace.certificates import VALID_FOR, Certificates, Pair, issue

NOW = datetime.now(UTC).replace(microsecond=0)
HOSTS = ["audit.example", "localhost", "127.0.0.1", "::1", "localhost"]


@pytest.fixture(scope="module")
def made() -> Certificates:
    return issue(HOSTS, "kube-apiserver-audit", NOW)


@pytest.fixture(scope="module")
def others() -> Certificates:
    return issue(HOSTS, "kube-apiserver-audit", NOW)


def present(context: ssl.SSLContext, pair: Pair, directory: Path) -> None:
    """Let one side show this certificate, which OpenSSL takes from files alone."""
    (directory / "crt").write_bytes(pair.certificate)
    (directory / "key").write_bytes(pair.key)
    context.load_cert_chain(directory / "crt", directory / "key")


def strict(context: ssl.SSLContext, ca: bytes) -> ssl.SSLContext:
    """Trust one CA, and verify as the newest Python does."""
    context.load_verify_locations(cadata=ca.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def shake(
    host: str, server: Pair, server_trusts: bytes, client: Pair | None, client_trusts: bytes, directory: Path
) -> Outcome:
    ours = strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), server_trusts)
    theirs = strict(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), client_trusts)
    present(ours, server, directory)
    if client is not None:
        present(theirs, client, directory)
    return shake_hands(ours, theirs, host)


@pytest.mark.parametrize("host", dict.fromkeys(HOSTS))
def test_both_sides_trust_each_other_by_each_name_and_address(made: Certificates, host: str, tmp_path: Path) -> None:
    outcome = shake(host, made.server, made.ca, made.client, made.ca, tmp_path)
    assert (outcome.server, outcome.client) == (None, None)
    assert "(('commonName', 'kube-apiserver-audit'),)" in outcome.seen


@pytest.mark.parametrize("host", ["other.example", "127.0.0.2"])
def test_server_under_another_name_is_refused(made: Certificates, host: str, tmp_path: Path) -> None:
    outcome = shake(host, made.server, made.ca, made.client, made.ca, tmp_path)
    assert "mismatch" in str(outcome.client)


def test_client_of_another_ca_is_refused(made: Certificates, others: Certificates, tmp_path: Path) -> None:
    outcome = shake("localhost", made.server, made.ca, others.client, made.ca, tmp_path)
    assert outcome.server == "CERTIFICATE_VERIFY_FAILED"
    assert outcome.client is not None


def test_client_without_a_certificate_is_refused(made: Certificates, tmp_path: Path) -> None:
    outcome = shake("localhost", made.server, made.ca, None, made.ca, tmp_path)
    assert outcome.server == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert outcome.client is not None


def test_server_of_another_ca_is_refused(made: Certificates, others: Certificates, tmp_path: Path) -> None:
    outcome = shake("localhost", others.server, made.ca, made.client, made.ca, tmp_path)
    assert "certificate" in str(outcome.client)


def test_certificate_of_one_side_is_refused_from_the_other(made: Certificates, tmp_path: Path) -> None:
    assert (
        shake("localhost", made.server, made.ca, made.server, made.ca, tmp_path).server == "CERTIFICATE_VERIFY_FAILED"
    )
    assert "purpose" in str(shake("localhost", made.client, made.ca, made.client, made.ca, tmp_path).client)


def test_certificates_are_valid_for_a_year_and_for_clocks_that_lag(made: Certificates) -> None:
    for pem in (made.ca, made.server.certificate, made.client.certificate):
        certificate = x509.load_pem_x509_certificate(pem)
        assert certificate.not_valid_before_utc == NOW - timedelta(hours=1)
        assert certificate.not_valid_after_utc == NOW + VALID_FOR


def test_ca_can_sign_servers_and_clients_but_no_other_ca(made: Certificates) -> None:
    extensions = x509.load_pem_x509_certificate(made.ca).extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    assert extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_name_that_ends_with_a_dot_is_certified_without_it() -> None:
    made = issue(["audit.example."], "client", NOW)
    names = x509.load_pem_x509_certificate(made.server.certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["audit.example"]
