"""The workers of one server, as each of them reaches the others: a private socket each.

The debug address belongs to all of them, and the kernel gives a connection to any; so whoever gets it asks the worker
that is meant.
"""

import asyncio
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector, web

from entrypoints.observability.profiling import SECONDS_MAX
from entrypoints.observability.runtime_folder import RuntimeFolder
from entrypoints.observability.stacks import dump_stuck

CONNECT_SECONDS: Final = 2.0
"""How long a worker may take to begin an answer that it can give at once."""


class WorkerSilentError(Exception):
    """The worker that is meant does not answer, or does not exist."""


class Peers:
    """Asks workers; one per process."""

    def __init__(self, folder: RuntimeFolder, count: int) -> None:
        self._folder = folder
        self._count = count

    @property
    def numbers(self) -> range:
        """The numbers of all workers."""
        return range(self._count)

    async def profile(self, worker: int, query: str, seconds: float) -> web.Response:
        """Have a worker take a profile of itself.

        Raises:
            WorkerSilentError: it does not answer.
        """
        return await self._ask(worker, f"/profile?{query}", min(seconds, SECONDS_MAX) + CONNECT_SECONDS)

    async def stacks(self, worker: int) -> str:
        """Return where a worker's tasks and threads are, or its threads alone when its event loop is stuck."""
        try:
            response = await self._ask(worker, "/stacks", CONNECT_SECONDS)
        except WorkerSilentError:
            path, file = self._folder.socket_of(worker), self._folder.stacks_of(worker)
            try:
                return await asyncio.to_thread(dump_stuck, path, file)
            except OSError as error:
                return f"worker {worker} is not there: {error.strerror}\n"
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
            raise WorkerSilentError(f"worker {worker} does not answer") from error
        return web.Response(status=answer.status, body=body, content_type=answer.content_type)
