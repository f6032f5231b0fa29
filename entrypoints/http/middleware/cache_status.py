"""The header `Cache-Status` on manifests and blobs of cached repositories (RFC 9211)."""

import math
from typing import Final

from aiohttp import web

from core.model.freshness import CacheOutcome, Freshness
from entrypoints.http.keys import FRESHNESS

CACHE_STATUS_HEADER: Final = "Cache-Status"
_CACHE: Final = "registry"
"""The name of this cache in the header."""


def note_freshness(request: web.BaseRequest, freshness: Freshness | None) -> None:
    """Record how the cache obtained the content of a response; None for a local repository."""
    if freshness is not None:
        request[FRESHNESS] = freshness


async def mark_freshness(request: web.Request, response: web.StreamResponse) -> None:
    """Add the header to a response (a signal handler)."""
    if (freshness := request.get(FRESHNESS)) is not None:
        response.headers[CACHE_STATUS_HEADER] = format_cache_status(freshness)


def format_cache_status(freshness: Freshness) -> str:
    """Return the value of the header.

    `hit` excludes `fwd`, and `fwd-status` requires it (RFC 9211, sections 2.1 and 2.3). A stale response is a hit with
    a negative `ttl`; `detail` names the failure, since the RFC has no parameter for it.
    """
    state, *more = _parts(freshness)
    ttl = [] if freshness.ttl_seconds is None else [f"ttl={math.floor(freshness.ttl_seconds)}"]
    return "; ".join([_CACHE, state, *ttl, *more])


def _parts(freshness: Freshness) -> list[str]:
    status = freshness.status
    forwarded = [] if status is None else [f"fwd-status={status}"]
    match freshness.outcome:
        case CacheOutcome.HIT:
            return ["hit"]
        case CacheOutcome.STALE:
            return ["hit", f"detail=upstream-{status or 'unavailable'}"]
        case CacheOutcome.REVALIDATED:
            return ["fwd=stale", *forwarded]
        case CacheOutcome.MISS:
            return ["fwd=uri-miss", *forwarded, "stored"]
