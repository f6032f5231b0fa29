"""A registry with an upstream, joined by the container and served in the test's process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientSession
from pytest_aiohttp import AiohttpServer

from adapters.upstream.options import UpstreamOptions
from config.container import Observers, ServerApplication, build_server, build_server_parts, utc_now
from config.settings import Settings
from entrypoints.http.app import create_app
from entrypoints.http.operations import operations_of
from entrypoints.opening import opened
from tests.support.upstream_server import UpstreamServer


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedApplication:
    """An application that is served, and a client of it."""

    session: ClientSession
    root: str
    """The URL of the server, without a slash at the end."""
    application: ServerApplication


def docker_io(upstream: UpstreamServer) -> UpstreamOptions:
    """Return the options of a registry that caches the upstream below `docker.io`."""
    return UpstreamOptions(prefix="docker.io", urls=(upstream.url,))


@asynccontextmanager
async def served_application(settings: Settings, aiohttp_server: AiohttpServer) -> AsyncIterator[ServedApplication]:
    """Serve the application of these settings until the block ends."""
    application = build_server(build_server_parts(settings), Observers())
    app = create_app(
        application.registry,
        settings,
        authenticator=application.authenticator,
        policy=application.policy,
        upload_secret=application.upload_secret,
        now=utc_now,
        audit_log=application.audit_log,
        operations=operations_of(application),
        lifetimes=[opened(application)],
        origins=application.origins,
    )
    server = await aiohttp_server(app, auto_decompress=False)
    async with ClientSession(auto_decompress=False) as session:
        root = str(server.make_url("/")).rstrip("/")
        yield ServedApplication(session=session, root=root, application=application)
    await server.close()
