"""Trusted signing keys: certificates in PEM, and JSON Web Key Sets."""

import base64
import binascii
import hashlib
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

from core.json_text import load_json
from core.ports.authenticator import CredentialsInvalidError, CredentialSourceError

T = TypeVar("T")

_FINGERPRINT_BYTES: Final = 30
_FINGERPRINT_GROUP: Final = 4
_CHAIN_LENGTH_MAX: Final = 8
_OCT_BYTES_MIN: Final = 32
"""RFC 7518, 3.2: at least the output size of the smallest hash."""
_RSA_BITS_MIN: Final = 2048
"""RFC 7518, 3.3."""

_logger = logging.getLogger(__name__)


class _UnusableKeyError(ValueError):
    """The kind or the length of a key makes it unusable for tokens; the message contains no part of the key."""


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Keys by each id that a token may use for them, and the root certificates that may certify other keys."""

    by_id: Mapping[str, Key]
    roots: tuple[x509.Certificate, ...] = ()

    def __or__(self, other: "TrustedKeys") -> "TrustedKeys":
        return TrustedKeys({**self.by_id, **other.by_id}, self.roots + other.roots)

    def choose(self, header: Mapping[str, Any], *, now: datetime) -> Key:
        """Return the key that a token's header identifies: by `x5c`, by `jwk`, or by `kid`, in this order.

        A key in the header itself is accepted only if it is already trusted or certified by a trusted root.

        Raises:
            CredentialsInvalidError: the header identifies no trusted key.
        """
        if "x5c" in header:
            return self._certified(header["x5c"], now)
        if "jwk" in header:
            return self._presented(header["jwk"], now)
        key = self.by_id.get(str(header.get("kid", "")))
        if key is None:
            raise CredentialsInvalidError("the key that signed the token is not trusted")
        return key

    def _presented(self, jwk: Any, now: datetime) -> Key:
        if not isinstance(jwk, Mapping) or jwk.get("kty") == "oct":
            raise CredentialsInvalidError("the key in the token's header is not a public key")
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
            raise CredentialsInvalidError("no trusted root certifies the token's certificate") from error


def read_certificates(content: bytes) -> TrustedKeys:
    """Parse a PEM bundle.

    Raises:
        CredentialSourceError: the bundle has no certificate, a damaged one, or none with a usable key.
    """
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise CredentialSourceError("contains no usable PEM certificate") from None
    keys = _usable("certificate", certificates, lambda each: each.subject.rfc4514_string(), key_of)
    return TrustedKeys(_by_id(keys), tuple(certificates))


def read_key_set(content: bytes) -> TrustedKeys:
    """Parse a JSON Web Key Set; only the public half of a private key is kept.

    Unusable keys are skipped with a warning (RFC 7517, section 5): a rotation may add a kind of key that this version
    does not support.

    Raises:
        CredentialSourceError: `content` is not a key set, or no key of it is usable.
    """
    return TrustedKeys(_by_id(_usable("key", _entries(content), _label, _import)))


def read_signing_keys(content: bytes) -> TrustedKeys:
    """Parse the JSON Web Key Set of an OpenID Connect issuer: as `read_key_set`, but only public keys for signatures.

    Raises:
        CredentialSourceError: `content` is not a key set, or no key of it is usable.
    """
    wanted = [each for each in _entries(content) if not isinstance(each, Mapping) or _may_sign(each)]
    return TrustedKeys(_by_id(_usable("key", wanted, _label, _import)))


def _entries(content: bytes) -> list[Any]:
    try:
        return list(load_json(content)["keys"])
    except (ValueError, TypeError, KeyError):
        raise CredentialSourceError("is not a JSON Web Key Set") from None


def _may_sign(jwk: Mapping[str, Any]) -> bool:
    return jwk.get("kty") != "oct" and jwk.get("use", "sig") == "sig"


def key_of(certificate: x509.Certificate) -> Key:
    """Return the public key of a certificate.

    Raises:
        ValueError: the key is too short, or of a kind that signs no tokens.
    """
    try:
        public = certificate.public_key()
    except UnsupportedAlgorithm:
        raise _UnusableKeyError("unsupported type of key") from None
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(public, RSAPublicKey):
        _require_bits(public.key_size)
        return RSAKey.import_key(pem)
    if isinstance(public, EllipticCurvePublicKey):
        return ECKey.import_key(pem)
    if isinstance(public, Ed25519PublicKey):
        return OKPKey.import_key(pem)
    raise _UnusableKeyError("unsupported type of key")


def libtrust_fingerprint(key: RSAKey | ECKey | OKPKey) -> str:
    """Return a key's id in the format of distribution 2: `ABCD:EFGH:…`, twelve groups."""
    der = key.as_der(private=False)
    text = base64.b32encode(hashlib.sha256(der).digest()[:_FINGERPRINT_BYTES]).decode("ascii")
    return ":".join(text[start : start + _FINGERPRINT_GROUP] for start in range(0, len(text), _FINGERPRINT_GROUP))


