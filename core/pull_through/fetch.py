"""One blob on its way from an upstream, as one process sees it.

In the process that leads, the fetch asks the upstream, appends to the spool, verifies, and stores. In other processes
it follows the spool, and takes over if the leading process ends.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

from core.errors import StorageError, StorageFullError, StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.spool import Spool, SpooledBlob, SpoolPhase, SpoolState
from core.pull_through.failures import UnusableContentError, error_of, failure_of
from core.pull_through.filling import FetchEvent, FetchTools, Filling
from core.pull_through.origins import Origin

_logger = logging.getLogger(__name__)

PIECE_BYTES: Final = 128 * 1024
"""Size of the pieces that are read from the spool: the memory of one client."""
WITHHELD_BYTES: Final = 64 * 1024
"""Size of the last piece of each response, which clients get when the whole blob is verified."""
_STORED_BYTES: Final = 1024 * 1024
"""Size of the pieces in which the store gets the blob."""


class ContentStoredError(Exception):
    """The store has the blob already; it is not a failure, and never leaves the cache."""


class Fetch:
    """The fetch of one blob in one process; belongs to one event loop.

    Args:
        tools: shared objects.
        name: the cached repository of the first client.
        origin: the origin of this repository.
        digest: the blob.
    """

    def __init__(self, tools: FetchTools, name: RepositoryName, origin: Origin, digest: Digest) -> None:
        self.digest = digest
        self.readers = 0
        """Number of clients of this process; counted by the owner."""
        self.proving = asyncio.Lock()
        """Held while the upstream is asked whether another repository has the blob."""
        self.is_over = False
        """Whether the task has ended; set by the owner."""
        self.has_led = False
        self.is_leading = False
        """Whether this process asks the upstream; such a fetch goes on without clients."""
        self._tools = tools
        self._name = name
        self._origin = origin
        self._names: set[RepositoryName] = set()
        self._blob: SpooledBlob | None = None
        self._error: Exception | None = None
        self._failed_for: str = name
        self._asks_first = True
        self._verified = asyncio.Event()
        self._storing: asyncio.Task[bool] | None = None
        self._changed = asyncio.Event()

    @property
    def failed_for(self) -> str:
        """The repository for which the upstream was asked when the fetch failed."""
        return self._failed_for

    def wake(self) -> None:
        """Wake all readers of this process."""
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Close the handle of the spool. Idempotent; `run` must have ended."""
        if self._blob is not None:
            self._blob.close()

    # Readers.

    async def started(self, name: RepositoryName) -> int:
        """Wait until the upstream has answered; return the size of the blob.

        Raises:
            ContentStoredError: the store has the blob.
            UpstreamError: the upstream failed.
            StorageUnavailableError: the spool failed.
        """
        while (size := self._size_for(name)) is None:
            await self.progress()
        return size

    async def progress(self) -> None:
        """Wait for a change.

        Raises:
            the errors of `started`.
        """
        if self._error is not None:
            raise self._error
        await self._changed.wait()

    def available(self, end: int) -> int:
        """Return the position up to which a reader that ends at `end` may read now."""
        state = self._state
        return end if state.phase is SpoolPhase.VERIFIED else min(state.filled, end - WITHHELD_BYTES)

    async def read(self, offset: int, length: int) -> bytes:
        """Return at most `length` bytes, which must be available, from `offset`.

        Raises:
            StorageUnavailableError: the spool failed.
        """
        piece = await self._spooled.read(offset, min(length, PIECE_BYTES))
        if not piece:
            raise StorageUnavailableError(f"the spool lost bytes of {self.digest}")
        return piece

    async def is_served_to(self, name: RepositoryName) -> bool:
        """Whether the upstream served the blob, or a byte of it, for this cached repository."""
        return name in self._names or await self._spooled.is_marked(name)

    async def add(self, name: RepositoryName) -> None:
        """Record that the blob belongs to another cached repository too."""
        self._names.add(name)
        await self._spooled.mark(name)

    # The task.

    async def run(self) -> None:
        """Bring the blob to the spool and the store, or follow the process that does.

        Every failure becomes that of the readers; only a cancellation is raised.
        """
        try:
            await self._run()
            self._asks_first = False
        except asyncio.CancelledError:
            self._error = StorageUnavailableError("the registry stops")
            raise
        except Exception as error:
            self._error = error
            if not isinstance(error, (StorageError, ContentStoredError)):
                _logger.exception("fetch failed", extra={"digest": self.digest})

    async def _run(self) -> None:
        self._blob = blob = await _open(self._tools.spool, self.digest)
        has_joined = False
        while (state := blob.state).phase is not SpoolPhase.VERIFIED:
            if state.phase is SpoolPhase.STORED:
                raise ContentStoredError
            if state.failure is not None and has_joined:
                self._failed_for = state.failure.name
                raise error_of(state.failure)
            has_joined |= state.phase is SpoolPhase.FILLING
            self._asks_first = await blob.lead()
            if self._asks_first:
                await self._lead(blob)
                return
            self.wake()
            await blob.wait(state)

    async def _lead(self, blob: SpooledBlob) -> None:
        self.is_leading = self.has_led = True
        try:
            phase = blob.state.phase
            if phase is SpoolPhase.STORED:
                raise ContentStoredError
            if phase is SpoolPhase.FILLING:
                await self._fill_and_store(blob)
        except StorageError as error:
            await self._give_up(blob, error)
            raise
        finally:
            await self._stop_storing()
            await blob.release()
            self.is_leading = False

    async def _fill_and_store(self, blob: SpooledBlob) -> None:
        if await self._tools.store.size(self.digest) is not None:
            await blob.finish(SpoolPhase.STORED)
            await blob.remove()
            raise ContentStoredError
        filling = Filling(
            self._tools,
            blob,
            self.digest,
            name=self._name,
            origin=self._origin,
            on_answer=self._take_answer,
            on_progress=self.wake,
        )
        try:
            await filling.fill()
        except StorageError:
            filling.observe(FetchEvent.FAILED)
            raise
        except asyncio.CancelledError:
            filling.observe(FetchEvent.INTERRUPTED)
            raise
        # If an earlier fetch left all bytes, the upstream was not asked, and each client's repository must be proven.
        self._asks_first = False
        self.wake()
        self._storing = self._begin_storing(blob.state.filled)
        self._verified.set()
        filling.observe(await _outcome(self._storing, self.digest))
        await blob.finish(SpoolPhase.VERIFIED)
        self.wake()
        await blob.remove()

    def _take_answer(self, size: int) -> None:
        """Let the readers begin, and store the blob beside them."""
        self._names.add(self._name)
        self._asks_first = False
        self.wake()
        self._storing = self._begin_storing(size)

    def _begin_storing(self, size: int) -> asyncio.Task[bool]:
        if self._storing is not None:
            return self._storing
        pieces = self._all_pieces(size)
        return asyncio.create_task(
            self._tools.store.store(
                self.digest, size, pieces, stage=self._name, names=self._names, verified=self._verified
            )
        )

    async def _all_pieces(self, size: int) -> AsyncIterator[bytes]:
        position = 0
        while position < size:
            if piece := await self._spooled.read(position, _STORED_BYTES):
                position += len(piece)
                yield piece
            else:
                await self._changed.wait()

    async def _stop_storing(self) -> None:
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.wait([self._storing])
            if not self._storing.cancelled():
                # Retrieve the exception to avoid a warning; the fetch failed for another reason, or has logged it.
                self._storing.exception()

    async def _give_up(self, blob: SpooledBlob, error: StorageError) -> None:
        await blob.fail(failure_of(error, self._name))
        if isinstance(error, (UnusableContentError, StorageFullError)):
            await blob.remove()

    def _size_for(self, name: RepositoryName) -> int | None:
        # The upstream's answer for the first client's repository is about to come.
        if self._error is not None or (self._asks_first and name == self._name):
            return None
        return self._state.size

    @property
    def _state(self) -> SpoolState:
        return SpoolState() if self._blob is None else self._blob.state

    @property
    def _spooled(self) -> SpooledBlob:
        if self._blob is None:
            raise RuntimeError("the fetch has not started")
        return self._blob


async def _open(spool: Spool, digest: Digest) -> SpooledBlob:
    """Open a blob that other processes find too, unless it is complete."""
    while True:
        blob = await spool.open(digest)
        try:
            is_leading = await blob.lead()
            if not is_leading or blob.state.phase is not SpoolPhase.FILLING or not await blob.is_removed():
                return blob
        except BaseException:
            blob.close()
            raise
        blob.close()


async def _outcome(storing: asyncio.Task[bool], digest: Digest) -> FetchEvent:
    try:
        return FetchEvent.STORED if await storing else FetchEvent.NOT_STORED
    except StorageError as error:
        _logger.error("fetched blob not stored: %s", error, extra={"digest": digest})  # noqa: TRY400 - expected
        return FetchEvent.NOT_STORED
