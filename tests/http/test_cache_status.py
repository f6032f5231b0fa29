"""`Cache-Status` on responses from cached repositories."""

import pytest

from core.model.freshness import CacheOutcome, Freshness
from entrypoints.http.middleware.cache_status import format_cache_status

HIT, STALE, REVALIDATED, MISS = (
    CacheOutcome.HIT,
    CacheOutcome.STALE,
    CacheOutcome.REVALIDATED,
    CacheOutcome.MISS,
)


@pytest.mark.parametrize(
    ("outcome", "ttl", "status", "expected"),
    [
        (HIT, None, None, "registry; hit"),
        (HIT, 42.9, None, "registry; hit; ttl=42"),
        (STALE, -29.5, None, "registry; hit; ttl=-30; detail=upstream-unavailable"),
        (STALE, -30.0, 429, "registry; hit; ttl=-30; detail=upstream-429"),
        (STALE, -0.0, 503, "registry; hit; ttl=0; detail=upstream-503"),
        (REVALIDATED, 60.0, 304, "registry; fwd=stale; ttl=60; fwd-status=304"),
        (REVALIDATED, 60.0, None, "registry; fwd=stale; ttl=60"),
        (MISS, None, None, "registry; fwd=uri-miss; stored"),
        (MISS, 60.0, 200, "registry; fwd=uri-miss; ttl=60; fwd-status=200; stored"),
    ],
)
def test_header_has_the_parameters_of_the_rfc(outcome, ttl, status, expected):
    assert format_cache_status(Freshness(outcome=outcome, ttl_seconds=ttl, status=status)) == expected
