"""Certificates to begin with: a CA, what it signs for a server and a client, and no more.

The CA's key is forgotten, so that nobody can sign another one. Extensions are those that RFC 5280 asks of an issuer,
and without which Go (subject alternative names) and OpenSSL's strict mode (key identifiers) refuse a certificate.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_FOR: Final = timedelta(days=365)
_CLOCK_SKEW: Final = timedelta(hours=1)


class Pair(NamedTuple):
    """A certificate and its unencrypted key, in PEM."""

    certificate: bytes
    key: bytes


class Certificates(NamedTuple):
    """The CA's certificate in PEM, and what it signed."""

    ca: bytes
    server: Pair
    client: Pair


def issue(hosts: Iterable[str], client: str, now: datetime) -> Certificates:
    """Make a CA, a certificate for a server at `hosts` (names and addresses), and one for the client of that name.

    They are valid for a year from `now`, and an hour before it.
    """
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name(f"tailrace {now:%Y-%m-%d %H:%M:%S}")
    ca = (
        _certificate(ca_name, ca_name, ca_key.public_key(), ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )

    def sign(name: str, purpose: x509.ObjectIdentifier, *names: x509.GeneralName) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _certificate(_name(name), ca_name, key.public_key(), ca_key.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Pair(builder.sign(ca_key, SHA256()).public_bytes(Encoding.PEM), pem)

    return Certificates(
        ca.sign(ca_key, SHA256()).public_bytes(Encoding.PEM),
        sign("tailrace webhook", ExtendedKeyUsageOID.SERVER_AUTH, *map(_host, dict.fromkeys(hosts))),
        sign(client, ExtendedKeyUsageOID.CLIENT_AUTH),
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePublicKey,
    now: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name.removesuffix("."))  # with which no certificate ever matches


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
