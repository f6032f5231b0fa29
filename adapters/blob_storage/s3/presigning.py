"""Presigned URLs, each used for many requests."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from adapters.blob_storage.s3.direct import frozen

LIFETIME_SECONDS: Final = 20 * 60
_REUSED_SECONDS: Final = LIFETIME_SECONDS // 2
"""A client has at least the rest of the lifetime to follow the URL."""
HELD_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class _Held:
    url: str
    access_key: str
    signed_at: float


class PresignedUrls:
    """URLs that were signed in the last minutes; one per open client, for any number of tasks.

    Args:
        sign: signs a URL for a key of the port that is valid for `LIFETIME_SECONDS`.
        credentials: botocore's credentials. After they were replaced, all URLs are signed again, because a URL is not
            valid for longer than its temporary credentials.
        now: returns the unix time.
    """

    def __init__(
        self, sign: Callable[[str, Any], Awaitable[str]], credentials: Any, now: Callable[[], float] = time.time
    ) -> None:
        self._sign = sign
        self._credentials = credentials
        self._now = now
        self._held: dict[str, _Held] = {}

    async def url(self, key: str) -> str:
        """Return a URL that allows anyone to `GET` the object for at least half of the lifetime. Sends nothing."""
        credentials = await frozen(self._credentials)
        now = self._now()
        held = self._held.pop(key, None)
        is_usable = held is not None and held.access_key == credentials.access_key
        if held is None or not is_usable or not 0 <= now - held.signed_at < _REUSED_SECONDS:
            held = _Held(await self._sign(key, credentials), credentials.access_key, now)
        self._held[key] = held
        if len(self._held) > HELD_MAX:
            del self._held[next(iter(self._held))]
        return held.url
