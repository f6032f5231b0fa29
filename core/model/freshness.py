"""The relation of a response to the upstream registry that its content came from."""

from dataclasses import dataclass
from enum import StrEnum


class CacheOutcome(StrEnum):
    """How the cache obtained the content of a response. The values are the labels of metrics."""

    HIT = "hit"
    """Stored, and fresh without a question to the upstream."""
    REVALIDATED = "revalidated"
    """Stored, and the upstream confirmed it."""
    MISS = "miss"
    """Fetched from the upstream, or from a fetch in progress."""
    STALE = "stale"
    """Stored, and served although the upstream did not confirm it, because it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """The freshness of cached content (RFC 9211, "The Cache-Status HTTP Response Header Field")."""

    outcome: CacheOutcome
    ttl_seconds: float | None = None
    """Seconds until a tag is checked again, negative for a stale one; None for content addressed by digest."""
    status: int | None = None
    """The status of the upstream's response, if there was one."""
