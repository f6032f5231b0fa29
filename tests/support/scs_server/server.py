"""SCS endpoint in this process: as strict as SCS, with counters, a log, and faults on demand."""

import asyncio
import tempfile
import weakref
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiohttp import web
from typing_extensions import override

from tests.support.scs_server import answers
from tests.support.scs_server.errors import Refusal
from tests.support.scs_server.faults import Fault, Faults
from tests.support.scs_server.operations import Operations
from tests.support.scs_server.requests import ScsRequest, refuse_what_scs_does_not_know, understand
from tests.support.scs_server.signature import verify
from tests.support.scs_server.store import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable

_ERRORS = {
    Fault.ERROR_500: Refusal(500, "InternalError", "injected"),
    Fault.ERROR_503: Refusal(503, "SlowDown", "injected"),
}


class Rename(Enum):
    """Behavior of the store on a rename."""

    MOVES = "it gives the object the new key"
    WRITES = "as any store that does not know it: it writes nothing at the old key"
    IGNORES = "it answers 200 and does nothing"
    REFUSES = "it says that it does not know it"


@dataclass(frozen=True)
class LogEntry:
    """One request and its outcome."""

    operation: str
    method: str
    target: str
    status: int
    """Status of the response; 0 if the connection was cut."""

    @override
    def __str__(self) -> str:
        return f"{self.operation:16} {self.status:3} {self.method} {self.target}"


class FakeScsServer:
    """SCS on the loopback interface, by default on a free port; use it as an async context manager.

    Args:
        buckets: names of the existing buckets.
        keys: secret keys by access key.
        faults: faults of requests.
        folder: folder for contents above 1 MiB; a temporary one by default.
        port: port to listen on.
    """

    def __init__(
        self,
        *,
        buckets: tuple[str, ...] = ("images",),
        keys: dict[str, str] | None = None,
        faults: Faults | None = None,
        folder: Path | None = None,
        port: int = 0,
    ) -> None:
        self.buckets = {name: Bucket() for name in buckets}
        self.keys = keys or {"AKTEST": "SKTEST"}
        self.faults = faults or Faults()
        self.log: list[LogEntry] = []
        self.redirect_to: str | None = None
        """If set, each request is redirected there with 307 instead of being served."""
        self.rename = Rename.MOVES
        self.lists_uploads = True
        """Whether `?uploads` of a bucket is accepted; the protocol does not mention it."""
        self.undeletable: set[str] = set()
        self.flaky: set[str] = set()
        """Keys that the next batch deletion answers with a transient error."""
        self.reported_absent: set[str] = set()
        """Keys that a batch deletion reports as absent, as versitygw does if two deletions of a key meet."""
        self.on_log: Callable[[LogEntry], None] | None = None
        self._port = port
        self._folder = folder
        self._stack = AsyncExitStack()
        self._connections: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()
        self.connections = 0
        """Number of connections that clients have opened so far."""
        self.url = ""

    async def __aenter__(self) -> Self:
        folder = self._folder or Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="scs-")))
        self._operations = Operations(self, folder)
        # The contents hold files in the folder.
        self._stack.callback(self.buckets.clear)
        runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=1)
        self._stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def counts(self) -> Counter[str]:
        """Number of requests by operation, including refused ones."""
        return Counter(entry.operation for entry in self.log)

    def objects(self, bucket: str = "images") -> list[str]:
        """Return the keys of the stored objects."""
        return sorted(self.buckets[bucket].objects)

    def leftovers(self, bucket: str = "images") -> list[str]:
        """Return everything that takes up space: objects and open uploads."""
        uploads = self.buckets[bucket].uploads.values()
        return self.objects(bucket) + [f"upload of {upload.key}" for upload in uploads]

    def content(self, key: str, bucket: str = "images") -> bytes:
        """Return an object's bytes."""
        stored = self.buckets[bucket].get(key)
        return b"".join(stored.pieces(0, stored.size))

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self._count_connection(request)
        operation = "refused"
        try:
            asked = understand(request)
            operation = asked.operation
            refuse_what_scs_does_not_know(asked)
            verify(asked.method, asked.target, asked.headers, self.keys)
            response = await self._with_fault(asked, request)
        except Refusal as refusal:
            response = answers.refused(refusal, without_body=request.method == "HEAD")
        except ConnectionError:
            # The client disconnected during the request; otherwise aiohttp would log a server error.
            response = web.Response()
        cut = request.transport is None or request.transport.is_closing()
        self._write_log(operation, request, 0 if cut else response.status)
        return response

    def _count_connection(self, request: web.BaseRequest) -> None:
        if request.transport is not None and request.transport not in self._connections:
            self._connections.add(request.transport)
            self.connections += 1

    def _write_log(self, operation: str, request: web.BaseRequest, status: int) -> None:
        entry = LogEntry(operation, request.method, request.raw_path, status)
        self.log.append(entry)
        if self.on_log is not None:
            self.on_log(entry)

    async def _with_fault(self, asked: ScsRequest, request: web.BaseRequest) -> web.StreamResponse:
        if self.redirect_to is not None:
            location = self.redirect_to + asked.target
            return web.Response(status=307, headers={"Location": location})
        if asked.bucket not in self.buckets:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist.")
        fault = self.faults.draw(asked.operation)
        if fault in _ERRORS:
            async for _ in request.content.iter_any():
                pass  # Read the body, as a server does that answers after it.
            raise _ERRORS[fault]
        if fault is Fault.RESET_BEFORE:
            return _cut(request)
        if fault is Fault.SLOW:
            await asyncio.sleep(self.faults.slow_seconds)
        response = await self._operations.serve(asked, request, cut_body=fault is Fault.CUT_BODY)
        return _cut(request) if fault is Fault.RESET_AFTER else response


def _cut(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
