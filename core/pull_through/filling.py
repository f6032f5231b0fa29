"""Filling of a spooled blob from its upstream, over several connections if they break."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from core.concurrency import closing
from core.content_source import Offload
from core.errors import (
    RangeInvalidError,
    UpstreamAbsentError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from core.model.digest import Digest, HasherFactory
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobReader
from core.ports.spool import Spool, SpooledBlob, SpoolState
from core.pull_through.failures import UnusableContentError
from core.pull_through.origins import Origin
from core.pull_through.storing import FetchedBlobStore
from core.store.hashing import feed

_logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 300.0
"""How long a fetch waits for the next bytes of the upstream."""
RESUMES_MAX: Final = 5
"""Number of breaks in succession, with little progress between them, after which a fetch gives up."""
PROGRESS_BYTES: Final = 4 * 1024 * 1024
"""A connection that brought this many bytes made progress."""
BACK_OFF_SECONDS: Final = 0.2
"""Pause after the first break; doubled after each further one."""
_HASHED_BYTES: Final = 1024 * 1024
"""Size of the pieces in which the bytes of an earlier fetch are hashed again."""

T = TypeVar("T")


class FetchEvent(StrEnum):
    """An event of a fetch. The values are the labels of metrics."""

    BEGUN = "begun"
    TAKEN_OVER = "taken_over"
    """The fetch continues from bytes that another process, or an earlier fetch, left."""
    RESUMED = "resumed"
    """The connection broke, and the fetch asked for the rest."""
    STORED = "stored"
    NOT_STORED = "not_stored"
    """The clients got the blob, but the store refused it."""
    MISMATCHED = "mismatched"
    """The content does not match the digest."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The process ends; another one may continue."""


Observe = Callable[[FetchEvent, str, int], None]
"""Called with an event, the name of the upstream, and the number of bytes that the upstream sent for this event."""


@dataclass(frozen=True, kw_only=True)
class FetchTools:
    """The objects that all fetches of a process use.

    Args:
        spool: the growing blobs.
        store: stores verified blobs.
        new_hasher: creates hashers.
        offload: runs hashing off the event loop.
        sleep: suspends the task for the given number of seconds.
        observe: called at each event.
        idle_seconds: how long a fetch waits for the next bytes of the upstream; None means without limit.
    """

    spool: Spool
    store: FetchedBlobStore
    new_hasher: HasherFactory
    offload: Offload
    sleep: Callable[[float], Awaitable[None]]
    observe: Observe
    idle_seconds: float | None = IDLE_SECONDS


class Filling:
    """Brings all bytes of a blob to the spool, for the process that leads; used once.

    Args:
        tools: shared objects.
        blob: the spooled blob; this process leads.
        digest: the blob.
        name: the cached repository for which the upstream is asked.
        origin: its origin.
        on_answer: called each time the upstream has answered, with the size of the blob.
        on_progress: called after each piece.
    """

    def __init__(
        self,
        tools: FetchTools,
        blob: SpooledBlob,
        digest: Digest,
        *,
        name: RepositoryName,
        origin: Origin,
        on_answer: Callable[[int], None],
        on_progress: Callable[[], None],
    ) -> None:
        self._tools = tools
        self._blob = blob
        self._digest = digest
        self._name = name
        self._origin = origin
        self._on_answer = on_answer
        self._on_progress = on_progress
        self._hasher = tools.new_hasher(digest.algorithm, None)
        self._has_begun = False
        self._received = 0

    async def fill(self) -> None:
        """Fill the blob, and verify it.

        Raises:
            UpstreamError: the upstream failed, and the fetch could not be resumed.
            UnusableContentError: the content does not match the digest.
            StorageUnavailableError: the spool failed or is full.
        """
        if self._blob.state.filled:
            self.observe(FetchEvent.TAKEN_OVER)
            await self._hash_again()
        else:
            self.observe(FetchEvent.BEGUN)
        breaks = 0
        while not _is_complete(state := self._blob.state):
            try:
                await self._receive(state)
            except UpstreamError as error:
                breaks = 1 if self._blob.state.filled - state.filled >= PROGRESS_BYTES else breaks + 1
                if not self._has_begun or breaks > RESUMES_MAX or _is_final(error):
                    raise
                _logger.warning("upstream broke a blob off, resuming: %s", error, extra={"digest": self._digest})
                self.observe(FetchEvent.RESUMED)
                await self._tools.sleep(BACK_OFF_SECONDS * 2 ** (breaks - 1))
        if self._hasher.digest() != self._digest:
            self.observe(FetchEvent.MISMATCHED)
            raise UnusableContentError(f"{self._origin.upstream.name} sent content that does not match {self._digest}")

    def observe(self, event: FetchEvent) -> None:
        """Report an event, with the bytes that came since the last one."""
        received, self._received = self._received, 0
        self._tools.observe(event, self._origin.upstream.name, received)

    async def _hash_again(self) -> None:
        position = 0
        while piece := await self._blob.read(position, _HASHED_BYTES):
            await feed(self._hasher, piece, self._tools.offload)
            position += len(piece)

    async def _receive(self, state: SpoolState) -> None:
        async with AsyncExitStack() as stack:
            reader = await self._open_upstream(stack, state)
            await self._blob.mark(self._name)
            await self._blob.begin(reader.size)
            self._has_begun = True
            self._on_answer(reader.size)
            await self._append_all(reader, state.filled)

    async def _open_upstream(self, stack: AsyncExitStack, state: SpoolState) -> BlobReader:
        origin = self._origin
        opening = origin.upstream.open_blob(origin.name, self._digest, offset=state.filled)
        try:
            reader = await self._in_time(stack.enter_async_context(opening))
        except RangeInvalidError as error:
            raise UnusableContentError(
                f"{origin.upstream.name} has only {error.size} bytes of {self._digest}"
            ) from None
        if state.size not in {None, reader.size}:
            raise UnusableContentError(f"{origin.upstream.name} changed the size of {self._digest}")
        return reader

    async def _append_all(self, reader: BlobReader, position: int) -> None:
        async with closing(aiter(reader)) as pieces:
            while (piece := await self._in_time(anext(pieces, None))) is not None:
                position += len(piece)
                self._received += len(piece)
                if position > reader.size:
                    raise UnusableContentError(f"{self._origin.upstream.name} sent too many bytes of {self._digest}")
                await self._append(piece)
                self._on_progress()
        if position < reader.size:
            raise UpstreamUnavailableError(f"{self._origin.upstream.name} sent too few bytes of {self._digest}")

    async def _append(self, piece: bytes) -> None:
        """Append and hash a piece at the same time."""
        hashing = asyncio.ensure_future(feed(self._hasher, piece, self._tools.offload))
        try:
            await self._blob.append(piece)
        finally:
            await hashing

    async def _in_time(self, step: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._tools.idle_seconds):
                return await step
        except TimeoutError:
            raise UpstreamTimeoutError(f"{self._origin.upstream.name} sent nothing for too long") from None


def _is_complete(state: SpoolState) -> bool:
    return state.size is not None and state.filled >= state.size


def _is_final(error: UpstreamError) -> bool:
    return isinstance(error, (UpstreamAbsentError, UpstreamBusyError, UnusableContentError))
