"""`auth: token`: verifies the signed tokens of an external token server (distribution's token specification)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Self

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from typing_extensions import override

from adapters.auth.algorithms import ALGORITHMS
from adapters.auth.basic import format_challenge, parse_bearer
from adapters.auth.jwt_registry import SigningRegistry, decode_token
from adapters.auth.token_keys import TrustedKeys, read_certificates, read_key_set
from adapters.auth.watched_file import WatchedFile
from core.model.access import ANONYMOUS, Access, Grant, Principal
from core.ports.authenticator import (
    Asked,
    Authenticator,
    CredentialsExpiredError,
    CredentialsInvalidError,
    Fault,
)

LEEWAY_SECONDS: Final = 60
"""The largest accepted difference between the clocks of the token server and the registry."""
_DEFAULT_SCHEME: Final = "https"


class TokenAuthenticator(Authenticator):
    """Accepts the tokens of one issuer for one service, signed by a trusted key.

    Args:
        realm: URL of the token server.
        issuer: the required `iss` claim.
        service: the required `aud` claim.
        certificates_path: PEM file of certificates; their keys are trusted, and they may certify other keys.
        key_set_path: file with a JSON Web Key Set; if both paths are given, the keys of both files are trusted.
        algorithms: the accepted signature algorithms; empty for all known ones.
        redirect_path: if not None, the realm is this path on the host of the client's request.
        now: returns the current time, UTC-aware.

    Raises:
        ValueError: an algorithm is unknown, or neither path is given.
    """

    name = "token"

    def __init__(
        self,
        *,
        realm: str,
        issuer: str,
        service: str,
        now: Callable[[], datetime],
        certificates_path: str | None = None,
        key_set_path: str | None = None,
        algorithms: Sequence[str] = (),
        redirect_path: str | None = None,
    ) -> None:
        self._realm = realm
        self._issuer = issuer
        self._service = service
        self._now = now
        self._redirect_path = redirect_path
        self._files: list[WatchedFile[TrustedKeys]] = []
        if certificates_path:
            self._files.append(WatchedFile(certificates_path, "auth.token.rootcertbundle", read_certificates))
        if key_set_path:
            self._files.append(WatchedFile(key_set_path, "auth.token.jwks", read_key_set))
        if not self._files:
            raise ValueError("token verification needs a file of certificates or keys")
        self._registry = SigningRegistry(algorithms or ALGORITHMS)

    @override
    async def __aenter__(self) -> Self:
        # `current`, not `reload`: a replacement worker starts with the content that the supervisor has read before,
        # even if the file is invalid now.
        for file in self._files:
            await file.current()
        return self

    @override
    async def authenticate(self, authorization: str | None) -> Principal:
        if not authorization:
            return ANONYMOUS
        token = parse_bearer(authorization)
        keys = TrustedKeys({})
        for file in self._files:
            keys |= await file.current()
        now = self._now()
        claims = self._verified_claims(token, keys, now)
        principal = Principal(
            name=str(claims.get("sub") or ""), grants=parse_grants(claims), method=self.name, has_credentials=True
        )
        self._require_fresh(claims, principal, now)
        return principal

    @override
    def challenge(self, accesses: Sequence[Access], asked: Asked, fault: Fault | None) -> str:
        parameters = [("realm", self._realm_for(asked)), ("service", self._service)]
        if accesses:
            parameters.append(("scope", format_scopes(accesses)))
        if fault is not None:
            parameters.append(("error", fault))
        return format_challenge("Bearer", parameters)

    @override
    async def reload(self) -> None:
        for file in self._files:
            await file.reload()

    def _realm_for(self, asked: Asked) -> str:
        if self._redirect_path is None:
            return self._realm
        return f"{asked.forwarded_scheme or _DEFAULT_SCHEME}://{asked.host}/{self._redirect_path.lstrip('/')}"

    def _verified_claims(self, token: str, keys: TrustedKeys, now: datetime) -> Mapping[str, Any]:
        """Return the claims of a token that is valid in all but its expiry, which is not checked here."""
        expected = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._service},
        )
        decoded = decode_token(token, lambda parts: keys.choose(parts.headers(), now=now), self._registry)
        try:
            expected.validate({name: value for name, value in decoded.claims.items() if name != "exp"})
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise CredentialsInvalidError(f"the token is refused: {type(error).__name__}") from None
        return decoded.claims

    def _require_fresh(self, claims: Mapping[str, Any], principal: Principal, now: datetime) -> None:
        age = jwt.JWTClaimsRegistry(now=int(now.timestamp()), leeway=LEEWAY_SECONDS, exp={"essential": True})
        try:
            age.validate({"exp": claims.get("exp")})
        except ExpiredTokenError:
            raise CredentialsExpiredError(principal, parse_time(claims["exp"])) from None
        except JoseError as error:
            raise CredentialsInvalidError(f"the token is refused: {type(error).__name__}") from None


def format_scopes(accesses: Sequence[Access]) -> str:
    """Return the scopes of a challenge: actions of one resource joined by commas, resources by spaces."""
    actions: dict[tuple[str, str], list[str]] = {}
    for access in accesses:
        actions.setdefault((access.kind, access.name), []).append(access.action)
    return " ".join(f"{kind}:{name}:{','.join(dict.fromkeys(wanted))}" for (kind, name), wanted in actions.items())


def parse_time(seconds: float) -> datetime:
    """Return a claim as a time; a claim out of range counts as long past."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        # The token has expired, but its `exp` is out of range; use the earliest time.
        return datetime.min.replace(tzinfo=UTC)


def parse_grants(claims: Mapping[str, Any]) -> tuple[Grant, ...]:
    """Parse the claim `access`; malformed entries grant nothing."""
    entries = claims.get("access") or []
    if not isinstance(entries, list):
        return ()
    grants = []
    for entry in entries:
        match entry:
            case {"type": str(kind), "name": str(name), "actions": list(actions)}:
                grants.append(Grant(kind, name, frozenset(each for each in actions if isinstance(each, str))))
            case _:
                continue
    return tuple(grants)
