"""Ages by the store's clock, without the stretches of time that it only jumped over."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of the store's time that may never have passed."""

    since: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class Timeline:
    """The store's time of now, and the gaps before it: ascending, none within another."""

    now: datetime
    gaps: tuple[Gap, ...] = ()

    def before(self, age: timedelta) -> datetime:
        """Return the time before which things are older than `age`; the time within gaps does not count."""
        moment = self.now - age
        for gap in reversed(self.gaps):
            if gap.until <= moment:
                break
            moment -= gap.length
        return moment

    def skipped(self, age: timedelta) -> timedelta:
        """Return how much longer than `age` ago `before` is."""
        return self.now - age - self.before(age)
