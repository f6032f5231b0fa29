"""Metrics of requests, under distribution's names, and of upload sessions, which distribution does not count."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from core.ports.metrics import Metrics
from entrypoints.http.keys import ROUTE
from entrypoints.http.routes import ENDPOINTS, Resource

HANDLER_NAMES: Final = {
    Resource.BASE: "base",
    Resource.CATALOG: "catalog",
    Resource.TAG_LIST: "tags",
    Resource.MANIFEST: "manifest",
    Resource.BLOB: "blob",
    Resource.UPLOADS: "blob_upload",
    Resource.UPLOAD: "blob_upload_chunk",
    Resource.REFERRERS: "referrers",
    Resource.REPOSITORY: "repository",
    Resource.TAG_HISTORY: "tag_history",
    Resource.REPOSITORY_DETAILS: "repository_details",
    Resource.TAG_DETAILS: "tag_details",
    Resource.EXTENSIONS: "extensions",
    Resource.REPOSITORY_EXTENSIONS: "repository_extensions",
    Resource.TRASH: "trash",
    Resource.TRASH_ENTRY: "trash_entry",
    Resource.REPOSITORY_TRASH: "repository_trash",
    Resource.REPOSITORY_TRASH_ENTRY: "repository_trash_entry",
    Resource.USAGE: "usage",
    Resource.REPOSITORY_USAGE: "repository_usage",
    Resource.READ_ONLY: "readonly",
    Resource.RETENTION: "retention",
    Resource.REPOSITORY_RETENTION: "repository_retention",
    Resource.NOTIFICATIONS: "notifications",
    Resource.SEARCH: "search",
    Resource.V1_SEARCH: "v1_search",
    Resource.V1_PING: "v1_ping",
    Resource.COLLECTION: "collection",
    Resource.VERIFICATION: "verification",
}
"""Distribution's handler names, and similar names for resources that distribution lacks."""
ELSEWHERE: Final = "other"
"""Handler name for all paths outside the API."""

DURATION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)
SIZE_BUCKETS: Final = tuple(1024.0 * 2**power for power in range(22))
"""Histogram buckets, same as distribution's; so are those of the durations."""

_CLIENT_GONE: Final = 499
_METHODS: Final = {
    method: method.lower() for method in (*(endpoint.method for endpoint in ENDPOINTS), "OPTIONS", "CONNECT", "TRACE")
}
_UNKNOWN_METHOD: Final = "unknown"

_SESSION_EVENTS: Final = {
    ("blob_upload", "post", 202): "started",
    ("blob_upload", "post", 201): "spared",
    ("blob_upload_chunk", "put", 201): "completed",
    ("blob_upload_chunk", "delete", 204): "cancelled",
}
"""Upload session event for each response; `spared` is a mount or an upload in one request, which needs no session."""


class RequestMeter:
    """Measures requests; one per process.

    Costs about 15 µs per request. The number of requests in flight is kept in memory and published once a second by
    `flush`.
    """

    def __init__(self, metrics: Metrics, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._under_way: Counter[str] = Counter(dict.fromkeys([*HANDLER_NAMES.values(), ELSEWHERE], 0))
        self._in_flight = metrics.gauge("registry_http_in_flight_requests", "Requests in progress.", ["handler"])
        self._requests = metrics.counter(
            "registry_http_requests_total", "Requests answered.", ["code", "handler", "method"]
        )
        self._seconds = metrics.histogram(
            "registry_http_request_duration_seconds",
            "Seconds from the head of a request to the end of the response, streamed bodies included.",
            ["handler", "method"],
            buckets=DURATION_BUCKETS,
        )
        self._received = metrics.histogram(
            "registry_http_request_size_bytes", "Bytes of request bodies.", ["handler"], buckets=SIZE_BUCKETS
        )
        self._sent = metrics.histogram(
            "registry_http_response_size_bytes", "Bytes of response bodies.", ["handler"], buckets=SIZE_BUCKETS
        )
        self._sessions = metrics.counter("registry_upload_sessions_total", "Events of upload sessions.", ["event"])

    def flush(self) -> None:
        """Publish the number of requests in flight."""
        for name, count in self._under_way.items():
            self._in_flight(count, name)

    @web.middleware
    async def measure(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Measure a request."""
        name = HANDLER_NAMES[request[ROUTE].resource] if ROUTE in request else ELSEWHERE
        self.begin(name)
        begun = self._clock()
        response: web.StreamResponse | None = None
        try:
            response = await handler(request)
            return response
        finally:
            # If the handler raises, there is no response: the connection broke. Count the request all the same.
            self.end(name)
            self.record(
                name,
                request.method,
                response.status if response is not None else _CLIENT_GONE,
                received=request.content.total_bytes,
                sent=bytes_sent(request, response),
                seconds=self._clock() - begun,
            )

    def begin(self, name: str) -> None:
        """Count a request in flight, by the name of its handler."""
        self._under_way[name] += 1

    def end(self, name: str) -> None:
        """Count a request that is no longer in flight."""
        self._under_way[name] -= 1

    def record(self, name: str, method: str, status: int, *, received: int, sent: int, seconds: float) -> None:
        """Count a request that was answered."""
        method = _METHODS.get(method, _UNKNOWN_METHOD)
        # The duration first: if the process is killed in between, no request is counted without its duration.
        self._seconds(seconds, name, method)
        self._requests(1, str(status), name, method)
        self._received(received, name)
        self._sent(sent, name)
        event = _SESSION_EVENTS.get((name, method, status))
        if event is not None:
            self._sessions(1, event)


def bytes_sent(request: web.Request, response: web.StreamResponse | None) -> int:
    """Return the size of the body that was sent; None as the response means that the connection broke."""
    if response is None:
        # The bytes sent before the connection broke, including the response head.
        return request.writer.output_size
    if request.method == "HEAD" or response.status == 304:  # noqa: PLR2004 - Not Modified
        return 0
    return response.content_length or 0
