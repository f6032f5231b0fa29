"""What the objects of the outbox are called: their names tell order, number, size and age, so counting reads none."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from core.typing import override

_NAME: Final = re.compile(r"([0-9]{17})-([0-9a-z]{1,32})-([0-9]{5})-([0-9]{1,12})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class BatchName:
    """The name of a batch of events that were recorded together; names sort as the batches were recorded.

    Of two processes on one machine the one that began to record later has the greater name, of two machines as far as
    their clocks agree. No safety rests on that, only the order in which a receiver hears of things.
    """

    recorded_at: int
    """Microseconds since 1970, greater than those of all earlier batches of the process."""
    process: str
    """Which process recorded it."""
    number: int
    """How many events a batch has; of a dead letter, which one of its batch it was."""
    size: int
    """Bytes of the events."""

    @override
    def __str__(self) -> str:
        return f"{self.recorded_at:017d}-{self.process}-{self.number:05d}-{self.size}"

    @property
    def moment(self) -> datetime:
        """When it was recorded, by the clock of who did."""
        return datetime.fromtimestamp(self.recorded_at / 1e6, UTC)


def parse_name(text: str) -> BatchName | None:
    """Return the name of a batch, or None for anything else that lies there."""
    found = _NAME.fullmatch(text)
    return BatchName(int(found[1]), found[2], int(found[3]), int(found[4])) if found else None


def microseconds(moment: datetime) -> int:
    """Return a moment as names have it."""
    return int(moment.timestamp() * 1e6)
