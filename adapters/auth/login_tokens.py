"""The registry as its own token server, for users in a file combined with anonymous pulls.

Docker sends no credentials without a 401 at `/v2/`, and gives up at a `Basic` challenge when it has no password. It
answers a `Bearer` challenge with or without a password: so the challenge names the registry's own token endpoint, which
exchanges a password, or no credentials at all, for a short-lived token. The token contains only the user name, no
permissions: access rules are evaluated on every request.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import OctKey
from typing_extensions import override

from adapters.auth.basic import format_challenge, parse_bearer, split_header
from adapters.auth.jwt_registry import SigningRegistry, decode_token
from adapters.auth.token import format_scopes
from core.access_keys.key import PREFIX
from core.model.access import Access, Principal
from core.ports.authenticator import (
    TOKEN_PATH,
    Account,
    Accounts,
    Asked,
    Authenticator,
    CredentialsExpiredError,
    CredentialsInvalidError,
    Fault,
    IssuedToken,
    TokenIssuer,
)

LIFETIME: Final = timedelta(minutes=5)
_ALGORITHM: Final = "HS256"
_AUDIENCE: Final = "registry-login"


class LoginTokenAuthenticator(Authenticator, TokenIssuer, Accounts):
    """Accepts its own tokens, and all credentials that `inner` accepts.

    Args:
        inner: verifies all other credentials; opened and closed with this authenticator.
        accounts: the users; asked for every token, so that a removed user loses access at once.
        secret: equal on all replicas.
        now: returns the current time, UTC-aware.
        others: verifies the tokens of another issuer; opened and closed with this authenticator.
    """

    def __init__(
        self,
        inner: Authenticator,
        *,
        accounts: Accounts,
        secret: bytes,
        now: Callable[[], datetime],
        others: Authenticator | None = None,
    ) -> None:
        self.name = inner.name
        self._inner = inner
        self._accounts = accounts
        self._others = others
        # A derived key: nothing that is signed with the secret for another purpose may be valid as a token.
        self._key = OctKey.import_key(hmac.digest(secret, b"login tokens", "sha256"))
        self._now = now
        self._registry = SigningRegistry([_ALGORITHM])

    @override
    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        if self._others is not None:
            await self._others.__aenter__()
        return self

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._others is not None:
            await self._others.__aexit__(kind, error, trace)
        await self._inner.__aexit__(kind, error, trace)

    @override
    async def authenticate(self, authorization: str | None) -> Principal:
        if not authorization or split_header(authorization)[0] != "bearer" or _is_access_key(authorization):
            return await self._inner.authenticate(authorization)
        try:
            claims = decode_token(parse_bearer(authorization), self._key, self._registry).claims
        except CredentialsInvalidError:
            if self._others is None:
                raise
            # Not signed with our key: its issuer is another one, or nobody.
            return await self._others.authenticate(authorization)
        return await self._verified(claims)

    async def _verified(self, claims: Mapping[str, Any]) -> Principal:
        now = int(self._now().timestamp())
        expected = jwt.JWTClaimsRegistry(
            now=now, aud={"essential": True, "value": _AUDIENCE}, exp={"essential": True}, sub={"allow_blank": True}
        )
        principal = await self._principal(str(claims.get("sub", "")), str(claims.get("key", "")))
        try:
            expected.validate(dict(claims))
        except ExpiredTokenError:
            raise CredentialsExpiredError(principal, datetime.fromtimestamp(claims["exp"], UTC)) from None
        except JoseError as error:
            raise CredentialsInvalidError(f"the token is refused: {type(error).__name__}") from None
        return principal

    @override
    def challenge(self, accesses: Sequence[Access], asked: Asked, fault: Fault | None) -> str:
        parameters = [("realm", f"{asked.root}{TOKEN_PATH}"), ("service", asked.host)]
        if accesses:
            parameters.append(("scope", format_scopes(accesses)))
        if fault is not None:
            parameters.append(("error", fault))
        return format_challenge("Bearer", parameters)

    @override
    async def exchange(self, authorization: str | None) -> IssuedToken:
        principal = await self._inner.authenticate(authorization)
        issued_at = self._now()
        claims = {
            "sub": principal.name,
            "aud": _AUDIENCE,
            "iat": int(issued_at.timestamp()),
            "exp": int((issued_at + LIFETIME).timestamp()),
            # The limits of an API key hold for its tokens too, which end when the key is revoked.
            **({"key": principal.key} if principal.key else {}),
        }
        token = jwt.encode({"alg": _ALGORITHM}, claims, self._key, registry=self._registry)
        lifetime_seconds = int(LIFETIME.total_seconds())
        return IssuedToken(token=token, principal=principal, issued_at=issued_at, lifetime_seconds=lifetime_seconds)

    @override
    async def account(self, name: str, *, key: str = "") -> Account | None:
        return await self._accounts.account(name, key=key)

    @override
    async def reload(self) -> None:
        await self._inner.reload()
        if self._others is not None:
            await self._others.reload()

    async def _principal(self, name: str, key: str) -> Principal:
        if not name:
            return Principal(has_credentials=True)
        account = await self._accounts.account(name, key=key)
        if account is None:
            raise CredentialsInvalidError("the user or the API key of the token no longer exists")
        return account.principal


def _is_access_key(authorization: str) -> bool:
    return split_header(authorization)[1].startswith(PREFIX)
