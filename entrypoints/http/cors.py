"""Browser pages of other origins (`http.cors`): preflights answered before anybody is asked who they are.

A browser sends no credentials with a preflight, so an answer of 401 would lock every page out. Who configures CORS by
`http.headers`, as for distribution, does without this module.
"""

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from config.settings import CorsSettings

EXPOSED_HEADERS: Final = (
    "Content-Range",
    "Docker-Content-Digest",
    "Docker-Distribution-Api-Version",
    "Docker-Upload-UUID",
    "ETag",
    "Link",
    "Location",
    "OCI-Filters-Applied",
    "OCI-Subject",
    "OCI-Tag",
    "Range",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)
"""What a page may read besides the headers that are always readable."""


class Cors:
    """Lets pages in by their origin; one per process."""

    def __init__(self, settings: CorsSettings) -> None:
        self._settings = settings
        self._allows_all = "*" in settings.origins
        self._preflight = {
            "Access-Control-Allow-Methods": ", ".join(settings.methods),
            "Access-Control-Allow-Headers": ", ".join(settings.headers),
            "Access-Control-Max-Age": str(int(settings.max_age_seconds)),
        }

    def middleware(self) -> Middleware:
        """Return the middleware that answers preflights; it stands outside of authentication."""

        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
            if is_preflight and self._allowed(request) is not None:
                return web.Response(status=204, headers=self._preflight)
            return await handler(request)

        return answer

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Tell the browser whether the page may read this response (a response-prepare signal)."""
        headers = response.headers
        if not self._allows_all:
            # Caches must not give one page the answer that another one got.
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
