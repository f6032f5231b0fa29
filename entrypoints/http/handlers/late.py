"""Handlers of lists, histories and search, which are imported with the first request for one of them."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from aiohttp import web

from core.registry.facade import Registry
from entrypoints.http.handlers.base import Handler
from entrypoints.http.routes import Resource, Target
from entrypoints.http.urls import UrlBuilder

if TYPE_CHECKING:
    from entrypoints.http.handlers.details import DetailHandlers
    from entrypoints.http.handlers.search import SearchHandlers
    from entrypoints.http.handlers.tag_history import TagHistoryHandlers


def list_handlers(registry: Registry, urls: UrlBuilder) -> Mapping[tuple[Resource, str], Handler]:
    """Return the handlers; the modules of a server that nobody asks for lists stay out."""

    @cache
    def history() -> "TagHistoryHandlers":
        from entrypoints.http.handlers.tag_history import TagHistoryHandlers  # noqa: PLC0415

        return TagHistoryHandlers(registry, urls=urls)

    @cache
    def details() -> "DetailHandlers":
        from entrypoints.http.handlers.details import DetailHandlers  # noqa: PLC0415

        return DetailHandlers(registry, urls=urls)

    @cache
    def search() -> "SearchHandlers":
        from entrypoints.http.handlers.search import SearchHandlers  # noqa: PLC0415

        return SearchHandlers(registry, urls=urls)

    return {
        (Resource.TAG_HISTORY, "GET"): _late(lambda: history().get),
        (Resource.REPOSITORY_DETAILS, "GET"): _late(lambda: details().repositories),
        (Resource.TAG_DETAILS, "GET"): _late(lambda: details().tags),
        (Resource.EXTENSIONS, "GET"): _late(lambda: details().extensions),
        (Resource.REPOSITORY_EXTENSIONS, "GET"): _late(lambda: details().extensions),
        (Resource.SEARCH, "GET"): _late(lambda: search().search),
        (Resource.V1_SEARCH, "GET"): _late(lambda: search().search_v1),
        (Resource.V1_PING, "GET"): _late(lambda: search().ping_v1),
    }


def _late(find: Callable[[], Handler]) -> Handler:
    async def handle(request: web.Request, target: Target) -> web.StreamResponse:
        return await find()(request, target)

    return handle
