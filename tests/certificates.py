"""Certificates for tests: a CA, and what it signs."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOCALHOST = x509.SubjectAlternativeName(
    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
)


@dataclass(frozen=True)
class Pair:
    """Files with a certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """A CA whose certificate is in the file `cert`."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.cert = folder / f"{name}.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        made = self._builder(self._name, self._key).add_extension(constraints, critical=True)
        _write(self.cert, made.sign(self._key, hashes.SHA256()))

    def issue(
        self,
        name: str,
        *,
        common_name: str = "",
        names: x509.SubjectAlternativeName = LOCALHOST,
        days: float = 1,
    ) -> Pair:
        """Return a certificate and its key, good for so many days; less than 0: it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_named(common_name or name), key, days).add_extension(names, critical=False)
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        _write(pair.cert, builder.sign(self._key, hashes.SHA256()))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: float = 1
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=days))
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def names(*hosts: str) -> x509.SubjectAlternativeName:
    """Return the hosts that a certificate is for."""
    return x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
