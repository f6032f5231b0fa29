"""Certificates in the store: sealed objects that only holders of `http.secret` can read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.errors import ObjectNotFoundError, ObjectTooLargeError
from core.model.secret import Secret
from core.ports.blob_storage import BlobStorage
from core.ports.certificate_authority import Certificate, ChallengeAnswer
from core.store import certificate_objects
from core.store.objects import find

Seal = Callable[[str, bytes], bytes]
"""Encrypts the content of a key; the result is valid for this key only."""
Unseal = Callable[[str, bytes], bytes | None]
"""Returns the content of a sealed object, or None if it was not sealed for this key with the same secret."""

_OBJECT_BYTES_MAX: Final = 256 * 1024
_PAUSE_SECONDS: Final = (0, 60, 300, 900, 3600)
"""Pauses after this many orders without a certificate. Let's Encrypt allows five failures for a name in an hour."""
RATE_LIMITED: Final = len(_PAUSE_SECONDS) - 1
"""The number of orders that leads to the longest pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Orders for a host since its last certificate."""

    count: int = 0
    last_at: datetime | None = None
    """The start of the last order, or the time of the certificate, by the store's clock; None if there was none."""

    def seconds_left(self, now: datetime, *, after_success: float) -> float:
        """Return the seconds until the next order may begin.

        Args:
            now: the store's time.
            after_success: seconds between a certificate and the next order: with a wrong clock, each certificate would
                be due at once.
        """
        if self.last_at is None:
            return 0.0
        pause = timedelta(seconds=pause_seconds(self.count) if self.count else after_success)
        return max(0.0, (self.last_at + pause - now).total_seconds())


def pause_seconds(count: int) -> float:
    """Return the pause after a number of orders without a certificate."""
    return float(_PAUSE_SECONDS[min(count, RATE_LIMITED)])


class CertificateRecords:
    """The objects of one ACME account.

    Args:
        storage: the store that all replicas share.
        scope: the folder, which differs for each secret and ACME server: replicas with different secrets, or a test
            server of the authority, never replace each other's certificates.
        seal: encrypts an object.
        unseal: decrypts it.
    """

    def __init__(self, storage: BlobStorage, *, scope: str, seal: Seal, unseal: Unseal) -> None:
        self._storage = storage
        self._scope = scope
        self._seal = seal
        self._unseal = unseal

    async def certificate(self, host: str) -> Certificate | None:
        """Return the stored certificate of a host; None if there is none that can be read. One request."""
        document = await self._read(certificate_objects.issued(self._scope, host))
        if document is None:
            return None
        return Certificate(
            host=host,
            chain=document["chain"],
            key=Secret(document["key"]),
            begins_at=datetime.fromisoformat(document["begins"]),
            ends_at=datetime.fromisoformat(document["ends"]),
        )

    async def save(self, certificate: Certificate) -> None:
        """Store a certificate, then record that an order was successful. Two requests."""
        document = {
            "chain": certificate.chain,
            "key": certificate.key.reveal(),
            "begins": certificate.begins_at.isoformat(),
            "ends": certificate.ends_at.isoformat(),
        }
        await self._write(certificate_objects.issued(self._scope, certificate.host), document)
        await self.note_attempt(certificate.host, 0)

    async def account_key(self) -> Secret | None:
        """Return the key of the account, if there is one. One request."""
        document = await self._read(certificate_objects.account(self._scope))
        return None if document is None else Secret(document["key"])

    async def save_account_key(self, key: Secret) -> None:
        """Store the key of the account. One request."""
        await self._write(certificate_objects.account(self._scope), {"key": key.reveal()})

    async def answer(self) -> ChallengeAnswer | None:
        """Return the answer to the current challenge, if there is one. One request."""
        document = await self._read(certificate_objects.answer(self._scope))
        return None if document is None else ChallengeAnswer(**document)

    async def save_answer(self, answer: ChallengeAnswer) -> None:
        """Store the answer to the current challenge. One request."""
        document = {"host": answer.host, "token": answer.token, "key_authorization": answer.key_authorization}
        await self._write(certificate_objects.answer(self._scope), document)

    async def remove_answer(self) -> None:
        """Remove the answer, after the order. One request."""
        await self._storage.delete([certificate_objects.answer(self._scope)])

    async def attempts(self, host: str) -> Attempts:
        """Return the orders for a host since its last certificate. One or two requests."""
        key = certificate_objects.attempt(self._scope, host)
        if (stat := await find(self._storage, key)) is None:
            return Attempts()
        try:
            count = int(await self._storage.read(key, limit=_OBJECT_BYTES_MAX))
        except (ObjectNotFoundError, ObjectTooLargeError, ValueError):
            # Removed since, or not written by a registry.
            count = 1
        return Attempts(count=count, last_at=stat.modified_at)

    async def note_attempt(self, host: str, count: int) -> None:
        """Record the number of orders without a certificate, before the next one begins. One request."""
        await self._storage.write(certificate_objects.attempt(self._scope, host), str(count).encode())

    async def _read(self, key: str) -> dict[str, str] | None:
        try:
            content = self._unseal(key, await self._storage.read(key, limit=_OBJECT_BYTES_MAX))
        except (ObjectNotFoundError, ObjectTooLargeError):
            return None
        # Only holders of the secret can seal, so the document is one of `_write`.
        document: dict[str, str] | None = None if content is None else json.loads(content)
        return document

    async def _write(self, key: str, document: dict[str, str]) -> None:
        await self._storage.write(key, self._seal(key, json.dumps(document).encode()))
