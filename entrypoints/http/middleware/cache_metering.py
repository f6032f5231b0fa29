"""Metrics of responses from cached repositories, some under distribution's names."""

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from core.model.freshness import CacheOutcome, Freshness
from core.model.names import RepositoryName
from core.ports.metrics import Metrics
from core.pull_through.origins import Origins
from entrypoints.http.keys import FRESHNESS, TARGET
from entrypoints.http.middleware.metering import bytes_sent
from entrypoints.http.routes import Resource

TYPES: Final = {Resource.MANIFEST: "manifest", Resource.BLOB: "blob"}
"""Distribution's names of the kinds of content."""
_REDIRECT: Final = 307
_ABSENT: Final = 404
_FAILURES: Final = frozenset({429, 502, 504})


class CacheMeter:
    """Counts the responses with content of cached repositories; one per process.

    Args:
        metrics: the metrics of the process.
        origins: the upstreams.
    """

    def __init__(self, metrics: Metrics, origins: Origins) -> None:
        self._origins = origins
        self._answers = metrics.counter(
            "registry_proxy_answers_total",
            "Responses to pulls from cached repositories, by outcome.",
            ["upstream", "type", "outcome"],
        )
        self._saved = metrics.counter(
            "registry_proxy_saved_bytes_total", "Bytes sent from the store in place of the upstream.", ["upstream"]
        )
        self._requests = metrics.counter("registry_proxy_requests_total", "Pulls from cached repositories.", ["type"])
        self._hits = metrics.counter("registry_proxy_hits_total", "Pulls answered from the store.", ["type"])
        self._misses = metrics.counter("registry_proxy_misses_total", "Pulls answered by the upstream.", ["type"])
        self._pushed = metrics.counter(
            "registry_proxy_pushed_bytes_total", "Bytes sent to clients from cached repositories.", ["type"]
        )
        for kind in TYPES.values():
            for count in (self._requests, self._hits, self._misses, self._pushed):
                count(0, kind)
        for _, upstream in origins.upstreams:
            self._saved(0, upstream.name)
            self._answers(0, upstream.name, TYPES[Resource.MANIFEST], CacheOutcome.STALE)

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a pull after its response."""
        response = await handler(request)
        target = request.get(TARGET)
        kind = TYPES.get(target.resource) if target is not None else None
        outcome = _outcome(request, response.status)
        if target is not None and kind is not None and outcome:
            name = RepositoryName.parse(target.name)
            origin = self._origins.find(name) if name is not None else None
            if origin is not None:
                self._record(origin.upstream.name, kind, outcome, bytes_sent(request, response))
        return response

    def _record(self, upstream: str, kind: str, outcome: str, size: int) -> None:
        self._answers(1, upstream, kind, outcome)
        self._requests(1, kind)
        if outcome == CacheOutcome.MISS:
            self._misses(1, kind)
        elif outcome in set(CacheOutcome):
            self._hits(1, kind)
            self._saved(size, upstream)
        else:
            return
        self._pushed(size, kind)


def _outcome(request: web.Request, status: int) -> str | None:
    """Return the outcome of a pull; None for other requests, and for `HEAD` of a blob, which moves no content."""
    freshness: Freshness | None = request.get(FRESHNESS)
    if freshness is not None:
        return freshness.outcome
    if request.method not in {"GET", "HEAD"}:
        return None
    if status == _REDIRECT:
        return CacheOutcome.HIT
    if status == _ABSENT:
        return "absent"
    return "failed" if status in _FAILURES else None
