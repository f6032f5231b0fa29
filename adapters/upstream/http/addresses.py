"""The addresses of an upstream, tried in order; each knows until when it asked to wait."""

import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

from aiohttp import ClientResponse
from yarl import URL

from adapters.upstream.http.answers import failure_of
from adapters.upstream.http.credentials import CredentialSource
from adapters.upstream.http.signing import Signer
from adapters.upstream.http.tokens import TokenCache
from adapters.upstream.http.transport import Transport
from adapters.upstream.options import UpstreamOptions
from core.errors import (
    UpstreamAbsentError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)

T = TypeVar("T")

_OK: Final = frozenset({200})


class Address:
    """One URL of the upstream."""

    def __init__(self, transport: Transport, url: URL, signer: Signer, *, now: Callable[[], float]) -> None:
        self.url = url
        self._transport = transport
        self._signer = signer
        self._now = now
        self._busy_until = 0.0

    async def ask(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        accepted: Collection[int] = _OK,
    ) -> ClientResponse:
        """Send a request to the API, and return a response with an accepted status and its body unread.

        Args:
            method: the method.
            path: the path below `/v2/`, in characters that need no quoting.
            scope: what a token must allow; empty for no right at all.
            query: the encoded query.
            headers: further headers.
            accepted: the statuses that are no failure.

        Raises:
            UpstreamError: any other status, or no response.
        """
        self._require_free()
        url = URL(f"{self.url}/v2/{path}{query and '?'}{query}", encoded=True)

        async def send(authorization: str | None) -> ClientResponse:
            signed = {} if authorization is None else {"Authorization": authorization}
            return await self._transport.send(method, url, {**(headers or {}), **signed})

        try:
            response = await self._signer.send(send, scope)
            if response.status in accepted:
                return response
            await self._transport.discard(response)
            raise failure_of(self._transport, response, is_foreign=response.url.origin() != self.url.origin())
        except UpstreamBusyError as error:
            self._busy_until = self._now() + error.retry_after
            raise

    async def close(self) -> None:
        """Stop what runs in the background."""
        await self._signer.close()

    def _require_free(self) -> None:
        seconds = self._busy_until - self._now()
        if seconds > 0:
            raise UpstreamBusyError(
                f"{self._transport.name}: {self.url.authority} asked to wait", retry_after=math.ceil(seconds)
            )


class Addresses:
    """All addresses, in the order of the configuration."""

    def __init__(
        self, transport: Transport, options: UpstreamOptions, source: CredentialSource, *, now: Callable[[], float]
    ) -> None:
        self._name = transport.name
        self._addresses = [_address(transport, text, options, source, now) for text in options.urls]

    async def first(self, operation: Callable[[Address], Awaitable[T]]) -> T:
        """Return the result of the first address whose operation succeeds.

        Raises:
            UpstreamError: all failed; the most informative error.
        """
        failures: list[UpstreamError] = []
        for address in self._addresses:
            try:
                return await operation(address)
            except UpstreamError as error:
                failures.append(error)
        raise _summary(self._name, failures)

    async def close(self) -> None:
        """Stop what runs in the background."""
        for address in self._addresses:
            await address.close()


def _address(
    transport: Transport, text: str, options: UpstreamOptions, source: CredentialSource, now: Callable[[], float]
) -> Address:
    url = URL(text.rstrip("/"))
    tokens = TokenCache(transport, url, options.realms, now=now)
    return Address(transport, url, Signer(transport, url, source, tokens), now=now)


def _summary(name: str, failures: Sequence[UpstreamError]) -> UpstreamError:
    """Return one error for all addresses: a request to wait, else another failure, else that nothing exists."""
    if len(failures) == 1:
        return failures[0]
    prefix = f"{name}: "
    message = prefix + ", ".join(str(failure).removeprefix(prefix) for failure in failures)
    waits = [failure.retry_after for failure in failures if isinstance(failure, UpstreamBusyError)]
    if waits:
        return UpstreamBusyError(message, retry_after=min(waits))
    others = [failure for failure in failures if not isinstance(failure, UpstreamAbsentError)]
    if not others:
        return UpstreamAbsentError(message)
    return (UpstreamTimeoutError if isinstance(others[-1], UpstreamTimeoutError) else UpstreamUnavailableError)(message)
