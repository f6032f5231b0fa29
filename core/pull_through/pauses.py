"""Pauses after failures of an upstream, in which nobody waits for another failure."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Final

from core.errors import UpstreamBusyError, UpstreamError
from core.pull_through.failures import UnusableContentError

PAUSE_SECONDS_MAX: Final = 10.0
"""Longest time without another question after a failure; an upstream that asks to wait is left alone for longer."""
PAUSE_SECONDS_MIN: Final = 1.0
"""Shortest time, also if each pull is to be checked: otherwise each pull would wait for the same time-out."""
_BUSY_SECONDS_MAX: Final = 6 * 3600.0
"""Longest time for which an upstream may ask to wait; Docker Hub counts pulls in windows of six hours."""
_ENTRIES_MAX: Final = 20_000

_Subject = tuple[str, str]
"""A repository, and a tag, a digest or the kind of a list."""


@dataclass(frozen=True, slots=True)
class _Failure:
    error: UpstreamError
    until: float


class Pauses:
    """Remembers the failures of all upstreams; one per process.

    An upstream that asks to wait (429) is not asked for anything until the time has passed. Any other failure may
    concern one repository only. So new content is asked for all the same, unless the same question just failed; but
    where stored content can be served instead, no question is asked in the pause.

    Args:
        clock: monotonic seconds.
        entries_max: number of failed questions that are remembered.
    """

    def __init__(self, *, clock: Callable[[], float], entries_max: int = _ENTRIES_MAX) -> None:
        self._clock = clock
        self._entries_max = entries_max
        self._busy: dict[str, _Failure] = {}
        self._failed: dict[str, _Failure] = {}
        self._failed_subjects: OrderedDict[_Subject, _Failure] = OrderedDict()

    def note(self, upstream: str, subject: _Subject, error: UpstreamError, *, seconds: float) -> None:
        """Remember a failure for `seconds`, or for as long as the upstream asked to wait.

        Unusable content concerns nothing but the question.
        """
        if isinstance(error, UpstreamBusyError):
            wait = min(max(error.retry_after, PAUSE_SECONDS_MIN), _BUSY_SECONDS_MAX)
            self._busy[upstream] = _Failure(error, self._clock() + wait)
            return
        pause = min(max(seconds, PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX)
        failure = _Failure(error, self._clock() + pause)
        if not isinstance(error, UnusableContentError):
            self._failed[upstream] = failure
        self._failed_subjects[subject] = failure
        self._failed_subjects.move_to_end(subject)
        if len(self._failed_subjects) > self._entries_max:
            self._failed_subjects.popitem(last=False)

    def note_answer(self, upstream: str) -> None:
        """End the pause of an upstream that has answered."""
        self._failed.pop(upstream, None)

    def any_failure(self, upstream: str) -> UpstreamError | None:
        """Return the failure because of which stored content is served without a question, or None."""
        return self.busy(upstream) or self._current(self._failed.get(upstream))

    def failure_of(self, upstream: str, subject: _Subject) -> UpstreamError | None:
        """Return the failure because of which this question is not asked again yet, or None."""
        return self.busy(upstream) or self._current(self._failed_subjects.get(subject))

    def busy(self, upstream: str) -> UpstreamError | None:
        """Return the error with the rest of the time for which the upstream asked to wait, or None."""
        known = self._busy.get(upstream)
        if known is None or self._clock() >= known.until:
            return None
        return UpstreamBusyError(str(known.error), retry_after=ceil(known.until - self._clock()))

    def _current(self, failure: _Failure | None) -> UpstreamError | None:
        if failure is None or self._clock() >= failure.until:
            return None
        # A new error: one that is raised again would collect the tracebacks of all requests.
        return type(failure.error)(str(failure.error))
