"""Runner of the application on guarded connections."""

from aiohttp import web
from typing_extensions import override

from entrypoints.http.connection.accepting import BeginTls
from entrypoints.http.connection.fastpath.protocol import GuardedServer
from entrypoints.http.connection.plain import PlainRunner
from entrypoints.http.connection.tls_transport import begin_lendable_tls


class GuardedRunner(PlainRunner):
    """Runs the application on guarded connections."""

    begin_tls: BeginTls = staticmethod(begin_lendable_tls)

    @override
    def new_connection(self) -> web.RequestHandler:
        # The protocol itself refuses connections above the limit, which is exact.
        server = self.running_server()
        return server()

    @override
    def close_idle(self) -> int:
        return self.server.close_idle() if isinstance(self.server, GuardedServer) else 0

    @override
    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return GuardedServer(server, self.app, self.limits, **server._kwargs)  # noqa: SLF001 - not public in aiohttp
