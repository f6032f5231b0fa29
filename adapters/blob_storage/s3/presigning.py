"""Presigned URLs, each used for many requests."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

from adapters.blob_storage.s3.requests import Credentials, CredentialsSource
from adapters.held_urls import HeldUrls

LIFETIME_SECONDS: Final = 20 * 60


class PresignedUrls:
    """URLs that were signed in the last minutes; one per open client, for any number of tasks.

    Args:
        sign: signs a URL for a key of the port that is valid for `LIFETIME_SECONDS`.
        credentials: returns the credentials that are valid now. After they were replaced, all URLs are signed again,
            because a URL is not valid for longer than its temporary credentials.
        now: returns the unix time.
    """

    def __init__(
        self,
        sign: Callable[[str, Credentials], Awaitable[str]],
        credentials: CredentialsSource,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._sign = sign
        self._credentials = credentials
        self._held = HeldUrls(LIFETIME_SECONDS // 2, now)

    async def url(self, key: str) -> str:
        """Return a URL that allows anyone to `GET` the object for at least half of the lifetime. Sends nothing."""
        credentials = await self._credentials()
        held = self._held.find(key, credentials.access_key)
        return held or self._held.hold(key, await self._sign(key, credentials), credentials.access_key)
