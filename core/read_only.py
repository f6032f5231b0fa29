"""The read-only mode that is switched on while the registry serves, for all replicas at once, and ends by itself.

The switch is one object in storage. It says for how long it holds, and the store says when it was written: how much is
left is the difference of two times by the store's clock, and from then on is measured by the process's own monotonic
clock. So clocks that are wrong end nothing early or late, and a replica that starts later knows the end as well.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from math import ceil, isfinite
from typing import Final

from core import layout
from core.errors import ObjectNotFoundError, ObjectTooLargeError, ReadOnlyError, StorageError
from core.ports.blob_storage import BlobStorage
from core.store_time import store_time

_logger = logging.getLogger(__name__)

VIEW_SECONDS_MAX: Final = 3.0
"""How old what a process knows of the switch may be when it takes in something new."""
REASON_LENGTH_MAX: Final = 1000
_CONTENT_BYTES_MAX: Final = 64 * 1024
_DEFAULT_REASON: Final = "the registry is read-only for now"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnly:
    """The read-only mode, as it was switched on."""

    reason: str = _DEFAULT_REASON
    by: str = ""
    """Where the command was given; for people."""
    seconds: float | None = None
    """How long it holds from when it was written; None until somebody ends it."""
    id: str = ""
    """Tells this time from others with the same reason."""

    def encode(self) -> bytes:
        """Return what is stored."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, content: bytes) -> "ReadOnly":
        """Read what is stored; a text that is nothing of ours (`echo moving > readonly`) is a reason without an end."""
        text = content.decode(errors="replace").strip()
        try:
            fields = json.loads(text)
            seconds = None if fields["seconds"] is None else float(fields["seconds"])
            return cls(
                reason=str(fields["reason"])[:REASON_LENGTH_MAX],
                by=str(fields.get("by", "")),
                seconds=seconds if seconds is not None and isfinite(seconds) else None,
                id=str(fields.get("id", "")),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls(reason=text[:REASON_LENGTH_MAX] or _DEFAULT_REASON)


async def switch_on(storage: BlobStorage, mode: ReadOnly) -> None:
    """Make all replicas read-only, in place of what was said before. They follow within `VIEW_SECONDS_MAX`.

    Raises:
        StorageError: the store failed.
    """
    await storage.write(layout.READ_ONLY, mode.encode())


async def switch_off(storage: BlobStorage) -> None:
    """End the read-only mode of all replicas. Idempotent.

    Raises:
        StorageError: the store failed.
    """
    await storage.delete([layout.READ_ONLY])


class ReadOnlySwitch:
    """The switch as one process sees it; one per process, safe for any number of tasks.

    Args:
        storage: what all replicas share.
        clock: monotonic seconds of this process.
        now: tells the time; asked only where the store cannot be written to and so tells none.
    """

    def __init__(self, storage: BlobStorage, *, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self._storage = storage
        self._clock = clock
        self._now = now
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._seen: bytes | None = None
        self._mode: ReadOnly | None = None
        self._ends_at: float | None = None

    @property
    def mode(self) -> ReadOnly | None:
        """The mode in force, as far as this process knows; None while the registry may be written to."""
        return None if self._ends_at is not None and self._clock() >= self._ends_at else self._mode

    @property
    def is_on(self) -> bool:
        """Whether the registry is read-only, as far as this process knows: for metrics and probes."""
        return self.mode is not None

    @property
    def seconds_left(self) -> float | None:
        """After how many seconds the mode ends by itself; None where it does not, or is not on."""
        return None if self.mode is None or self._ends_at is None else self._ends_at - self._clock()

    async def require_writable(self) -> None:
        """Let pass what may change the registry. No request for `VIEW_SECONDS_MAX` after the last look.

        Raises:
            ReadOnlyError: the registry is read-only.
        """
        if self._clock() - self._looked_at > VIEW_SECONDS_MAX:
            async with self._looking:
                # Others may have looked while this one waited.
                if self._clock() - self._looked_at > VIEW_SECONDS_MAX:
                    await self.look()
        mode = self.mode
        if mode is not None:
            left = self.seconds_left
            raise ReadOnlyError(mode.reason, retry_after=None if left is None else max(1, ceil(left)))

    async def look(self) -> None:
        """See how the switch stands now. One request, four when it was switched on since the last look.

        Where the store cannot be read, what was known before goes on to hold, its end included.
        """
        began_at = self._clock()
        try:
            content: bytes | None = await self._storage.read(layout.READ_ONLY, limit=_CONTENT_BYTES_MAX)
        except ObjectNotFoundError:
            content = None
        except ObjectTooLargeError:
            content = b""
        except StorageError as error:
            _logger.warning("cannot see whether the registry is read-only: %s", error)
            content = self._seen
        if content != self._seen:
            await self._take_over(content)
        self._looked_at = began_at

    async def _take_over(self, content: bytes | None) -> None:
        mode = None if content is None else ReadOnly.decode(content)
        ends_at = None
        if mode is not None and mode.seconds is not None:
            try:
                ends_at = self._clock() + mode.seconds - await self._age()
            except ObjectNotFoundError:
                # Ended while we looked.
                mode, content = None, None
            except StorageError as error:
                _logger.warning("cannot see for how long the registry is read-only: %s", error)
                # Read-only until the next look can tell.
                content = None
        if (mode is None) != (self.mode is None):
            self._tell(mode)
        self._seen, self._mode, self._ends_at = content, mode, ends_at

    async def _age(self) -> float:
        written_at = (await self._storage.stat(layout.READ_ONLY)).modified_at
        try:
            now = await store_time(self._storage)
        except StorageError:
            # A store that takes no writes at all; then pushes fail anyway, and this clock only dates the message.
            now = self._now()
        return max(0.0, (now - written_at).total_seconds())

    def _tell(self, mode: ReadOnly | None) -> None:
        if mode is None:
            _logger.info("the registry takes pushes again")
        else:
            _logger.warning(
                "the registry is read-only: %s", mode.reason, extra={"by": mode.by, "seconds": mode.seconds}
            )
