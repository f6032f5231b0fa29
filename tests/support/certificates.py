"""Certificates for tests: an authority and the certificates it signs, as PEM files."""

import datetime as dt
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CERTIFICATE_VARIABLES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Environment variables by which botocore, OpenSSL and Go find the trusted authorities."""
_NOW = dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    certificate: Path
    key: Path
    authority: Path

    @property
    def serial(self) -> int:
        """Serial number, by which tests distinguish certificates."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes()).serial_number

    def trusting_context(self) -> ssl.SSLContext:
        """Return a client context that trusts only certificates of the same authority."""
        return ssl.create_default_context(cadata=self.authority.read_text())

    def replace_by(self, other: "Pair") -> None:
        """Replace the files by those of another pair, each file atomically."""
        for target, source in ((self.certificate, other.certificate), (self.key, other.key)):
            fresh = target.with_suffix(".new")
            fresh.write_bytes(source.read_bytes())
            fresh.rename(target)


class Authority:
    """Certificate authority that signs certificates for 127.0.0.1, ::1 and localhost, and writes them to a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(self._name, self._name, self._key, days=30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, days: float = 30) -> Pair:
        """Create a certificate that expires in `days` days."""
        addresses = [x509.IPAddress(ip_address(text)) for text in ("127.0.0.1", "::1")]
        return self._issue(name, [(NameOID.COMMON_NAME, name)], [x509.DNSName("localhost"), *addresses], days=days)

    def issue_to_client(
        self,
        name: str,
        *,
        common: Sequence[str] = (),
        units: Sequence[str] = (),
        alternatives: Sequence[x509.GeneralName] = (),
        days: float = 30,
    ) -> Pair:
        """Create a certificate of a client, in files called `name`."""
        subject = [*((NameOID.COMMON_NAME, each) for each in common)]
        subject += [(NameOID.ORGANIZATIONAL_UNIT_NAME, each) for each in units]
        return self._issue(name, subject, alternatives, days=days)

    def _issue(
        self,
        name: str,
        subject: Sequence[tuple[x509.ObjectIdentifier, str]],
        alternatives: Sequence[x509.GeneralName],
        *,
        days: float,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(oid, text) for oid, text in subject]
        builder = _builder(x509.Name(attributes), self._name, key, days=days)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        ).sign(self._key, hashes.SHA256())
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key", self.path)
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - dt.timedelta(days=60))
        .not_valid_after(_NOW + dt.timedelta(days=days))
    )
