"""Read-only mode that an operator switches on at run time, for all replicas at once, with an optional duration.

The switch is one object in storage. The object contains the duration, and its modification time is the start. The
remaining time is first computed from two times of the store's clock, then measured by the monotonic clock of the
process. So a wrong clock does not end the mode early or late, and a replica that starts later computes the same end.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from math import ceil, isfinite
from typing import Final

from core.errors import ObjectNotFoundError, ObjectTooLargeError, ReadOnlyError, StorageError
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.time import store_time

_logger = logging.getLogger(__name__)

VIEW_SECONDS_MAX: Final = 3.0
"""Maximum age of a process's last read of the switch when the process accepts a change."""
REASON_LENGTH_MAX: Final = 1000
_CONTENT_BYTES_MAX: Final = 64 * 1024
_DEFAULT_REASON: Final = "the registry is temporarily read-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnly:
    """The read-only mode, with its reason and duration."""

    reason: str = _DEFAULT_REASON
    by: str = ""
    """Where the command was run; for operators."""
    seconds: float | None = None
    """Duration from the time of writing; None until the mode is switched off."""
    id: str = ""
    """Distinguishes this activation from others with the same reason."""

    def encode(self) -> bytes:
        """Return the stored form."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, content: bytes) -> "ReadOnly":
        """Parse the stored form. Other text (`echo moving > readonly`) is a reason without an end."""
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
    """Make all replicas read-only, replacing an earlier mode. Replicas follow within `VIEW_SECONDS_MAX`.

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
    """The read-only switch, as seen by one process. One per process; safe for concurrent tasks.

    Args:
        storage: the store that all replicas share.
        clock: monotonic seconds of this process.
        now: the current time; called only if the store cannot be written to and so provides no time.
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
        """The current mode, as seen by this process; None while the registry accepts writes."""
        return None if self._ends_at is not None and self._clock() >= self._ends_at else self._mode

    @property
    def is_on(self) -> bool:
        """Whether the registry is read-only, as seen by this process; for metrics and probes."""
        return self.mode is not None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the mode ends; None if it has no end, or is off."""
        return None if self.mode is None or self._ends_at is None else self._ends_at - self._clock()

    async def require_writable(self) -> None:
        """Raise if the registry is read-only. No request within `VIEW_SECONDS_MAX` of the last check.

        Raises:
            ReadOnlyError: the registry is read-only.
        """
        if self._clock() - self._looked_at > VIEW_SECONDS_MAX:
            async with self._looking:
                # Another task may have checked while this one waited.
                if self._clock() - self._looked_at > VIEW_SECONDS_MAX:
                    await self.look()
        mode = self.mode
        if mode is not None:
            left = self.seconds_left
            raise ReadOnlyError(mode.reason, retry_after=None if left is None else max(1, ceil(left)))

    async def look(self) -> None:
        """Read the switch. One request, or four if the mode was switched on since the last call.

        If the store cannot be read, the last known mode stays in force, including its end.
        """
        began_at = self._clock()
        try:
            content: bytes | None = await self._storage.read(layout.READ_ONLY, limit=_CONTENT_BYTES_MAX)
        except ObjectNotFoundError:
            content = None
        except ObjectTooLargeError:
            # Too large for a switch: read-only, with the default reason.
            content = b""
        except StorageError as error:
            _logger.warning("cannot read the read-only switch: %s", error)
            content = self._seen
        if content != self._seen:
            await self._apply(content)
        self._looked_at = began_at

    async def _apply(self, content: bytes | None) -> None:
        mode = None if content is None else ReadOnly.decode(content)
        ends_at = None
        if mode is not None and mode.seconds is not None:
            try:
                ends_at = self._clock() + mode.seconds - await self._age()
            except ObjectNotFoundError:
                # Switched off while it was read.
                mode, content = None, None
            except StorageError as error:
                _logger.warning("cannot determine the end of read-only mode: %s", error)
                # Stay read-only until the next call can determine the end.
                content = None
        if (mode is None) != (self.mode is None):
            self._log_change(mode)
        self._seen, self._mode, self._ends_at = content, mode, ends_at

    async def _age(self) -> float:
        written_at = (await self._storage.stat(layout.READ_ONLY)).modified_at
        try:
            now = await store_time(self._storage)
        except StorageError:
            # The store accepts no writes, so pushes fail anyway; the local clock only dates the message.
            now = self._now()
        return max(0.0, (now - written_at).total_seconds())

    def _log_change(self, mode: ReadOnly | None) -> None:
        if mode is None:
            _logger.info("read-only mode ended")
        else:
            _logger.warning("read-only mode began: %s", mode.reason, extra={"by": mode.by, "seconds": mode.seconds})
