"""Turns of the worker processes of one machine: one asks an upstream, the others wait for its answer.

A turn is a blob in the spool that stays empty: its leader has the turn. The others then find the answer in the store,
or receive the leader's failure. Turns save questions, and are not needed for correctness: without the spool, each
process asks for itself.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from core.errors import StorageUnavailableError, UpstreamError
from core.model.digest import Digest
from core.model.names import Reference, RepositoryName
from core.ports.spool import Spool, SpooledBlob
from core.pull_through.failures import error_of, failure_of

_logger = logging.getLogger(__name__)

_TURNS_MAX: Final = 64
"""Turns that one process has or waits for. Each takes a handle of the spool, which blobs need too."""


class Turn:
    """One turn of this process."""

    def __init__(self) -> None:
        self.has_waited = False
        """Whether another process had the turn before, so that the answer may be in the store."""
        self.failure: UpstreamError | None = None
        """The failure of the process that this one waited for."""
        self.own_failure: Exception | None = None
        """The failure that this process leaves to those that wait."""


class Turns:
    """Takes turns on one machine; one per process, safe for concurrent tasks.

    Args:
        spool: shared by the processes; None if this is the only one.
        turns_max: number of turns at a time; beyond it, this process asks without a turn.
    """

    def __init__(self, spool: Spool | None, *, turns_max: int = _TURNS_MAX) -> None:
        self._spool = spool
        self._turns_max = turns_max
        self._taken = 0

    @asynccontextmanager
    async def take(self, name: RepositoryName, reference: Reference) -> AsyncIterator[Turn]:
        """Wait until no other process asks for this tag or digest; the others wait until the end of the block."""
        turn = Turn()
        if self._spool is None or self._taken >= self._turns_max:
            yield turn
            return
        self._taken += 1
        try:
            handle = await self._lead(self._spool, Digest.of(f"turn {name} {reference}".encode()), turn)
            try:
                yield turn
            finally:
                if handle is not None:
                    await self._end(handle, name, turn)
        finally:
            self._taken -= 1

    async def _lead(self, spool: Spool, key: Digest, turn: Turn) -> SpooledBlob | None:
        try:
            while turn.failure is None:
                handle = await spool.open(key)
                try:
                    if await self._wait(handle, turn) and not await handle.is_removed():
                        return handle
                except BaseException:
                    handle.close()
                    raise
                handle.close()
        except StorageUnavailableError as error:
            _logger.info("no turn in the spool, asking without one: %s", error)
        return None

    async def _wait(self, handle: SpooledBlob, turn: Turn) -> bool:
        """Wait for the turn. Return False if the process that had it failed."""
        while True:
            if turn.has_waited and handle.state.failure is not None:
                error = error_of(handle.state.failure)
                if isinstance(error, UpstreamError):  # other errors do not come from the upstream
                    turn.failure = error
                    return False
            if await handle.lead():
                return True
            turn.has_waited = True
            await handle.wait(handle.state)

    async def _end(self, handle: SpooledBlob, name: RepositoryName, turn: Turn) -> None:
        try:
            if turn.own_failure is not None:
                await handle.fail(failure_of(turn.own_failure, name))
            await handle.remove()
        except StorageUnavailableError as error:
            _logger.warning("a turn remains in the spool: %s", error)
        finally:
            handle.close()
