"""Names of the objects in the outbox.

A name contains the order, number, size and age of the events, so counting them reads no objects.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from core.typing import override

_NAME: Final = re.compile(r"([0-9]{17})-([0-9a-z]{1,32})-([0-9]{5})-([0-9]{1,12})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class BatchName:
    """Name of a batch of events that were recorded together. Names sort in the order of recording.

    Of two processes on one machine, the one that began to record later has the greater name. Between machines this
    holds as far as their clocks agree. Only the order in which a receiver gets events depends on that, not safety.
    """

    recorded_at: int
    """Microseconds since 1970, greater than in all earlier batches of the process."""
    process: str
    """The process that recorded the batch."""
    number: int
    """Number of events in the batch; for a dead letter, its position in the batch."""
    size: int
    """Size of the events in bytes."""

    @override
    def __str__(self) -> str:
        return f"{self.recorded_at:017d}-{self.process}-{self.number:05d}-{self.size}"

    @property
    def moment(self) -> datetime:
        """Time of recording, by the clock of the recording process."""
        return datetime.fromtimestamp(self.recorded_at / 1e6, UTC)


def parse_name(text: str) -> BatchName | None:
    """Return the name of a batch, or None for any other text."""
    found = _NAME.fullmatch(text)
    return BatchName(int(found[1]), found[2], int(found[3]), int(found[4])) if found else None


def microseconds(moment: datetime) -> int:
    """Return a moment in microseconds since 1970, as in names."""
    return int(moment.timestamp() * 1e6)
