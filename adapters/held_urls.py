"""Signed URLs that are used for many requests, because each signature costs processor time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

HELD_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class _Held:
    url: str
    signer: object
    signed_at: float


class HeldUrls:
    """The URLs that were signed last; for any number of tasks.

    Args:
        reused_seconds: how long a URL is used; a client then has at least the rest of its lifetime to follow it.
        now: returns the unix time.
    """

    def __init__(self, reused_seconds: float, now: Callable[[], float] = time.time) -> None:
        self._reused_seconds = reused_seconds
        self._now = now
        self._held: dict[str, _Held] = {}

    def find(self, key: str, signer: object) -> str | None:
        """Return the URL that this signer signed for a key, or None if there is none or it is too old."""
        held = self._held.pop(key, None)
        if held is None or held.signer != signer or not 0 <= self._now() - held.signed_at < self._reused_seconds:
            return None
        self._held[key] = held
        return held.url

    def hold(self, key: str, url: str, signer: object) -> str:
        """Keep a URL that was signed just now, in place of the one used longest ago; return it."""
        self._held[key] = _Held(url, signer, self._now())
        if len(self._held) > HELD_MAX:
            del self._held[next(iter(self._held))]
        return url
