"""Answers to the challenge http-01 of an ACME server (RFC 8555, 8.3), and the listener for them on port 80."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from core.errors import StorageError
from core.ports.certificate_authority import ChallengeAnswer

PREFIX: Final = "/.well-known/acme-challenge/"


class Challenges:
    """Answers requests for challenges.

    Args:
        answer: returns the answer to the current challenge; a stranger can cause one request to the store a second.
    """

    def __init__(self, answer: Callable[[], Awaitable[ChallengeAnswer | None]]) -> None:
        self._read_answer = answer

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request for a challenge; pass on all others."""
        if request.path.startswith(PREFIX):
            return await self.respond(request)
        return await handler(request)

    async def respond(self, request: web.Request) -> web.Response:
        """Return the answer, or 404 if the token is not the one of the current challenge."""
        try:
            answer = await self._read_answer()
        except StorageError:
            return web.Response(status=503, headers={"Retry-After": "1"})
        if request.method not in {"GET", "HEAD"} or answer is None or request.path != PREFIX + answer.token:
            return web.Response(status=404)
        return web.Response(text=answer.key_authorization, headers={"Cache-Control": "no-store"})


def create_challenge_app(challenges: Challenges, hosts: Sequence[str]) -> web.Application:
    """Return the application without TLS: it answers challenges and sends browsers to HTTPS, and nothing else.

    Args:
        challenges: answers the challenges.
        hosts: the names of the registry; requests for other names get 404.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path.startswith(PREFIX):
            return await challenges.respond(request)
        host = request.url.host or ""
        if request.method not in {"GET", "HEAD"} or host.lower() not in hosts:
            return web.Response(status=404)
        return web.Response(status=301, headers={"Location": f"https://{host.lower()}{request.rel_url.raw_path_qs}"})

    app = web.Application()
    app.router.add_route("*", "/{path:(?s:.*)}", handle)
    return app
