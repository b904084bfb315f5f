"""A certificate authority that keeps its key, and signs what one should not sign as well."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tailrace.certificates import Pair

DAY = timedelta(days=1)
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


class Authority:
    """A CA; `ca` is its certificate in PEM."""

    def __init__(self, name: str = "authority") -> None:
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = self._begin(self._name, self._key.public_key(), datetime.now(UTC) + DAY)
        built = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.ca = built.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def _begin(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder(subject_name=subject, issuer_name=self._name, public_key=key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - 30 * DAY)
            .not_valid_after(until)
        )

    def sign(
        self,
        name: str | None,
        *others: x509.GeneralName,
        purpose: x509.ObjectIdentifier = CLIENT,
        valid_for: timedelta = DAY,
    ) -> Pair:
        """Sign a certificate with this common name and these alternative ones."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([]) if name is None else _name(name)
        builder = self._begin(subject, key.public_key(), datetime.now(UTC) + valid_for)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if others:
            builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        return Pair(
            builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def sign_server(self, name: str = "receiver") -> Pair:
        """Sign a certificate for a server on this machine."""
        return self.sign(name, x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")), purpose=SERVER)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def trusting(*authorities: Authority, pair: Pair | None = None, directory: Path) -> ssl.SSLContext:
    """Make the context of a client that trusts these authorities and shows this certificate."""
    context = ssl.create_default_context(cadata="".join(authority.ca.decode() for authority in authorities))
    if pair is not None:
        present(context, pair, directory)
    return context


def present(context: ssl.SSLContext, pair: Pair, directory: Path) -> None:
    """Let one side show this certificate, which OpenSSL takes from files alone."""
    file = directory / "shown.pem"
    file.write_bytes(pair.certificate + pair.key)
    context.load_cert_chain(file)


def write_all(directory: Path, contents: Iterable[tuple[str, bytes]]) -> None:
    """Write files that their owner alone may read."""
    for name, content in contents:
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o600)
