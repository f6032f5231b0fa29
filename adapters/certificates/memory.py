"""Authority in this process: issues certificates that it signs itself, after a check that a test may replace."""

import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

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
        self.root = self._sign(self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
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

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType) -> str:
        now = self._now()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + self._life)
            .add_extension(extension, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(Encoding.PEM).decode()
