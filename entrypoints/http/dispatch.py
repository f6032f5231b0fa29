"""Dispatch of requests: matching of the path, and the call of the handler."""

import re
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler as NextHandler

from entrypoints.http.errors import envelope, respond
from entrypoints.http.handlers.base import Handler
from entrypoints.http.keys import ROUTE, TARGET
from entrypoints.http.routes import ENDPOINTS, METHODS, RIGHTS, Resource, Target, match
from entrypoints.http.runtime_flags import RuntimeFlags

PlainHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""Handler of all methods on one path."""

_SLASHES: Final = re.compile("//+")
_URL_CHARACTERS: Final = "%/?:@!$&'()*+,;=-._~"
"""Characters that a URL may contain unencoded; all others are percent-encoded."""


class Dispatcher:
    """Finds the handler of each request; one per application.

    Args:
        handlers: one handler per endpoint.
        prefix: `http.prefix`, with both slashes.
        flags: rejects operations that are disabled.
        extras: further handlers, by their path below the prefix.
        sites: handlers of all paths that begin with a path below the prefix. A browser that requests `/` is sent to the
            first of them.
    """

    def __init__(
        self,
        handlers: Mapping[tuple[Resource, str], Handler],
        *,
        prefix: str,
        flags: RuntimeFlags,
        extras: Mapping[str, PlainHandler],
        sites: Mapping[str, PlainHandler] = MappingProxyType({}),
    ) -> None:
        missing = [endpoint for endpoint in ENDPOINTS if (endpoint.resource, endpoint.method) not in handlers]
        if missing:
            raise ValueError(f"endpoints without a handler: {missing}")
        self._handlers = handlers
        self._prefix = prefix.rstrip("/")
        self._flags = flags
        self._extras = {f"{self._prefix}/{path}": handler for path, handler in extras.items()}
        self._sites = {f"{self._prefix}{path}": handler for path, handler in sites.items()}

    @web.middleware
    async def find_route(self, request: web.Request, handler: NextHandler) -> web.StreamResponse:
        """Match the path of a request, and set its `ROUTE`."""
        if (route := self._match(request.path)) is not None:
            request[ROUTE] = route
        return await handler(request)

    @web.middleware
    async def answer_elsewhere(self, request: web.Request, handler: NextHandler) -> web.StreamResponse:
        """Answer a request that needs no endpoint: a redirect, a path outside the API, or `OPTIONS`.

        Set `TARGET` of any other request.
        """
        if "//" in request.rel_url.raw_path and (redirect := self._redirect_to_clean(request)) is not None:
            return redirect
        if ROUTE not in request:
            return await self._answer_other_path(request)
        request[TARGET] = target = request[ROUTE]
        if request.method == "OPTIONS":
            # Browsers send OPTIONS before they may send credentials.
            return _other_method(request, target.resource)
        return await handler(request)

    @web.middleware
    async def require_endpoint(self, request: web.Request, handler: NextHandler) -> web.StreamResponse:
        """Answer 405 to a method that the resource does not have or that is currently disabled.

        Raises:
            UnsupportedError: the operation is disabled.
        """
        resource = request[TARGET].resource
        if (resource, request.method) not in self._handlers:
            return _other_method(request, resource)
        await self._flags.require(RIGHTS[resource, request.method])
        return await handler(request)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Call the endpoint's handler."""
        target = request[TARGET]
        return await self._handlers[target.resource, request.method](request, target)

    def _match(self, path: str) -> Target | None:
        return match(path.removeprefix(self._prefix)) if path.startswith(self._prefix) else None

    def _redirect_to_clean(self, request: web.Request) -> web.Response | None:
        """Redirect to the path without duplicate slashes, as distribution does, if the clean path is one of ours.

        A base URL that ends with a slash produces `//v2/`. The location begins with the prefix and `/v2`, or is that of
        an extra, so a request for `//other.host/` is not redirected to another host.
        """
        path = _SLASHES.sub("/", request.rel_url.raw_path)
        if self._match(path) is None and path not in self._extras:
            return None
        query = request.rel_url.raw_query_string
        location = quote(f"{path}?{query}" if query else path, safe=_URL_CHARACTERS)
        # After a 301, clients repeat any other method as GET.
        return web.Response(status=301 if request.method in {"GET", "HEAD"} else 308, headers={"Location": location})

    async def _answer_other_path(self, request: web.Request) -> web.StreamResponse:
        for path, site in self._sites.items():
            if request.path.startswith(path):
                return await site(request)
        if request.path == "/":
            return self._answer_root(request)
        extra = self._extras.get(request.path)
        if extra is not None:
            return await extra(request)
        return respond(404, [envelope("NAME_UNKNOWN", "no such endpoint")])

    def _answer_root(self, request: web.Request) -> web.Response:
        # Load balancers use the root as a health check; they do not ask for HTML.
        site = next(iter(self._sites), None)
        if site is None:
            return web.Response(headers={"Cache-Control": "no-cache"})
        headers = {"Cache-Control": "no-cache", "Vary": "Accept"}
        if "text/html" not in request.headers.get("Accept", ""):
            return web.Response(headers=headers)
        return web.Response(status=302, headers=headers | {"Location": site})


def _other_method(request: web.Request, resource: Resource) -> web.Response:
    headers = {"Allow": ", ".join(METHODS[resource])}
    if request.method == "OPTIONS":
        return web.Response(headers=headers)
    return respond(405, [envelope("UNSUPPORTED", "method not allowed")], headers)
