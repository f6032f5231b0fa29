"""Keys and certificates as PEM."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from core.model.secret import Secret
from core.ports.certificate_authority import Certificate


def new_private_key() -> ec.EllipticCurvePrivateKey:
    """Return a key on P-256, which every client supports."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> Secret:
    """Return a key as PEM."""
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def certificate_of(host: str, chain: str, key: Secret) -> Certificate:
    """Return a certificate with the times of its first part.

    Raises:
        ValueError: the chain does not begin with a certificate.
    """
    leaf = x509.load_pem_x509_certificate(chain.encode())
    return Certificate(
        host=host, chain=chain, key=key, begins_at=leaf.not_valid_before_utc, ends_at=leaf.not_valid_after_utc
    )
