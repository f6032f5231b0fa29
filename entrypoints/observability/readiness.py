"""Readiness: whether this process should receive requests, as answered at `/readyz`.

One slow answer of the store must not take a replica out of service, and one success during an outage must not bring it
back; each change therefore takes several consecutive results. Readiness never affects requests: a process that is not
ready still answers every request that it receives.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from config.settings import ReadinessSettings
from entrypoints.observability.health import CheckFailedError

_logger = logging.getLogger(__name__)

DRAINING: Final = "shutdown"
CHECKS: Final = "health"


class Hysteresis:
    """State that turns bad after `failures_max` consecutive failures, and good after `successes_min` successes.

    The first result alone decides the initial state.
    """

    def __init__(self, failures_max: int, successes_min: int) -> None:
        self._failures_max = failures_max
        self._successes_min = successes_min
        self._in_a_row = 0
        self.is_good: bool | None = None
        """None before the first result."""

    def take(self, *, good: bool) -> bool:
        """Add a result and return whether it changed the state to report."""
        if self.is_good is None:
            self.is_good = good
            return not good
        self._in_a_row = self._in_a_row + 1 if good is not self.is_good else 0
        if self._in_a_row < (self._failures_max if self.is_good else self._successes_min):
            return False
        self.is_good, self._in_a_row = good, 0
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Dependency that a replica requires or benefits from."""

    name: str
    run: Callable[[], Awaitable[None]]
    """Returns if the dependency is available; raises `CheckFailedError` otherwise."""
    is_required: bool
    """Whether the replica is not ready without the dependency; a missing optional dependency is only reported."""


class Readiness:
    """Checks all dependencies periodically; one per application.

    Args:
        settings: interval, and number of consecutive results for a change.
        needs: dependencies to check.
        is_draining: whether the server is stopping.
        is_blocked: whether health checks make the API reject every request.
        worker: number of this process, for the log; each process has its own results.
    """

    def __init__(
        self,
        settings: ReadinessSettings,
        needs: Sequence[Requirement] = (),
        *,
        is_draining: Callable[[], bool],
        is_blocked: Callable[[], bool] = lambda: False,
        worker: int = 0,
    ) -> None:
        self._interval_seconds = settings.interval_seconds
        self._fields = {"worker": worker}
        self._needs = {need.name: need for need in needs}
        self._found = {name: Hysteresis(settings.failures, settings.successes) for name in self._needs}
        self._reasons = dict.fromkeys(self._needs, "not checked yet")
        self._states = {
            CHECKS: (is_blocked, "a check of `health` fails, so every request is rejected"),
            DRAINING: (is_draining, "the server is stopping"),
        }

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Run the checks for the lifetime of the application (a cleanup context)."""
        task = asyncio.create_task(self._repeat(), name="readiness")
        yield
        task.cancel()
        await asyncio.wait([task])

    def missing(self, excluded: Sequence[str] = ()) -> Mapping[str, str]:
        """Return the required dependencies that are unavailable, with the reasons.

        Two states of the process count as dependencies: `health` fails while a health check blocks the API, and
        `shutdown` fails once the server is stopping.
        """
        found = {
            name: self._reasons[name]
            for name, need in self._needs.items()
            if need.is_required and not self._found[name].is_good and name not in excluded
        }
        found |= {name: reason for name, (is_bad, reason) in self._states.items() if name not in excluded and is_bad()}
        return found

    def lines(self, excluded: Sequence[str] = (), *, shows_reasons: bool = True) -> Iterator[str]:
        """Yield one line per dependency, in the format of Kubernetes' own servers."""

        def why(reason: str) -> str:
            return reason if shows_reasons else "reason withheld"

        missing = self.missing(excluded)
        for name in [*self._needs, *self._states]:
            if name in excluded:
                yield f"[+]{name} excluded: ok"
            elif name in missing:
                yield f"[-]{name} failed: {why(missing[name])}"
            elif name in self._needs and not self._found[name].is_good:
                yield f"[!]{name} degraded: {why(self._reasons[name])}"
            else:
                yield f"[+]{name} ok"

    async def _repeat(self) -> None:
        while True:
            for need in self._needs.values():
                await self._look(need)
            await asyncio.sleep(self._interval_seconds)

    async def _look(self, need: Requirement) -> None:
        reason = ""
        try:
            await need.run()
        except CheckFailedError as error:
            reason = str(error)
        except Exception:
            # A defect of the check must not count as ready.
            _logger.exception("readiness check %s raised an unexpected error", need.name)
            reason = "error in the check"
        if reason:
            self._reasons[need.name] = reason
        if self._found[need.name].take(good=not reason):
            level = logging.WARNING if reason else logging.INFO
            _logger.log(level, "readiness: %s: %s", need.name, reason or "available again", extra=self._fields)
