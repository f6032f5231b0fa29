"""Health as distribution has it: named checks, run again and again, told at `/debug/health`.

A check of a file, a URL or a port that fails makes every request to the API a 503, as in distribution: whoever
configures one wants to take the registry away from its clients. A failing storage does not: each request finds out
itself whether it needs what has failed (docs/adr/0015).
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_logger = logging.getLogger(__name__)

STORAGE_TIMEOUT_SECONDS: Final = 10.0
"""How long a check of the storage may take; what answers later has failed."""
UNHEALTHY_BODY: Final = (
    b'{"errors":[{"code":"UNAVAILABLE","message":"service unavailable",'
    b'"detail":"health check failed: please see /debug/health"}]}\n'
)
"""Distribution's, to the byte."""


class CheckFailedError(Exception):
    """A check found what it looks for; the text is told at `/debug/health`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something to look at again and again."""

    name: str
    run: Callable[[], Awaitable[None]]
    """Returns when all is well; raises `CheckFailedError`."""
    interval_seconds: float
    threshold: int = 0
    """From how many failures in a row on it counts; 0 and 1 are the first."""
    blocks: bool = True
    """Whether the API answers nothing while it fails."""


class _State:
    """What a check found."""

    def __init__(self, check: Check, worker: int) -> None:
        self.check = check
        self._fields = {"worker": worker}
        self.failures = 0
        self._reason = ""

    @property
    def reason(self) -> str:
        """Why it is unhealthy; empty when it is not."""
        return self._reason if self.failures >= max(self.check.threshold, 1) else ""

    async def look(self) -> None:
        before = self.reason
        try:
            await self.check.run()
        except CheckFailedError as error:
            self.failures += 1
            self._reason = str(error)
        except Exception:
            # A defect of the check must not be taken for health.
            _logger.exception("health check %s failed by a defect", self.check.name)
            self.failures += 1
            self._reason = "the check itself failed"
        else:
            self.failures = 0
        if self.reason and not before:
            _logger.error("unhealthy: %s: %s", self.check.name, self.reason, extra=self._fields)
        elif before and not self.reason:
            _logger.info("healthy again: %s", self.check.name, extra=self._fields)


class Health:
    """Runs the checks, each every so often and first after one interval; one per application.

    Args:
        checks: what is looked at.
        worker: the number of this process, for the log: each judges for itself.
    """

    def __init__(self, checks: Sequence[Check] = (), *, worker: int = 0) -> None:
        self._states = [_State(check, worker) for check in checks]

    @property
    def can_block(self) -> bool:
        """Whether there is a check that stops the API."""
        return any(state.check.blocks for state in self._states)

    @property
    def names(self) -> Sequence[str]:
        """The names of all checks."""
        return [state.check.name for state in self._states]

    @property
    def failures(self) -> Mapping[str, str]:
        """Names of unhealthy checks with what they found, ascending."""
        return {state.check.name: state.reason for state in sorted(self._states, key=_name) if state.reason}

    @property
    def is_blocking(self) -> bool:
        """Whether the API answers nothing now."""
        return any(state.check.blocks and state.reason for state in self._states)

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Run the checks as long as the application lives (a cleanup context)."""
        tasks = [asyncio.create_task(_repeat(state), name=f"health of {state.check.name}") for state in self._states]
        yield
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def middleware(self) -> Middleware:
        """Return the middleware that answers for the API while it is blocked."""

        @web.middleware
        async def block(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self.is_blocking:
                return web.Response(status=503, body=UNHEALTHY_BODY, content_type="application/json")
            return await handler(request)

        return block

    async def answer(self, request: web.Request) -> web.Response:
        """Answer `/debug/health` as distribution does: what is unhealthy, and nothing to any method but GET."""
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
    """Write JSON as Go does, which escapes what HTML would take for a tag."""
    text = json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()
