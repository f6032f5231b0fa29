"""Probes `/healthz` and `/readyz` for orchestrators and load balancers, which poll often and send no credentials."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from entrypoints.observability.readiness import Readiness

ALIVE_PATH: Final = "/healthz"
READY_PATH: Final = "/readyz"
Probe = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Probes:
    """Answers both paths, even if other parts are disabled, overloaded or failing.

    Args:
        readiness: readiness of the process.
        shows_reasons: whether responses contain the reasons; must be False if the public can send requests.
    """

    def __init__(self, readiness: Readiness, *, shows_reasons: bool) -> None:
        self._readiness = readiness
        self._shows_reasons = shows_reasons
        self.handlers: dict[str, Probe] = {ALIVE_PATH: self._answer_alive, READY_PATH: self._answer_ready}

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a probe."""
        probe = self.handlers.get(request.path)
        if probe is None:
            return await handler(request)
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        return await probe(request)

    async def _answer_alive(self, _request: web.Request) -> web.Response:
        # Reaching this line proves liveness. Do not check dependencies: a restart would not repair them.
        return _text(200, "ok")

    async def _answer_ready(self, request: web.Request) -> web.Response:
        excluded = request.query.getall("exclude", [])
        is_ready = not self._readiness.missing(excluded)
        lines = list(self._readiness.lines(excluded, shows_reasons=self._shows_reasons))
        if is_ready and "verbose" not in request.query:
            return _text(200, "\n".join(["ok", *(line for line in lines if line.startswith("[!]"))]))
        verdict = "readyz check passed" if is_ready else "readyz check failed"
        return _text(200 if is_ready else 503, "\n".join([*lines, verdict, ""]))


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text, headers={"Cache-Control": "no-store"})
