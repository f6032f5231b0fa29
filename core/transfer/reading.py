"""Reads from a registry over an unreliable network: calls are repeated, and a blob continues where the data ended."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

from core.coordination.budget import Budget
from core.errors import SizeMismatchError, UpstreamAbsentError, UpstreamBusyError, UpstreamError
from core.model.descriptor import Descriptor
from core.ports.upstream import Upstream
from core.transfer.tally import Tally

T = TypeVar("T")

PAUSES_SECONDS: Final = (1.0, 5.0, 25.0)
"""Pauses before a call is repeated. For a blob, they start again with each byte received."""
BUSY_SECONDS_MAX: Final = 120
"""The longest time that the copy waits because a registry asks to. If it asks for more, the copy fails."""


class Patience:
    """Repeats what fails for a reason that may pass.

    Args:
        sleep: suspends for a number of seconds.
        budget: limits the calls per second.
    """

    def __init__(self, sleep: Callable[[float], Awaitable[None]], budget: Budget) -> None:
        self._sleep = sleep
        self._budget = budget

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return the result of a call, repeated while it raises an `UpstreamError` that may pass."""
        failures = 0
        while True:
            await self._budget.take()
            try:
                return await call()
            except UpstreamError as error:
                failures += 1
                await self.wait(error, failures)

    async def wait(self, error: UpstreamError, failures: int) -> None:
        """Wait before the next attempt, after this number of failures in a row; raise the error instead of the last."""
        seconds: float = PAUSES_SECONDS[failures - 1] if failures <= len(PAUSES_SECONDS) else -1
        if isinstance(error, UpstreamBusyError):
            seconds = max(seconds, error.retry_after) if seconds >= 0 and error.retry_after <= BUSY_SECONDS_MAX else -1
        if seconds < 0 or isinstance(error, UpstreamAbsentError):
            raise error
        await self._sleep(seconds)


class BlobReading:
    """Reads one blob of a registry.

    Args:
        source: the registry.
        origin: the repository there.
        blob: the blob, with the size that its manifest states.
        patience: repeats the request when the connection breaks.
        budget: limits the bytes per second.
        tally: counts the bytes.
    """

    def __init__(
        self, source: Upstream, origin: str, blob: Descriptor, *, patience: Patience, budget: Budget, tally: Tally
    ) -> None:
        self._source = source
        self._origin = origin
        self._blob = blob
        self._patience = patience
        self._budget = budget
        self._tally = tally

    async def pieces(self, offset: int) -> AsyncIterator[bytes]:
        """Yield the bytes from an offset to the end, over as many connections as it takes.

        Raises:
            SizeMismatchError: the registry has another number of bytes than the manifest states.
            UpstreamError: the registry kept failing without sending a byte.
        """
        failures = 0
        while offset < self._blob.size:
            try:
                async with self._source.open_blob(self._origin, self._blob.digest, offset=offset) as reader:
                    self._require_size(reader.size)
                    async for piece in reader:
                        await self._budget.take(requests=0, size=len(piece))
                        self._tally.add(bytes_sent=len(piece))
                        offset += len(piece)
                        failures = 0
                        yield piece
                    # A reader never ends early.
                    return
            except UpstreamError as error:
                failures += 1
                await self._patience.wait(error, failures)

    def _require_size(self, size: int) -> None:
        if size != self._blob.size:
            raise SizeMismatchError(
                f"{self._blob.digest} has {size} bytes at {self._source.name}; its manifest states {self._blob.size}"
            )
