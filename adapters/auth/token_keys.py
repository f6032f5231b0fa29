"""The keys whose signatures count: certificates in PEM, and JSON Web Key Sets."""

import base64
import binascii
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OctKey, OKPKey, RSAKey

from core.ports.authenticator import CredentialsInvalidError, CredentialSourceError

T = TypeVar("T")

_FINGERPRINT_BYTES: Final = 30
_FINGERPRINT_GROUP: Final = 4
_CHAIN_LENGTH_MAX: Final = 8
_OCT_BYTES_MIN: Final = 32
"""RFC 7518, 3.2: at least as many as the smallest hash has."""
_RSA_BITS_MIN: Final = 2048
"""RFC 7518, 3.3."""

_logger = logging.getLogger(__name__)


class _UnusableKeyError(ValueError):
    """A key is of a kind or a length that verifies no tokens; the text shows no part of it."""


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Keys by every id that a token may call them by, and the certificates that may vouch for others."""

    by_id: Mapping[str, Key]
    roots: tuple[x509.Certificate, ...] = ()

    def __or__(self, other: "TrustedKeys") -> "TrustedKeys":
        return TrustedKeys({**self.by_id, **other.by_id}, self.roots + other.roots)

    def choose(self, header: Mapping[str, Any], *, now: datetime) -> Key:
        """Return the key that a token's header means: by `x5c`, by `jwk`, or by `kid`, in this order.

        A key that comes in the header counts only if it is trusted already, or certified by a trusted root.

        Raises:
            CredentialsInvalidError: it means none that is trusted.
        """
        if "x5c" in header:
            return self._certified(header["x5c"], now)
        if "jwk" in header:
            return self._presented(header["jwk"], now)
        key = self.by_id.get(str(header.get("kid", "")))
        if key is None:
            raise CredentialsInvalidError("the token is signed by a key that is not trusted")
        return key

    def _presented(self, jwk: Any, now: datetime) -> Key:
        if not isinstance(jwk, Mapping) or jwk.get("kty") == "oct":
            raise CredentialsInvalidError("the key in the token's header is no public key")
        if "x5c" in jwk:
            return self._certified(jwk["x5c"], now)
        try:
            thumbprint = _import(jwk).thumbprint()
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise CredentialsInvalidError("the key in the token's header cannot be read") from None
        key = self.by_id.get(thumbprint)
        if key is None:
            raise CredentialsInvalidError("the key in the token's header is not trusted")
        return key

    def _certified(self, x5c: Any, now: datetime) -> Key:
        leaf, *rest = _read_chain(x5c)
        try:
            _verify_chain(leaf, rest, self.roots, now)
            return key_of(leaf)
        except (VerificationError, ValueError) as error:
            raise CredentialsInvalidError("the token's certificate is not vouched for by a trusted root") from error


def read_certificates(content: bytes) -> TrustedKeys:
    """Read a PEM bundle.

    Raises:
        CredentialSourceError: it holds no certificate, a damaged one, or none whose key can be used.
    """
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise CredentialSourceError("holds no certificates in PEM that can be used") from None
    keys = _usable("certificate", certificates, lambda each: each.subject.rfc4514_string(), key_of)
    return TrustedKeys(_by_id(keys), tuple(certificates))


def read_key_set(content: bytes) -> TrustedKeys:
    """Read a JSON Web Key Set; of a private key only its public half is kept.

    Keys that cannot be used are left out with a warning (RFC 7517, section 5): a rotation may add a kind of key that
    this version does not know.

    Raises:
        CredentialSourceError: it is none, or no key of it can be used.
    """
    try:
        entries = list(json.loads(content)["keys"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CredentialSourceError("is not a JSON Web Key Set") from None
    return TrustedKeys(_by_id(_usable("key", entries, _label, _import)))


def key_of(certificate: x509.Certificate) -> Key:
    """Return the key that a certificate is about.

    Raises:
        ValueError: it is of a kind that signs no tokens, or too short.
    """
    try:
        public = certificate.public_key()
    except UnsupportedAlgorithm:
        raise _UnusableKeyError("a kind of key that signs no tokens") from None
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(public, RSAPublicKey):
        _require_bits(public.key_size)
        return RSAKey.import_key(pem)
    if isinstance(public, EllipticCurvePublicKey):
        return ECKey.import_key(pem)
    if isinstance(public, Ed25519PublicKey):
        return OKPKey.import_key(pem)
    raise _UnusableKeyError("a kind of key that signs no tokens")


def libtrust_fingerprint(key: RSAKey | ECKey | OKPKey) -> str:
    """Return a key's id as distribution 2 writes it: `ABCD:EFGH:…`, twelve groups."""
    der = key.as_der(private=False)
    text = base64.b32encode(hashlib.sha256(der).digest()[:_FINGERPRINT_BYTES]).decode("ascii")
    return ":".join(text[start : start + _FINGERPRINT_GROUP] for start in range(0, len(text), _FINGERPRINT_GROUP))


