"""Health as in distribution: named checks that run periodically, reported at `/debug/health`.

A failing check of a file, a URL or a port makes the API answer every request with 503, as in distribution: the purpose
of such a check is to take the registry out of service. A failing storage check does not block the API; a request fails
only if it needs the storage (docs/adr/0015).
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

_logger = logging.getLogger(__name__)

DEFAULT_INTERVAL_SECONDS: Final = 10.0
"""Interval used when the configured interval is 0, as in distribution."""
STORAGE_TIMEOUT_SECONDS: Final = 10.0
"""Timeout of a storage check; a later answer counts as a failure."""
UNHEALTHY_BODY: Final = (
    b'{"errors":[{"code":"UNAVAILABLE","message":"service unavailable",'
    b'"detail":"health check failed: please see /debug/health"}]}\n'
)
"""The same bytes as distribution's body."""


class CheckFailedError(Exception):
    """A health check failed; `/debug/health` shows the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Health check that runs periodically."""

    name: str
    run: Callable[[], Awaitable[None]]
    """Returns if the check passes; raises `CheckFailedError` otherwise."""
    interval_seconds: float
    threshold: int = 0
    """Number of consecutive failures that make the check unhealthy; 0 and 1 both mean the first one."""
    blocks: bool = True
    """Whether the API rejects all requests while the check fails."""


class _State:
    """State of one check."""

    def __init__(self, check: Check, worker: int) -> None:
        self.check = check
        self._fields = {"worker": worker}
        self.failures = 0
        self._reason = ""

    @property
    def reason(self) -> str:
        """Reason why the check is unhealthy; empty while it is healthy."""
        return self._reason if self.failures >= max(self.check.threshold, 1) else ""

    async def look(self) -> None:
        before = self.reason
        try:
            await self.check.run()
        except CheckFailedError as error:
            self.failures += 1
            self._reason = str(error)
        except Exception:
            # A defect of the check must not count as healthy.
            _logger.exception("health check %s raised an unexpected error", self.check.name)
            self.failures += 1
            self._reason = "error in the check"
        else:
            self.failures = 0
        if self.reason and not before:
            _logger.error("unhealthy: %s: %s", self.check.name, self.reason, extra=self._fields)
        elif before and not self.reason:
            _logger.info("healthy again: %s", self.check.name, extra=self._fields)


class Health:
    """Runs each check periodically, the first time after one interval; one per application.

    Args:
        checks: checks to run.
        worker: number of this process, for the log; each process has its own results.
    """

    def __init__(self, checks: Sequence[Check] = (), *, worker: int = 0) -> None:
        self._states = [_State(check, worker) for check in checks]

    @property
    def can_block(self) -> bool:
        """Whether any check can block the API."""
        return any(state.check.blocks for state in self._states)

    @property
    def names(self) -> Sequence[str]:
        """Names of all checks."""
        return [state.check.name for state in self._states]

    @property
    def failures(self) -> Mapping[str, str]:
        """Names of the unhealthy checks with their reasons, in ascending order."""
        return {state.check.name: state.reason for state in sorted(self._states, key=_name) if state.reason}

    @property
    def is_blocking(self) -> bool:
        """Whether the API currently rejects all requests."""
        return any(state.check.blocks and state.reason for state in self._states)

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Run the checks for the lifetime of the application (a cleanup context)."""
        tasks = [asyncio.create_task(_repeat(state), name=f"health of {state.check.name}") for state in self._states]
        yield
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @web.middleware
    async def block(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Reject a request to the API while it is blocked."""
        if self.is_blocking:
            return web.Response(status=503, body=UNHEALTHY_BODY, content_type="application/json")
        return await handler(request)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer `/debug/health` as distribution does: list the unhealthy checks; any method but GET gets 404."""
        if request.method != "GET":
            return web.Response(status=404, text="404 page not found\n")
        failures = self.failures
        return web.Response(
            status=503 if failures else 200,
            body=_go_json(failures),
            headers={"Content-Type": "application/json; charset=utf-8"},
        )


def _name(state: _State) -> str:
    return state.check.name


async def _repeat(state: _State) -> None:
    while True:
        await asyncio.sleep(state.check.interval_seconds)
        await state.look()


def _go_json(texts: Mapping[str, str]) -> bytes:
    """Encode JSON as Go does, which escapes characters that are special in HTML."""
    text = json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()
