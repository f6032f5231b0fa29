"""From the connection to the one handler of the application, without aiohttp's router.

All paths lead to one handler, which finds its way itself (`dispatch`). aiohttp would match the path against a regular
expression, unquote it once more, and join route and application anew for each request: 10 of the 120 µs that a manifest
takes (`tests.benchmarks`, `manifest by tag`). Here that is done once.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import hdrs, web

RequestHandler = Callable[[Any], Awaitable[web.StreamResponse]]


def shortcut(app: web.Application) -> RequestHandler:
    """Return what answers every request of an application that is frozen, and has a single route.

    Middlewares, signals and `Expect: 100-continue` work as usual; `request.match_info` holds no parts of the path.

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
        handler = partial(middleware, handler=handler)

    async def answer(request: web.Request) -> web.StreamResponse:
        # Where the request finds the application, and so its signals; aiohttp sets it in `Application._handle`.
        request._match_info = match  # noqa: SLF001
        if hdrs.EXPECT in request.headers:
            response = await match.expect_handler(request)
            await request.writer.drain()
            if response is not None:
                return response
        return await handler(request)

    return answer