def _usable(what: str, entries: Sequence[T], label: Callable[[T], str], read: Callable[[T], Key]) -> list[Key]:
    """Return the keys of all entries that have one; name the others in the log.

    Raises:
        CredentialSourceError: no entry has one.
    """
    keys = []
    for position, entry in enumerate(entries, start=1):
        try:
            keys.append(read(entry))
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            # The words of libraries may quote the key.
            reason = str(error) if isinstance(error, _UnusableKeyError) else type(error).__name__
            _logger.warning("%s %d (%s) is left out, it cannot verify tokens: %s", what, position, label(entry), reason)
    if not keys:
        raise CredentialSourceError(f"holds no {what} that can verify tokens")
    return keys


def _label(jwk: object) -> str:
    """Return the members of a key that name it and hold no part of it."""
    if not isinstance(jwk, Mapping):
        return "not an object"
    return ", ".join(f"{member}: {str(jwk[member])[:64]}" for member in ("kid", "kty", "crv", "alg") if member in jwk)


def _require_bits(bits: int) -> None:
    if bits < _RSA_BITS_MIN:
        raise _UnusableKeyError(f"an RSA key of {bits} bits, it must have at least {_RSA_BITS_MIN}")


def _import(jwk: Mapping[str, Any]) -> Key:
    # Before the import, which would warn on stderr.
    match jwk:
        case {"kty": "oct", "k": str(text)} if (length := len(_decoded(text))) < _OCT_BYTES_MIN:
            raise _UnusableKeyError(f"an oct key of {length} bytes, it must have at least {_OCT_BYTES_MIN}")
        case {"kty": "RSA", "n": str(text)}:
            _require_bits(int.from_bytes(_decoded(text)).bit_length())
        case _:
            pass
    key = JWKRegistry.import_key(dict(jwk))
    if isinstance(key, OctKey):
        return key
    return JWKRegistry.import_key(key.as_dict(private=False))


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _by_id(keys: Iterable[Key]) -> dict[str, Key]:
    found: dict[str, Key] = {}
    for key in keys:
        found[key.thumbprint()] = key
        if not isinstance(key, OctKey):
            found[libtrust_fingerprint(key)] = key
        if key.kid:
            found[key.kid] = key
    return found


def _read_chain(x5c: Any) -> list[x509.Certificate]:
    if not isinstance(x5c, list) or not 0 < len(x5c) <= _CHAIN_LENGTH_MAX:
        raise CredentialsInvalidError("the token's chain of certificates is empty, too long or no list")
    try:
        return [x509.load_der_x509_certificate(base64.b64decode(each, validate=True)) for each in x5c]
    except (ValueError, TypeError, binascii.Error):
        raise CredentialsInvalidError("the token's chain of certificates cannot be read") from None


def _verify_chain(
    leaf: x509.Certificate, rest: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: datetime
) -> None:
    """Return if a root vouches for the leaf, through the rest, now.

    Raises:
        VerificationError: no chain leads to a root.
        ValueError: there are no roots, or the leaf is one of them and not valid now.
    """
    if leaf in roots:
        # Distribution's guide makes one self-signed certificate that both signs and is trusted.
        if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            raise ValueError("the certificate is not valid now")
        return
    builder = PolicyBuilder().store(Store(list(roots))).time(now).max_chain_depth(_CHAIN_LENGTH_MAX)
    verifier = builder.extension_policies(
        ca_policy=ExtensionPolicy.permit_all()
        # What it says is checked in any case, but not that it is there.
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _require_signing),
        # Whatever the certificate was made for, as in distribution: token servers use those of web servers.
        ee_policy=ExtensionPolicy.permit_all(),
    ).build_client_verifier()
    verifier.verify(leaf, list(rest))


def _require_signing(_policy: Policy, _certificate: x509.Certificate, extension: x509.KeyUsage | None) -> None:
    if extension is not None and not extension.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")
