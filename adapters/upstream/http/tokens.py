"""Tokens of one address: asked for at the realm, kept while valid, each asked for once at a time."""

import asyncio
import base64
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import ClientResponse
from yarl import URL

from adapters.upstream.http.answers import failure_of, read_json
from adapters.upstream.http.challenges import Challenge
from adapters.upstream.http.credentials import Credentials
from adapters.upstream.http.realms import may_see_password
from adapters.upstream.http.transport import Transport
from core.errors import UpstreamAbsentError, UpstreamUnavailableError

_ANSWER_BYTES_MAX: Final = 256 * 1024
_TOKEN_LENGTH_MAX: Final = 24 * 1024
_LIFETIME_SECONDS_MIN: Final = 60
_LIFETIME_SECONDS_MAX: Final = 24 * 3600
_TOKENS_MAX: Final = 1000
_REFUSED_SECONDS: Final = 60.0
"""How long refused credentials are not sent again: token servers lock accounts after a number of failures."""
_PARAMETER_LENGTH_MAX: Final = 2048
_OK: Final = 200
_REFUSED: Final = frozenset({401, 403})
_GRANT_REFUSED: Final = 400
"""The answer to an identity token that has expired (RFC 6749, 5.2)."""
_CLIENT: Final = "sohu-registry"
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}

_logger = logging.getLogger(__name__)


class CredentialsRefusedError(UpstreamUnavailableError):
    """The token server refused the user name or password."""


class AnonymousRefusedError(UpstreamAbsentError):
    """The token server gives no token to anonymous clients."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    expires_at: float


class TokenCache:
    """The tokens of one address of an upstream.

    Args:
        transport: sends the requests.
        address: the URL of the registry.
        allowed_realms: hosts of token servers that may see the password besides the registry's own.
        now: a monotonic clock.
    """

    def __init__(
        self, transport: Transport, address: URL, allowed_realms: Collection[str], *, now: Callable[[], float]
    ) -> None:
        self._transport = transport
        self._address = address
        self._allowed_realms = allowed_realms
        self._now = now
        self._tokens: OrderedDict[str, _Token] = OrderedDict()
        self._running: dict[tuple[str, Credentials | None], asyncio.Task[str]] = {}
        self._refused: tuple[Credentials, float] | None = None
        self._is_warned = False

    async def get(
        self, challenge: Challenge, scope: str, credentials: Credentials | None, *, refused: str | None
    ) -> str:
        """Return a token for a scope, other than `refused`.

        Raises:
            CredentialsRefusedError: the token server refused the credentials.
            AnonymousRefusedError: the token server gives no token to anonymous clients.
            UpstreamError: it gave no usable answer.
        """
        held = self._tokens.get(scope)
        if held is not None and held.text != refused and held.expires_at > self._now():
            self._tokens.move_to_end(scope)
            return held.text
        running = self._running.get((scope, credentials))
        if running is None:
            running = asyncio.create_task(self._ask(challenge, scope, credentials))
            self._running[scope, credentials] = running
            running.add_done_callback(lambda task: self._forget((scope, credentials), task))
        # Shielded: others wait for the same token.
        return await asyncio.shield(running)

    async def close(self) -> None:
        """Stop asking for tokens."""
        for task in list(self._running.values()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    def _forget(self, key: tuple[str, Credentials | None], task: asyncio.Task[str]) -> None:
        del self._running[key]
        if not task.cancelled():
            # The waiting task has raised the error; asyncio warns about an error that is never retrieved.
            task.exception()

    async def _ask(self, challenge: Challenge, scope: str, credentials: Credentials | None) -> str:
        realm = self._realm(challenge)
        if credentials is not None and not may_see_password(realm, self._address, self._allowed_realms):
            self._warn(realm)
            credentials = None
        self._require_not_refused(realm, credentials)
        service = challenge.parameters.get("service", "")[:_PARAMETER_LENGTH_MAX]
        query = {name: value for name, value in (("service", service), ("scope", scope)) if value}
        response = await self._request(realm, query, credentials)
        if response.status != _OK:
            await self._transport.discard(response)
            is_grant = credentials is not None and credentials.is_identity_token
            is_refused = response.status in _REFUSED or (is_grant and response.status == _GRANT_REFUSED)
            if is_refused and credentials is not None:
                self._refused = (credentials, self._now() + _REFUSED_SECONDS)
                self._require_not_refused(realm, credentials)
            if is_refused:
                raise AnonymousRefusedError(f"{self._transport.name}: {realm.authority} refuses anonymous access")
            raise failure_of(self._transport, response, is_foreign=True)
        token = self._parse(await read_json(self._transport, response, limit=_ANSWER_BYTES_MAX), realm)
        self._tokens[scope] = token
        self._tokens.move_to_end(scope)
        while len(self._tokens) > _TOKENS_MAX:
            self._tokens.popitem(last=False)
        return token.text

    async def _request(self, realm: URL, query: dict[str, str], credentials: Credentials | None) -> ClientResponse:
        if credentials is None:
            return await self._transport.send("GET", realm.update_query(query), {})
        if not credentials.is_identity_token:
            return await self._transport.send("GET", realm.update_query(query), {"Authorization": basic(credentials)})
        grant = {"grant_type": "refresh_token", "client_id": _CLIENT, "refresh_token": credentials.password.reveal()}
        return await self._transport.send("POST", realm, _FORM, body=urlencode({**grant, **query}).encode())

    def _require_not_refused(self, realm: URL, credentials: Credentials | None) -> None:
        if self._refused is not None and self._refused[0] == credentials and self._refused[1] > self._now():
            raise CredentialsRefusedError(
                f"{self._transport.name}: {realm.authority} refused the user name or password"
            )

    def _realm(self, challenge: Challenge) -> URL:
        text = challenge.parameters.get("realm", "")
        try:
            realm = URL(text) if len(text) <= _PARAMETER_LENGTH_MAX else URL()
        except ValueError:
            realm = URL()
        if realm.scheme not in {"http", "https"} or not realm.host or realm.user is not None:
            raise UpstreamUnavailableError(
                f"{self._transport.name}: {self._address.authority} names an unusable token server"
            )
        return realm

    def _parse(self, document: dict[str, Any], realm: URL) -> _Token:
        text = document.get("token") or document.get("access_token")
        is_usable = isinstance(text, str) and len(text) <= _TOKEN_LENGTH_MAX and text.isascii() and text.isprintable()
        if not isinstance(text, str) or not is_usable or " " in text:
            raise UpstreamUnavailableError(f"{self._transport.name}: {realm.authority} gave no usable token")
        seconds = document.get("expires_in")
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
            seconds = 0
        lifetime = min(max(seconds, _LIFETIME_SECONDS_MIN), _LIFETIME_SECONDS_MAX)
        return _Token(text, self._now() + lifetime)

    def _warn(self, realm: URL) -> None:
        if not self._is_warned:
            self._is_warned = True
            _logger.warning(
                "%s: %s names the token server %s, which does not belong to it and gets no password: "
                "list its host in `realms` if it may have the password",
                self._transport.name,
                self._address.authority,
                realm.authority,
            )


def basic(credentials: Credentials) -> str:
    """Return the value of `Authorization` for Basic authentication."""
    text = f"{credentials.username}:{credentials.password.reveal()}"
    return f"Basic {base64.b64encode(text.encode()).decode()}"
