"""Requests to a remote registry that images are copied to, signed in as the registry asks."""

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import Final

from aiohttp import ClientResponse
from typing_extensions import override
from yarl import URL

from adapters.registry_target.errors import Answer
from adapters.upstream.http.answers import read_body
from adapters.upstream.http.signing import Signer
from adapters.upstream.http.tokens import TokenCache
from adapters.upstream.http.transport import Transport
from adapters.upstream.http.upstream import credential_source
from adapters.upstream.options import UpstreamOptions
from core.ports.resource import Resource

_BODY_BYTES_MAX: Final = 16 * 1024 * 1024
_ACTIONS: Final = "pull,push,delete"
"""The rights that a token is asked for. A token server grants those that the user has."""


class Sender(Resource):
    """Sends requests to one registry. Opened as a context manager; opens no connection before a request.

    Args:
        name: the host, for errors.
        options: the URL of the registry, the credentials and the limits.
        now: a monotonic clock.
        sleep: suspends for a number of seconds.

    Raises:
        ValueError: a certificate or key cannot be read.
    """

    def __init__(
        self,
        name: str,
        options: UpstreamOptions,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.root = URL(options.urls[0].rstrip("/"))
        self._transport = Transport(name, options, now=now, sleep=sleep)
        tokens = TokenCache(self._transport, self.root, options.realms, now=now)
        source = credential_source(options, now)
        self._signer = Signer(self._transport, self.root, source, tokens)

    @override
    async def start(self) -> None:
        """Open the sessions, which connect on first use."""
        await self._transport.start()

    @override
    async def stop(self) -> None:
        """Close all connections."""
        await self._signer.close()
        await self._transport.stop()

    async def send(
        self,
        method: str,
        url: URL,
        *,
        name: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterable[bytes] | None = None,
    ) -> Answer:
        """Send a request about a repository, and return the answer, whatever its status.

        Args:
            method: the method.
            url: the URL; at another host than the registry's, it gets no credentials.
            name: the repository.
            headers: further headers. With a body that is iterated, `Content-Length` is one of them.
            body: the content. It is iterated once for each attempt to sign in.

        Raises:
            UpstreamError: there was no answer.
        """
        is_own = url.origin() == self.root.origin()

        async def send(authorization: str | None) -> ClientResponse:
            signed = {"Authorization": authorization} if authorization is not None and is_own else {}
            return await self._transport.send(method, url, {**(headers or {}), **signed}, body=body)

        response = await self._signer.send(send, f"repository:{name}:{_ACTIONS}")
        content = b"" if method == "HEAD" else await read_body(self._transport, response, limit=_BODY_BYTES_MAX)
        if method == "HEAD":
            await self._transport.discard(response)
        return Answer(response.status, response.headers, content)
