"""Ages by the store's clock, without the intervals that the clock may have skipped."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Gap:
    """An interval of the store's time that may not have elapsed in reality."""

    since: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        """The duration of the gap."""
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class Timeline:
    """The current store time and the gaps before it, ascending and disjoint."""

    now: datetime
    gaps: tuple[Gap, ...] = ()

    def before(self, age: timedelta) -> datetime:
        """Return the time before which an object is older than `age`; time within gaps does not count."""
        moment = self.now - age
        for gap in reversed(self.gaps):
            if gap.until <= moment:
                break
            moment -= gap.length
        return moment

    def skipped(self, age: timedelta) -> timedelta:
        """Return the total length of the gaps that `before` excludes for `age`."""
        return self.now - age - self.before(age)
