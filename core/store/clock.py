"""Observation of the store's clock, so that a clock jump does not make objects old.

If the machine's clock is wrong, the store's time may jump ahead, for example by a year. Then everything looks old: the
layers of a push in progress, the upload itself, and objects that entered the trash a minute ago. Therefore the store
records the time of the last observation and the gaps, which are intervals of doubtful time:

- A process that observed the clock before compares the advance of the store's clock with that of its own monotonic
  clock. If the store's clock is ahead by more than the tolerance, the difference is a gap.
- If no process ran between two observations, an implausibly long interval is a gap. A registry that was switched off
  for that long keeps objects longer than necessary.

A clock that is set back is trusted: no object becomes older, and gaps that then lie in the future are dropped.
"""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.errors import ObjectNotFoundError, StorageFullError
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.time import store_time
from core.store.timeline import Gap, Timeline

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 600.0
"""Interval of observations in a server."""
PLAUSIBLE: Final = timedelta(days=7)
"""A registry may be switched off for this long without a gap."""
_TOLERANCE: Final = timedelta(minutes=10)
"""Allowed difference between the two clocks between two observations."""
_WRITE_AFTER: Final = timedelta(minutes=5)
"""The record is written again when it is this old."""
_GAPS_MAX: Final = 16
_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Record:
    """The recorded state of the clock."""

    seen: datetime
    gaps: tuple[Gap, ...] = ()


class StoreClock:
    """Observes the store's clock; one per process.

    Args:
        storage: the store.
        clock: monotonic seconds, including the time that the machine sleeps; None if `look` is called only once.
    """

    def __init__(self, storage: BlobStorage, *, clock: Callable[[], float] | None = None) -> None:
        self._storage = storage
        self._clock = clock
        self._last: tuple[datetime, float] | None = None
        self._logged: set[Gap] = set()

    async def look(self) -> Timeline:
        """Return the store's time and the gaps before it. Three storage requests, and one more every five minutes.

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
                # The caller may be about to free space; the next observation finds the same.
                _logger.warning("store clock not recorded: the store is full")
        self._log_gaps(gap for gap in gaps if now - gap.until < PLAUSIBLE)
        return Timeline(now, gaps)

    async def trust(self) -> None:
        """Drop all gaps and trust the store's clock as it is. Three storage requests.

        Raises:
            StorageError: the store failed.
        """
        await self._write(_Record(await store_time(self._storage)))

    def _jump(self, record: _Record | None, gaps: tuple[Gap, ...], now: datetime) -> Gap | None:
        if self._last is not None and self._clock is not None:
            seen, seconds = self._last
            # Another process may have recorded the jump already.
            noted = sum((gap.length for gap in gaps if gap.until > seen), timedelta(0))
            ahead = now - seen - noted - timedelta(seconds=self._clock() - seconds)
            return Gap(now - ahead, now) if ahead > _TOLERANCE else None
        if record is not None and now - record.seen > PLAUSIBLE:
            return Gap(record.seen, now)
        return None

    def _log_gaps(self, gaps: Iterable[Gap]) -> None:
        for gap in gaps:
            if gap not in self._logged:
                self._logged.add(gap)
                _logger.warning(
                    "store clock jumped, or was not observed for too long: garbage collection, upload purging, "
                    "retention and trash expiry do not count that interval as age",
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
            _logger.warning("cannot read the store clock record, starting a new one: %s", error)
            return None

    async def _write(self, record: _Record) -> None:
        gaps = [[gap.since.isoformat(), gap.until.isoformat()] for gap in record.gaps]
        document = {"seen": record.seen.isoformat(), "gaps": gaps}
        await self._storage.write(layout.CLOCK, json.dumps(document).encode(), durable=False)
