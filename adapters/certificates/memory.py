"""Authority in this process: issues certificates that it signs itself, after a check that a test may replace."""

import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from typing_extensions import override

from adapters.certificates.pairs import certificate_of, key_pem, new_private_key
from core.model.secret import Secret
from core.ports.certificate_authority import (
    Certificate,
    CertificateAuthority,
    CertificateOrderError,
    ChallengeAnswer,
    PublishAnswer,
)

_USAGES: Final = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


async def _accept(_answer: ChallengeAnswer) -> bool:
    return True


class InMemoryAuthority(CertificateAuthority):
    """An authority with a key of its own.

    Args:
        now: the current time, UTC-aware.
        life: validity of the certificates.
        check: whether the answer to a challenge is found where a client would look for it.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        life: timedelta = timedelta(days=90),
        check: Callable[[ChallengeAnswer], Awaitable[bool]] = _accept,
    ) -> None:
        self._now = now
        self._life = life
        self._check = check
        self._key = new_private_key()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority in memory")])
        usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True}
        self.root = self._sign(
            self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=None), x509.KeyUsage(**usage)
        )
        """The certificate of the authority as PEM."""
        self.error: CertificateOrderError | None = None
        """The failure of all orders, if they are to fail."""
        self.ordered: list[str] = []
        """The hosts of all orders."""
        self.accounts: set[str] = set()
        """The account keys of all orders."""

    @override
    async def new_account_key(self) -> Secret:
        return key_pem(new_private_key())

    @override
    async def order(self, host: str, account_key: Secret, publish: PublishAnswer) -> Certificate:
        self.ordered.append(host)
        self.accounts.add(account_key.reveal())
        if self.error is not None:
            raise self.error
        token = secrets.token_urlsafe(32)
        answer = ChallengeAnswer(host=host, token=token, key_authorization=f"{token}.{secrets.token_urlsafe(32)}")
        await publish(answer)
        if not await self._check(answer):
            raise CertificateOrderError(f"{host} does not give the answer")
        key = new_private_key()
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        chain = self._sign(x509.Name([]), key.public_key(), names) + self.root
        return certificate_of(host, chain, key_pem(key))

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType) -> str:
        now, own_key = self._now(), self._key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + self._life)
            # Python 3.13 requires the identifiers of the keys, as RFC 5280, section 4.2.1, does.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own_key), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(Encoding.PEM).decode()
