"""Sign-in of people at an OpenID Connect provider: authorization code with PKCE (RFC 7636)."""

import base64
import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from typing_extensions import override

from adapters.auth.issuer_client import IssuerAnswer
from adapters.auth.issuers import Endpoints, Issuer
from adapters.auth.watched_file import WatchedFile
from core.errors import IssuerUnavailableError, TooManyRequestsError
from core.json_text import load_json
from core.model.claims import find_claim
from core.model.secret import Secret
from core.ports.authenticator import CredentialsInvalidError, CredentialSourceError
from core.ports.identity_provider import IdentityProvider, SignInRefusedError, SignInRequest

CODE_LENGTH_MAX: Final = 4096
AT_ONCE_MAX: Final = 32
"""Maximum number of codes that a process exchanges at the same time: a stranger can make up codes."""
RETRY_AFTER_SECONDS: Final = 2
_ACCESS_TOKEN_LENGTH_MAX: Final = 16 * 1024
_LOGGED_LENGTH_MAX: Final = 100
_OK: Final = 200
_REQUEST_REFUSED: Final = range(400, 500)
_CLIENT_REFUSED: Final = frozenset({"invalid_client", "unauthorized_client"})
"""Errors that an operator has to correct (RFC 6749, 5.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcClient:
    """The registry as the provider knows it."""

    id: str
    secret: Secret | None = None
    secret_file: str | None = None
    """File with the secret, which is read again when it changes. Without any secret the client is a public one."""
    scopes: Sequence[str] = ("openid", "profile", "email")


class OidcProvider(IdentityProvider):
    """One provider, with the registry as its client.

    Args:
        issuer: discovers the addresses of the provider and verifies its tokens; opened and closed with this provider.
        client: the registry as the provider knows it.
    """

    def __init__(self, issuer: Issuer, client: OidcClient) -> None:
        self._issuer = issuer
        self._client = client
        self._file = WatchedFile(client.secret_file, "the client secret", _secret_of) if client.secret_file else None
        self._running = 0
        self._stack = AsyncExitStack()

    @override
    async def start(self) -> None:
        if self._file is not None:
            await self._file.current()
        await self._stack.enter_async_context(self._issuer)

    @override
    async def stop(self) -> None:
        await self._stack.aclose()

    @override
    async def authorization_url(self, request: SignInRequest, *, state: str) -> str:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(request.verifier.encode()).digest()).decode().rstrip("=")
        endpoints = await self._issuer.endpoints()
        parameters = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": request.redirect_uri,
            "scope": " ".join(self._client.scopes),
            "state": state,
            "nonce": request.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return _with_query(_named(endpoints.authorization_endpoint, "authorization_endpoint"), parameters)

    @override
    async def redeem(
        self, code: str, request: SignInRequest, *, issuer: str | None, wanted: Collection[str]
    ) -> Mapping[str, object]:
        if not 0 < len(code) <= CODE_LENGTH_MAX:
            raise SignInRefusedError("there is no code, or it is too long")
        if self._running >= AT_ONCE_MAX:
            raise TooManyRequestsError(RETRY_AFTER_SECONDS)
        self._running += 1
        try:
            return await self._claims(code, request, issuer=issuer, wanted=wanted)
        finally:
            self._running -= 1

    @override
    async def sign_out_url(self, return_to: str) -> str | None:
        endpoint = (await self._issuer.endpoints()).end_session_endpoint
        if not endpoint:
            return None
        return _with_query(endpoint, {"client_id": self._client.id, "post_logout_redirect_uri": return_to})

    async def _claims(
        self, code: str, request: SignInRequest, *, issuer: str | None, wanted: Collection[str]
    ) -> Mapping[str, object]:
        endpoints = await self._issuer.endpoints()
        if issuer != self._issuer.url and (issuer is not None or endpoints.names_issuer):
            # RFC 9207: the code of another provider, which must not reach this one.
            raise SignInRefusedError("the answer names another issuer, or none")
        tokens = await self._exchange(endpoints, code, request)
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str):
            raise SignInRefusedError("the provider sent no ID token; the scopes must contain `openid`")
        try:
            claims = await self._issuer.verify(id_token, audiences=[self._client.id])
        except CredentialsInvalidError as error:
            raise SignInRefusedError(f"the ID token: {error}") from None
        self._require_own(claims, request.nonce)
        has_all = all(find_claim(claims, name) is not None for name in wanted)
        if has_all or not endpoints.userinfo_endpoint:
            return claims
        return {**await self._userinfo(endpoints, tokens, claims), **claims}

    def _require_own(self, claims: Mapping[str, Any], nonce: str) -> None:
        """Refuse an ID token that was issued for another sign-in or another client (OpenID Connect Core, 3.1.3.7)."""
        sent = claims.get("nonce")
        if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(errors="replace"), nonce.encode()):
            raise SignInRefusedError("the ID token belongs to another sign-in: its nonce differs")
        audience, party = claims.get("aud"), claims.get("azp")
        if (isinstance(audience, list) and len(audience) > 1 and party is None) or party not in {None, self._client.id}:
            raise SignInRefusedError("the ID token was issued to another client")

    async def _exchange(self, endpoints: Endpoints, code: str, request: SignInRequest) -> Mapping[str, Any]:
        url = _named(endpoints.token_endpoint, "token_endpoint")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": request.redirect_uri,
            "code_verifier": request.verifier,
        }
        headers = {}
        secret = await self._file.current() if self._file is not None else self._client.secret
        if secret is None:
            form["client_id"] = self._client.id
        elif "client_secret_basic" in endpoints.token_endpoint_auth_methods:
            # RFC 6749, 2.3.1: both are form-encoded first.
            pair = f"{quote_plus(self._client.id)}:{quote_plus(secret.reveal())}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        elif "client_secret_post" in endpoints.token_endpoint_auth_methods:
            form |= {"client_id": self._client.id, "client_secret": secret.reveal()}
        else:
            raise IssuerUnavailableError("the provider accepts no client secret at its token endpoint")
        answer = await self._issuer.client.send("POST", url, headers=headers, form=form)
        document = _document(answer)
        if answer.status == _OK:
            return document
        raise _failure(answer.status, document)

    async def _userinfo(
        self, endpoints: Endpoints, tokens: Mapping[str, Any], claims: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        token = tokens.get("access_token")
        if not isinstance(token, str) or not _is_header_text(token):
            raise SignInRefusedError("the provider sent no usable access token for its userinfo endpoint")
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self._issuer.client.send("GET", endpoints.userinfo_endpoint, headers=headers)
        if answer.status != _OK:
            raise IssuerUnavailableError(f"the userinfo endpoint answered {answer.status}")
        found = _document(answer)
        if found.get("sub") != claims.get("sub"):
            # OpenID Connect Core, 5.3.2: otherwise the claims of another person could be mixed in.
            raise SignInRefusedError("the userinfo endpoint describes another subject than the ID token")
        return found


def _secret_of(content: bytes) -> Secret:
    try:
        text = content.decode().strip("\r\n")
    except UnicodeDecodeError:
        raise CredentialSourceError("is not UTF-8") from None
    if not text:
        raise CredentialSourceError("is empty")
    return Secret(text)


def _named(url: str, name: str) -> str:
    if not url:
        raise IssuerUnavailableError(f"the discovery document names no usable `{name}`")
    return url


def _with_query(url: str, parameters: Mapping[str, str]) -> str:
    base, _, _ = url.partition("#")
    return f"{base}{'&' if '?' in base else '?'}{urlencode(parameters)}"


def _document(answer: IssuerAnswer) -> Mapping[str, Any]:
    try:
        document = load_json(answer.body)
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    if answer.status == _OK:
        raise IssuerUnavailableError("the provider's answer is not a JSON object")
    return {}


def _failure(status: int, document: Mapping[str, Any]) -> Exception:
    # The description is not logged: it may quote the code.
    error = str(document.get("error", ""))[:_LOGGED_LENGTH_MAX]
    if error in _CLIENT_REFUSED or status in {401, 403}:
        text = f"the provider refuses the client ({status} {error!r}): check `clientid` and the secret"
        return IssuerUnavailableError(text)
    if error and status in _REQUEST_REFUSED:
        return SignInRefusedError(f"the provider refuses the code ({status} {error!r})")
    return IssuerUnavailableError(f"the token endpoint answered {status}")


def _is_header_text(text: str) -> bool:
    return 0 < len(text) <= _ACCESS_TOKEN_LENGTH_MAX and text.isascii() and text.isprintable()
