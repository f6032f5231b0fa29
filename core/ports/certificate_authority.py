"""The port for an authority that issues TLS certificates for names after a challenge (ACME, RFC 8555)."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.model.secret import Secret

_RENEWAL_FRACTION: Final = 3
"""A certificate is renewed when this fraction of its life is left: 30 of 90 days, as clients of Let's Encrypt do."""


class CertificateOrderError(Exception):
    """The authority issued no certificate; the message is its reason, or the error of the connection."""

    def __init__(self, reason: str, *, is_rate_limited: bool = False) -> None:
        super().__init__(reason)
        self.is_rate_limited = is_rate_limited


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeAnswer:
    """The text that proves to the authority that a host is controlled by the account. Not a secret."""

    host: str
    token: str
    key_authorization: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate for one host."""

    host: str
    chain: str
    """The certificate, followed by its issuers, as PEM."""
    key: Secret
    """The unencrypted private key as PEM."""
    begins_at: datetime
    ends_at: datetime

    @property
    def renews_at(self) -> datetime:
        """The time from which the certificate is to be renewed."""
        return self.ends_at - (self.ends_at - self.begins_at) / _RENEWAL_FRACTION


PublishAnswer = Callable[[ChallengeAnswer], Awaitable[None]]
"""Returns when every process of every replica gives this answer."""


class CertificateAuthority(ABC):
    """Issues certificates. One per process; safe for concurrent tasks. Does not block the event loop."""

    @abstractmethod
    async def new_account_key(self) -> Secret:
        """Return a new key for an account, as PEM. Contacts nothing."""

    @abstractmethod
    async def order(self, host: str, account_key: Secret, publish: PublishAnswer) -> Certificate:
        """Obtain a certificate with a new key for a host.

        The account of the key is created at the first order. `publish` is called with the answer to each challenge
        before the authority is asked to check it, and not at all if the authority still trusts an earlier check. Takes
        seconds, and two minutes at most besides the calls of `publish`, whose errors are passed on.

        Raises:
            CertificateOrderError: the authority cannot be reached, or refuses the order or the answer.
        """
