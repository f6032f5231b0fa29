"""The registry as its own token server, for several methods at once and for anonymous pulls.

Docker sends no credentials without a 401 at `/v2/`, and gives up at a `Basic` challenge when it has no password. It
answers a `Bearer` challenge with or without a password: so the challenge names the registry's own token endpoint, which
exchanges a password, or no credentials at all, for a short-lived token. The token contains no permissions: access rules
are evaluated on every request.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

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
_GROUPS: Final = "groups"
_METHOD: Final = "method"
"""The claims of a principal without an account."""


class TokenServer(Authenticator, TokenIssuer):
    """Accepts its own tokens, and all credentials that `inner` accepts.

    A token of a principal that has no account here contains the user and the groups, and ends with the credentials for
    which it was issued.

    Args:
        inner: verifies all other credentials; opened and closed with this authenticator.
        secret: equal on all replicas.
        now: returns the current time, UTC-aware.
    """

    def __init__(self, inner: Authenticator, *, secret: bytes, now: Callable[[], datetime]) -> None:
        self.name = inner.name
        self._inner = inner
        # A derived key: nothing that is signed with the secret for another purpose may be valid as a token.
        self._key = OctKey.import_key(hmac.digest(secret, b"login tokens", "sha256"))
        self._now = now
        self._registry = SigningRegistry([_ALGORITHM])

    @override
    async def start(self) -> None:
        await self._inner.start()

    @override
    async def stop(self) -> None:
        await self._inner.stop()

    @override
    async def authenticate(self, authorization: str | None) -> Principal:
        if not authorization or split_header(authorization)[0] != "bearer" or _is_access_key(authorization):
            return await self._inner.authenticate(authorization)
        try:
            claims = decode_token(parse_bearer(authorization), self._key, self._registry).claims
        except CredentialsInvalidError as refusal:
            # Not signed with our key: its issuer is another one, or nobody.
            return await self._foreign(authorization, refusal)
        return await self._verified(claims)

    async def _foreign(self, authorization: str, refusal: CredentialsInvalidError) -> Principal:
        try:
            return await self._inner.authenticate(authorization)
        except CredentialsExpiredError:
            raise
        except CredentialsInvalidError as error:
            raise CredentialsInvalidError(f"{error}; as a token of this registry: {refusal}") from None

    async def _verified(self, claims: Mapping[str, Any]) -> Principal:
        now = int(self._now().timestamp())
        expected = jwt.JWTClaimsRegistry(
            now=now, aud={"essential": True, "value": _AUDIENCE}, exp={"essential": True}, sub={"allow_blank": True}
        )
        principal = await self._principal(claims)
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
        if principal.grants is not None:
            # The rights of such a token are its grants, which a token of this registry would not carry.
            raise CredentialsInvalidError("a token of the token server cannot be exchanged")
        issued_at = self._now()
        ends_at = min(issued_at + LIFETIME, principal.expires_at or datetime.max.replace(tzinfo=UTC))
        begin, end = int(issued_at.timestamp()), int(ends_at.timestamp())
        claims = {
            "sub": principal.name,
            "aud": _AUDIENCE,
            "iat": begin,
            "exp": end,
            # The limits of an API key hold for its tokens too, which end when the key is revoked.
            **({"key": principal.key} if principal.key else {}),
            **({_GROUPS: sorted(principal.groups), _METHOD: principal.method} if principal.expires_at else {}),
        }
        return IssuedToken(
            token=jwt.encode({"alg": _ALGORITHM}, claims, self._key, registry=self._registry),
            principal=principal,
            issued_at=issued_at,
            lifetime_seconds=end - begin,
        )

    @override
    async def reload(self) -> None:
        await self._inner.reload()

    async def _principal(self, claims: Mapping[str, Any]) -> Principal:
        name = str(claims.get("sub", ""))
        if not name:
            return Principal(has_credentials=True)
        if _GROUPS in claims:
            groups, ends_at = frozenset(claims[_GROUPS]), datetime.fromtimestamp(claims["exp"], UTC)
            return Principal(name=name, groups=groups, has_credentials=True, method=claims[_METHOD], expires_at=ends_at)
        account = await self._account(name, str(claims.get("key", "")))
        if account is None:
            raise CredentialsInvalidError("the user or the API key of the token no longer exists")
        return account.principal

    async def _account(self, name: str, key: str) -> Account | None:
        """Return the user of a token; without accounts, there is none."""
        del name, key
        return None


class LoginTokenAuthenticator(TokenServer, Accounts):
    """A `TokenServer` whose `inner` has users.

    Args:
        inner: see `TokenServer`.
        accounts: the users; asked for every token, so that a removed user loses access at once.
        secret: see `TokenServer`.
        now: see `TokenServer`.
    """

    def __init__(self, inner: Authenticator, *, accounts: Accounts, secret: bytes, now: Callable[[], datetime]) -> None:
        super().__init__(inner, secret=secret, now=now)
        self._accounts = accounts

    @override
    async def account(self, name: str, *, key: str = "") -> Account | None:
        return await self._accounts.account(name, key=key)

    @override
    async def _account(self, name: str, key: str) -> Account | None:
        return await self.account(name, key=key)


def _is_access_key(authorization: str) -> bool:
    return split_header(authorization)[1].startswith(PREFIX)
