"""CORS for browser pages of other origins (`http.cors`): preflights are answered before authentication.

A browser sends no credentials with a preflight, so a 401 response would lock every page out. Operators who configure
CORS through `http.headers`, as for distribution, do not need this module.
"""

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from config.settings import CorsSettings

EXPOSED_HEADERS: Final = (
    "Cache-Status",
    "Content-Range",
    "Docker-Content-Digest",
    "Docker-Distribution-Api-Version",
    "Docker-Upload-UUID",
    "ETag",
    "Link",
    "Location",
    "OCI-Filters-Applied",
    "OCI-Namespace",
    "OCI-Subject",
    "OCI-Tag",
    "Range",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)
"""Response headers that a page may read in addition to the CORS-safelisted ones."""


class Cors:
    """Decides by origin which pages may read responses; one per process."""

    def __init__(self, settings: CorsSettings) -> None:
        self._settings = settings
        self._allows_all = "*" in settings.origins
        self._preflight = {
            "Access-Control-Allow-Methods": ", ".join(settings.methods),
            "Access-Control-Allow-Headers": ", ".join(settings.headers),
            "Access-Control-Max-Age": str(int(settings.max_age_seconds)),
        }

    @web.middleware
    async def answer_preflight(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a preflight."""
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if is_preflight and self._allowed(request) is not None:
            return web.Response(status=204, headers=self._preflight)
        return await handler(request)

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that let the page read this response (a response-prepare signal)."""
        headers = response.headers
        if not self._allows_all:
            # A cache must not serve the response for one origin to another.
            headers.add("Vary", "Origin")
        allowed = self._allowed(request)
        if allowed is None:
            return
        headers["Access-Control-Allow-Origin"] = allowed
        if self._settings.credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        if response.status != 204 or request.method != "OPTIONS":  # noqa: PLR2004 - No Content
            headers["Access-Control-Expose-Headers"] = ", ".join(EXPOSED_HEADERS)

    def _allowed(self, request: web.Request) -> str | None:
        origin = request.headers.get("Origin")
        if origin is None:
            return None
        if self._allows_all:
            return "*"
        return origin if origin in self._settings.origins else None