def _usable(what: str, entries: Sequence[T], label: Callable[[T], str], read: Callable[[T], Key]) -> list[Key]:
    """Return the keys of all entries with a usable key; log a warning for each other entry.

    Raises:
        CredentialSourceError: no entry has a usable key.
    """
    keys = []
    for position, entry in enumerate(entries, start=1):
        try:
            keys.append(read(entry))
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            # The error texts of libraries may quote the key.
            reason = str(error) if isinstance(error, _UnusableKeyError) else type(error).__name__
            _logger.warning("token verification: %s %d (%s) ignored: %s", what, position, label(entry), reason)
    if not keys:
        raise CredentialSourceError(f"contains no {what} that can verify tokens")
    return keys


def _label(jwk: object) -> str:
    """Return the members of a JWK that identify the key without revealing any of it."""
    if not isinstance(jwk, Mapping):
        return "not an object"
    return ", ".join(f"{member}: {str(jwk[member])[:64]}" for member in ("kid", "kty", "crv", "alg") if member in jwk)


def _require_bits(bits: int) -> None:
    if bits < _RSA_BITS_MIN:
        raise _UnusableKeyError(f"RSA key of {bits} bits; at least {_RSA_BITS_MIN} are required")


def _import(jwk: Mapping[str, Any]) -> Key:
    # Check the length before the import, which would warn on stderr.
    match jwk:
        case {"kty": "oct", "k": str(text)} if (length := len(_decoded(text))) < _OCT_BYTES_MIN:
            raise _UnusableKeyError(f"oct key of {length} bytes; at least {_OCT_BYTES_MIN} are required")
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
        raise CredentialsInvalidError("the token's certificate chain is empty, too long or not a list")
    try:
        return [x509.load_der_x509_certificate(base64.b64decode(each, validate=True)) for each in x5c]
    except (ValueError, TypeError, binascii.Error):
        raise CredentialsInvalidError("the token's certificate chain cannot be read") from None


def _verify_chain(
    leaf: x509.Certificate, rest: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: datetime
) -> None:
    """Require that a root certifies the leaf at the time `now`, directly or through `rest`.

    Raises:
        VerificationError: no chain leads to a root.
        ValueError: there are no roots, or the leaf is one of them and not valid now.
    """
    if leaf in roots:
        # Distribution's guide creates one self-signed certificate that both signs tokens and is trusted.
        if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            raise ValueError("the certificate is not valid now")
        return
    builder = PolicyBuilder().store(Store(list(roots))).time(now).max_chain_depth(_CHAIN_LENGTH_MAX)
    verifier = builder.extension_policies(
        ca_policy=ExtensionPolicy.permit_all()
        # The verifier checks the value of this extension in any case, but not its presence.
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _require_signing),
        # Any extended key usage is accepted, as in distribution: token servers use the certificates of web servers.
        ee_policy=ExtensionPolicy.permit_all(),
    ).build_client_verifier()
    verifier.verify(leaf, list(rest))


def _require_signing(_policy: Policy, _certificate: x509.Certificate, extension: x509.KeyUsage | None) -> None:
    if extension is not None and not extension.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")
