"""What saves bcrypt: credentials that were verified a moment ago, remembered by a keyed hash."""

import hmac
import secrets
from collections.abc import Callable
from typing import Final

LIFETIME_SECONDS: Final = 300.0
ENTRIES_MAX: Final = 10_000


class CredentialCache:
    """Remembers verified pairs of hash and password for a short time; belongs to one event loop.

    An entry is the HMAC of both under a key that this process made up and never tells, so no password lies in memory
    for its sake, and nobody who learns of an entry alone can try passwords on it. As the stored hash is part of it, an
    entry dies with the line of the file that it was verified against.

    Args:
        clock: tells seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._key = secrets.token_bytes(32)
        self._clock = clock
        self._verified: dict[bytes, float] = {}

    def has(self, hashed: bytes, password: str) -> bool:
        """Whether `password` was found to belong to `hashed` less than `LIFETIME_SECONDS` ago."""
        until = self._verified.get(self._entry(hashed, password))
        return until is not None and self._clock() < until

    def add(self, hashed: bytes, password: str) -> None:
        """Remember a pair; the oldest one gives way when there are too many."""
        entry = self._entry(hashed, password)
        # Put at the end, so that the order is that of age.
        self._verified.pop(entry, None)
        self._verified[entry] = self._clock() + LIFETIME_SECONDS
        if len(self._verified) > ENTRIES_MAX:
            del self._verified[next(iter(self._verified))]

    def clear(self) -> None:
        """Forget all."""
        self._verified.clear()

    def _entry(self, hashed: bytes, password: str) -> bytes:
        # A bcrypt hash has a fixed length and no zero byte, so no two pairs run together.
        return hmac.digest(self._key, hashed + b"\0" + password.encode(), "sha256")
