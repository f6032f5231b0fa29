"""Keys, certificates and tokens like those of a token server."""

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from adapters.auth.algorithms import ALGORITHMS
from adapters.auth.jwt_registry import SigningRegistry

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ISSUER = "the token server"
SERVICE = "registry.example"
REALM = "https://auth.example/token"
KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP", "HS": "oct"}
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


def make_key(algorithm: str) -> Key:
    """Create a key for this signature algorithm."""
    if algorithm.startswith(("RS", "PS")):
        return RSAKey.generate_key(2048, auto_kid=False)
    if algorithm.startswith("ES"):
        return ECKey.generate_key(_CURVES[algorithm], auto_kid=False)
    if algorithm.startswith("Ed"):
        return OKPKey.generate_key("Ed25519", auto_kid=False)
    return OctKey.generate_key(512, auto_kid=False)


def sign(header: dict[str, Any], claims: dict[str, Any], key: Key) -> str:
    """Sign a token, regardless of the content of its header."""
    return jwt.encode(header, claims, key, registry=SigningRegistry(ALGORITHMS))


def claims(
    *, access: list[dict[str, Any]] | None = None, subject: str = "alice", now: datetime = NOW, **changes: Any
) -> dict[str, Any]:
    """Return the claims of a valid token; `changes` replaces some of them, and None removes one."""
    whole = {
        "iss": ISSUER,
        "sub": subject,
        "aud": SERVICE,
        "nbf": int(now.timestamp()) - 10,
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + 300,
        "jti": "1",
        "access": access or [],
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def grant(name: str, *actions: str, kind: str = "repository") -> dict[str, Any]:
    """Return one entry of the claim `access`."""
    return {"type": kind, "name": name, "actions": list(actions)}


_ENCIPHERS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass
class Authority:
    """Certificate with its key, which signs other certificates or, if self-signed, tokens."""

    name: str = "root"
    issuer: "Authority | None" = None
    is_authority: bool = True
    signs: bool = True
    """Whether its key usage, if present, allows signing certificates."""
    valid_from: datetime = NOW - timedelta(days=1)
    key: CertificateIssuerPrivateKeyTypes = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        signer = self.issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self.issuer is None else self.issuer.certificate.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.valid_from)
            .not_valid_after(self.valid_from + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=self.is_authority, path_length=None), critical=True)
        )
        if not self.is_authority:
            # A certificate of a web server, as token servers use.
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            builder = builder.add_extension(usage, critical=False)
        if not self.signs:
            builder = builder.add_extension(_ENCIPHERS, critical=True)
        is_edwards = isinstance(signer.key, Ed25519PrivateKey | Ed448PrivateKey)
        self.certificate = builder.sign(signer.key, None if is_edwards else hashes.SHA256())

    @property
    def jwk(self) -> Key:
        """The key for signing tokens."""
        return ECKey.import_key(self.private_pem)

    @property
    def private_pem(self) -> bytes:
        """The key in PEM format."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def pem(self) -> bytes:
        """The certificate as it appears in a bundle."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der_base64(self) -> str:
        """The certificate as it appears in `x5c`."""
        return base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()
