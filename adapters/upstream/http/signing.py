"""The sign-in at one address: which `Authorization` a request gets, and what follows a refusal."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import ClientResponse
from yarl import URL

from adapters.upstream.http.challenges import Challenge, usable_challenge
from adapters.upstream.http.credentials import Credentials, CredentialSource
from adapters.upstream.http.tokens import CredentialsRefusedError, TokenCache, basic
from adapters.upstream.http.transport import Transport
from core.errors import UpstreamUnavailableError

_REFUSED: Final = frozenset({401, 403})
_UNAUTHORIZED: Final = 401
_SCOPE_LENGTH_MAX: Final = 2048
_BEARER: Final = "Bearer "

Send = Callable[[str | None], Awaitable[ClientResponse]]
"""Sends the request with this `Authorization`."""


class Signer:
    """Signs the requests to one address.

    The scheme is that of the last challenge, so requests carry credentials without a challenge of their own. After a
    refusal the request is sent again with a new token, and once more if the source has other credentials by then.
    """

    def __init__(self, transport: Transport, address: URL, source: CredentialSource, tokens: TokenCache) -> None:
        self._transport = transport
        self._address = address
        self._source = source
        self._tokens = tokens
        self._challenge: Challenge | None = None

    async def send(self, send: Send, scope: str) -> ClientResponse:
        """Send a request that needs a token for `scope`, and return the last response.

        Raises:
            UpstreamUnavailableError: the credentials were refused, or their source failed.
            UpstreamError: as `send` raises.
        """
        authorization = await self._prepared(scope)
        response = await send(authorization)
        challenge = self._challenge_of(response)
        if challenge is None:
            return response
        self._challenge = challenge
        try:
            return await self._sign_in(send, response, challenge, scope, authorization)
        except BaseException:
            response.close()
            raise

    async def close(self) -> None:
        """Stop asking for tokens."""
        await self._tokens.close()

    async def _prepared(self, scope: str) -> str | None:
        if self._challenge is None:
            return None
        remembered = Challenge(self._challenge.scheme, {**self._challenge.parameters, "scope": scope})
        credentials = await self._source.current(self._address.authority)
        try:
            return await self._authorize(remembered, scope, credentials, refused=None)
        except CredentialsRefusedError:
            # The challenge of this request leads to fresh credentials.
            return None

    def _challenge_of(self, response: ClientResponse) -> Challenge | None:
        """Return the challenge to answer, or None if the response is final."""
        if response.status not in _REFUSED or response.url.origin() != self._address.origin():
            return None
        return usable_challenge(response.headers.getall("WWW-Authenticate", ())) or self._challenge

    async def _sign_in(
        self, send: Send, response: ClientResponse, challenge: Challenge, scope: str, refused: str | None
    ) -> ClientResponse:
        credentials = await self._source.current(self._address.authority)
        try:
            authorization = await self._authorize(challenge, scope, credentials, refused=refused)
            refusal = None
        except CredentialsRefusedError as error:
            authorization, refusal = None, error
        if authorization not in {None, refused}:
            await self._transport.discard(response)
            response = await send(authorization)
            if self._challenge_of(response) is None:
                return response
        fresh = await self._source.refreshed(self._address.authority)
        if fresh is not None and fresh != credentials:
            authorization = await self._authorize(challenge, scope, fresh, refused=authorization or refused)
            await self._transport.discard(response)
            response = await send(authorization)
        elif refusal is not None:
            raise refusal
        if response.status == _UNAUTHORIZED and challenge.scheme == "basic" and fresh is not None:
            await self._transport.discard(response)
            raise UpstreamUnavailableError(
                f"{self._transport.name}: {self._address.authority} refused the user name or password"
            )
        return response

    async def _authorize(
        self, challenge: Challenge, scope: str, credentials: Credentials | None, *, refused: str | None
    ) -> str | None:
        if challenge.scheme == "basic":
            return None if credentials is None or credentials.is_identity_token else basic(credentials)
        # Like `docker login`, ask for no right if none is needed: GitHub's root names a repository that does not exist.
        wanted = scope and (challenge.parameters.get("scope", "")[:_SCOPE_LENGTH_MAX] or scope)
        old = refused.removeprefix(_BEARER) if refused else None
        return _BEARER + await self._tokens.get(challenge, wanted, credentials, refused=old)
