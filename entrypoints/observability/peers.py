"""Access from one worker of a server to the others, through a private socket per worker.

All workers share the debug address, and the kernel may give a connection to any of them. The worker that accepts a
connection therefore forwards the request to the requested worker.
"""

import asyncio
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector, web

from entrypoints.observability.profiling import SECONDS_MAX
from entrypoints.observability.runtime_folder import RuntimeFolder
from entrypoints.observability.stacks import dump_stuck

CONNECT_SECONDS: Final = 2.0
"""Timeout for answers that a worker can give immediately."""


class WorkerSilentError(Exception):
    """The requested worker does not answer or does not exist."""


class Peers:
    """Client for the workers of this server; one per process."""

    def __init__(self, folder: RuntimeFolder, count: int) -> None:
        self._folder = folder
        self._count = count

    @property
    def numbers(self) -> range:
        """Numbers of all workers."""
        return range(self._count)

    async def profile(self, worker: int, query: str, seconds: float) -> web.Response:
        """Request a profile from a worker.

        Raises:
            WorkerSilentError: the worker does not answer.
        """
        return await self._ask(worker, f"/profile?{query}", min(seconds, SECONDS_MAX) + CONNECT_SECONDS)

    async def stacks(self, worker: int) -> str:
        """Return the stacks of a worker's tasks and threads; threads only, if its event loop is stuck."""
        try:
            response = await self._ask(worker, "/stacks", CONNECT_SECONDS)
        except WorkerSilentError:
            path, file = self._folder.socket_of(worker), self._folder.stacks_of(worker)
            try:
                return await asyncio.to_thread(dump_stuck, path, file)
            except OSError as error:
                return f"worker {worker} cannot be reached: {error.strerror}\n"
        return response.text or ""

    async def _ask(self, worker: int, path: str, timeout_seconds: float) -> web.Response:
        connector = UnixConnector(str(self._folder.socket_of(worker)))
        timeout = ClientTimeout(total=timeout_seconds)
        try:
            async with (
                ClientSession(connector=connector, timeout=timeout) as session,
                session.get(f"http://worker{path}", allow_redirects=False) as answer,
            ):
                body = await answer.read()
        except (ClientError, TimeoutError, OSError) as error:
            raise WorkerSilentError(f"worker {worker} does not respond") from error
        return web.Response(status=answer.status, body=body, content_type=answer.content_type)
