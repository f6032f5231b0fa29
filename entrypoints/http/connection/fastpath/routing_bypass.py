"""Direct call of the application's only handler, without aiohttp's router.

All paths lead to one handler, which matches the path itself (`dispatch`). For each request, aiohttp would match the
path against a regular expression, unquote it again, and join route and application: 10 of the 120 µs that a manifest
takes (`tests.benchmarks`, `manifest by tag`). This module does that work once.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

RequestHandler = Callable[[Any], Awaitable[web.StreamResponse]]


def bypass_routing(app: web.Application) -> RequestHandler:
    """Return the handler for every request of a frozen application with a single route.

    Middlewares, signals and `Expect: 100-continue` work as usual; `request.match_info` contains no parts of the path.

    Raises:
        ValueError: there is more than one route.
    """
    (route,) = app.router.routes()
    match = web.UrlMappingMatchInfo({}, route)
    match.add_app(app)
    match.freeze()
    match.current_app = app
    handler: RequestHandler = route.handler
    for middleware in reversed(app.middlewares):
        handler = _step(middleware, handler)

    async def answer(request: web.Request) -> web.StreamResponse:
        # Gives the request access to the application and its signals; aiohttp sets it in `Application._handle`.
        request._match_info = match  # noqa: SLF001
        if hdrs.EXPECT in request.headers:
            response = await match.expect_handler(request)
            await request.writer.drain()
            if response is not None:
                return response
        return await handler(request)

    return answer


def _step(middleware: Middleware, handler: RequestHandler) -> RequestHandler:
    # `functools.partial` copies its keyword arguments at each call: 2 µs of a request with ten steps.
    def call(request: web.Request) -> Awaitable[web.StreamResponse]:
        return middleware(request, handler)

    return call
