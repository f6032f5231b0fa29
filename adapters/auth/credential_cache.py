"""Cache of recently verified credentials, by keyed hash, which avoids repeated bcrypt computations."""

import hmac
import secrets
from collections.abc import Callable
from typing import Final

LIFETIME_SECONDS: Final = 300.0
ENTRIES_MAX: Final = 10_000


class CredentialCache:
    """Remembers verified pairs of hash and password for a short time; belongs to one event loop.

    An entry is the HMAC of both under a random key that never leaves this process. So the cache holds no passwords, and
    a leaked entry alone does not allow guessing them. The stored hash is part of the entry, so an entry becomes useless
    when its line in the file changes.

    Args:
        clock: returns seconds since an arbitrary start.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._key = secrets.token_bytes(32)
        self._clock = clock
        self._verified: dict[bytes, float] = {}

    def has(self, hashed: bytes, password: str) -> bool:
        """Whether `password` was verified against `hashed` less than `LIFETIME_SECONDS` ago."""
        until = self._verified.get(self._entry(hashed, password))
        return until is not None and self._clock() < until

    def add(self, hashed: bytes, password: str) -> None:
        """Remember a pair; when the cache is full, drop the oldest one."""
        entry = self._entry(hashed, password)
        # Re-inserted at the end, so that the dictionary stays ordered by age.
        self._verified.pop(entry, None)
        self._verified[entry] = self._clock() + LIFETIME_SECONDS
        if len(self._verified) > ENTRIES_MAX:
            del self._verified[next(iter(self._verified))]

    def clear(self) -> None:
        """Remove all entries."""
        self._verified.clear()

    def _entry(self, hashed: bytes, password: str) -> bytes:
        # A bcrypt hash has a fixed length and no zero byte, so different pairs never concatenate to the same bytes.
        return hmac.digest(self._key, hashed + b"\0" + password.encode(), "sha256")
