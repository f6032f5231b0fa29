"""The store's clock, watched: time that it jumped over makes nothing old.

A machine whose clock is wrong, and with it the folder that it keeps, may jump ahead by a year. Everything looks old
then: the layers of a push under way, the upload itself, and what came into the trash a minute ago. So the store keeps
when it was last looked at, and which stretches of time are in doubt:

- A process that looked before compares how far the store's clock and its own monotonic one went: what the former is
  ahead is a gap, whatever its length beyond the tolerance.
- Where no process lived from one look to the next, a stretch that is too long to be plausible is a gap. A registry that
  was switched off for so long keeps things longer than it had to.

A clock that is put back is believed: nothing gets older by it, and gaps that then lie in the future are forgotten.
"""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core import layout
from core.errors import ObjectNotFoundError, StorageFullError
from core.ports.blob_storage import BlobStorage
from core.store_time import store_time
from core.timeline import Gap, Timeline

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 600.0
"""How often a server looks."""
PLAUSIBLE: Final = timedelta(days=7)
"""A registry may be switched off for so long."""
_TOLERANCE: Final = timedelta(minutes=10)
"""Two clocks may differ by so much between two looks."""
_WRITE_AFTER: Final = timedelta(minutes=5)
_GAPS_MAX: Final = 16
_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Record:
    """What the store remembers."""

    seen: datetime
    gaps: tuple[Gap, ...] = ()


class StoreClock:
    """Looks at the store's clock; one per process.

    Args:
        storage: the store.
        clock: monotonic seconds, which go on while the machine sleeps; None where no look follows another.
    """

    def __init__(self, storage: BlobStorage, *, clock: Callable[[], float] | None = None) -> None:
        self._storage = storage
        self._clock = clock
        self._last: tuple[datetime, float] | None = None
        self._told: set[Gap] = set()

    async def look(self) -> Timeline:
        """Return the store's time and the gaps before it. Three storage requests, and one every five minutes.

        Raises:
            StorageError: the store failed.
        """
        record = await self._read()
        now = await store_time(self._storage)
        gaps = tuple(gap for gap in record.gaps if gap.until <= now) if record else ()
        jump = self._jump(record, gaps, now)
        if jump is not None:
            gaps = (*gaps, jump)[-_GAPS_MAX:]
        if self._clock is not None:
            self._last = now, self._clock()
        if record is None or jump is not None or not timedelta(0) <= now - record.seen < _WRITE_AFTER:
            try:
                await self._write(_Record(now, gaps))
            except StorageFullError:
                # Who looks may free the space; the next look finds the same.
                _logger.warning("the store is full: when its clock was looked at is not recorded")
        self._tell(gap for gap in gaps if now - gap.until < PLAUSIBLE)
        return Timeline(now, gaps)

    async def trust(self) -> None:
        """Believe the store's clock as it is, whatever was in doubt. Three storage requests.

        Raises:
            StorageError: the store failed.
        """
        await self._write(_Record(await store_time(self._storage)))

    def _jump(self, record: _Record | None, gaps: tuple[Gap, ...], now: datetime) -> Gap | None:
        if self._last is not None and self._clock is not None:
            seen, seconds = self._last
            # Another process may have noted it already.
            noted = sum((gap.length for gap in gaps if gap.until > seen), timedelta(0))
            ahead = now - seen - noted - timedelta(seconds=self._clock() - seconds)
            return Gap(now - ahead, now) if ahead > _TOLERANCE else None
        if record is not None and now - record.seen > PLAUSIBLE:
            return Gap(record.seen, now)
        return None

    def _tell(self, gaps: Iterable[Gap]) -> None:
        for gap in gaps:
            if gap not in self._told:
                self._told.add(gap)
                _logger.warning(
                    "the store's clock jumped, or nothing looked at it for too long: garbage collection, upload "
                    "purging, retention and trash expiry do not count that time; what is old only by it stays",
                    extra={"since": gap.since, "until": gap.until, "seconds": gap.length.total_seconds()},
                )

    async def _read(self) -> _Record | None:
        try:
            document = json.loads(await self._storage.read(layout.CLOCK, limit=_BYTES_MAX))
            gaps = [Gap(*(datetime.fromisoformat(moment) for moment in pair)) for pair in document["gaps"]]
            return _Record(datetime.fromisoformat(document["seen"]), tuple(gaps))
        except ObjectNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            _logger.warning("the record of the store's clock cannot be read and begins again: %s", error)
            return None

    async def _write(self, record: _Record) -> None:
        gaps = [[gap.since.isoformat(), gap.until.isoformat()] for gap in record.gaps]
        document = {"seen": record.seen.isoformat(), "gaps": gaps}
        await self._storage.write(layout.CLOCK, json.dumps(document).encode(), durable=False)
