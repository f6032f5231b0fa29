"""Limits on requests, per client and in total (`http.limits`)."""

import math
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from config.settings import LimitSettings
from core.coordination.budget import TokenBucket
from core.errors import TooManyRequestsError
from entrypoints.http.forwarding import Forwarding
from entrypoints.http.keys import BODY_LIMITS, CLIENT

BUSY_RETRY_SECONDS: Final = 2
"""Seconds after which a client should retry when the process is busy."""
CLIENTS_MAX: Final = 10_000
"""Maximum number of client addresses kept; the least recently seen one is dropped first."""
_IPV6_SITE_BITS: Final = 64


class TokenBuckets:
    """Rate limit per client address: `burst` requests at once, `rate` per second in the long run.

    Memory is bounded by `clients_max` addresses. Each call takes constant time.
    """

    def __init__(self, *, rate: float, burst: int, clock: Callable[[], float], clients_max: int = CLIENTS_MAX) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._clients_max = clients_max
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> float:
        """Take a token and return 0, or return the seconds until one is available."""
        key, now = _site(client), self._clock()
        bucket = self._buckets.pop(key, None) or TokenBucket(rate=self._rate, burst=self._burst, now=now)
        self._buckets[key] = bucket
        if len(self._buckets) > self._clients_max:
            self._buckets.popitem(last=False)
        return bucket.take(1, now)


def _site(client: str) -> str:
    """Return the key of a client; an IPv6 host controls a whole /64, so the /64 counts as one client."""
    if ":" not in client:
        return client
    address = ip_address(client)
    return str(int(address) >> _IPV6_SITE_BITS) if isinstance(address, IPv6Address) else client


class Limits:
    """Identifies the client of each request and enforces the limits; one per application."""

    def __init__(self, settings: LimitSettings, forwarding: Forwarding, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._forwarding = forwarding
        self._buckets = TokenBuckets(rate=settings.rate, burst=settings.burst, clock=clock) if settings.rate else None
        self._under_way = 0

    @property
    def is_per_client(self) -> bool:
        """Whether the requests of each client are limited."""
        return self._buckets is not None

    @property
    def is_reached(self) -> bool:
        """Whether as many requests are under way as all clients together may send."""
        return 0 < self._settings.requests <= self._under_way

    def begin(self) -> None:
        """Count a request that is under way."""
        self._under_way += 1

    def end(self) -> None:
        """Count a request that has ended."""
        self._under_way -= 1

    @web.middleware
    async def enforce(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request within the limits.

        Raises:
            TooManyRequestsError: the client, or all clients together, sent too many requests.
        """
        settings = self._settings
        request[CLIENT] = client = self._forwarding.client_of(request)
        request[BODY_LIMITS] = settings
        if self._buckets is not None and (wait_seconds := self._buckets.take(client.address)):
            raise TooManyRequestsError(math.ceil(wait_seconds))
        if self.is_reached:
            raise TooManyRequestsError(BUSY_RETRY_SECONDS)
        self.begin()
        try:
            return await handler(request)
        finally:
            self.end()
