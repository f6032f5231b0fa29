"""One issuer of OpenID Connect tokens: its discovery document, its keys, and the verification of its tokens."""

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import Key
from typing_extensions import override

from adapters.auth.algorithms import ALGORITHMS
from adapters.auth.issuer_client import IssuerAnswer, IssuerClient, authority_problem
from adapters.auth.issuer_options import IssuerOptions, has_allowed_scheme
from adapters.auth.jwt_registry import SigningRegistry, decode_token
from adapters.auth.refreshed import Refreshed
from adapters.auth.token_keys import read_signing_keys
from adapters.auth.watched_file import WatchedFile
from core.errors import IssuerUnavailableError
from core.json_text import load_json
from core.ports.authenticator import CredentialsInvalidError, CredentialSourceError
from core.ports.resource import Resource

LEEWAY_SECONDS: Final = 60
"""The largest accepted difference between the clocks of the issuer and the registry."""
TOKEN_LENGTH_MAX: Final = 16 * 1024
ASYMMETRIC: Final = tuple(each for each in ALGORITHMS if not each.startswith("HS"))
"""The accepted algorithms: a key set is public, so a key of it must never verify an HMAC."""
_DISCOVERY: Final = "/.well-known/openid-configuration"
_URL_LENGTH_MAX: Final = 2048
_PARTS: Final = 3
"""Header, claims and signature (RFC 7515, 7.1)."""

Keys = Mapping[str, Key]
"""The public keys of an issuer, by each id that a token may use for them."""


class TokenExpiredError(CredentialsInvalidError):
    """A token that is valid except for its age."""

    def __init__(self, claims: Mapping[str, Any]) -> None:
        super().__init__("the token has expired")
        self.claims = claims


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The URLs of a discovery document; empty where the document names none, or one that is not allowed."""

    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    end_session_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods: frozenset[str]
    """The ways in which a client may authenticate at the token endpoint."""
    names_issuer: bool
    """Whether the issuer names itself in each answer to a browser (RFC 9207)."""


@dataclass(frozen=True, slots=True)
class IssuerProbe:
    """The state of an issuer."""

    keys: int
    """Number of usable keys."""
    date: str
    """The header `Date` of the answer; empty for keys of a file."""


class Issuer(Resource):
    """Verifies the tokens of one configured issuer; opened as a context manager, without contacting the issuer.

    The keys are fetched on first use, and then as `Refreshed` describes. Only the issuer's URL, a configured URL of
    keys, and the URLs of the discovery document are contacted.

    Args:
        options: the issuer.
        now: the current time, UTC-aware.
        clock: monotonic seconds.
    """

    def __init__(self, options: IssuerOptions, *, now: Callable[[], datetime], clock: Callable[[], float]) -> None:
        self.url = options.url
        self.client = IssuerClient(options)
        self._options = options
        self._now = now
        self._registry = SigningRegistry(ASYMMETRIC)
        self._file = WatchedFile(options.key_file, "the key set", _parse_keys) if options.key_file else None
        self._endpoints = Refreshed(self._discover, clock=clock, name=f"the discovery document of {options.url}")
        self._keys = Refreshed(self._fetch_keys, clock=clock, name=f"the keys of {options.url}")
        self._last: tuple[bytes, Keys] | None = None
        self._stack = AsyncExitStack()

    @override
    async def start(self) -> None:
        """Check the configured files.

        Raises:
            CredentialSourceError: a file cannot be used.
        """
        if self._file is not None:
            await self._file.current()
        if self._options.ca is not None:
            problem = await asyncio.to_thread(authority_problem, self._options.ca)
            if problem is not None:
                raise CredentialSourceError(f"the authorities of the issuer {self.url}: {self._options.ca}: {problem}")
        await self._stack.enter_async_context(self.client)
        self._stack.push_async_callback(self._endpoints.aclose)
        self._stack.push_async_callback(self._keys.aclose)

    @override
    async def stop(self) -> None:
        """End running requests."""
        await self._stack.aclose()

    async def endpoints(self) -> Endpoints:
        """Return the URLs of the discovery document.

        Raises:
            IssuerUnavailableError: no usable document can be fetched, and none is known.
        """
        return await self._endpoints.current()

    async def verify(self, token: str, *, audiences: Sequence[str]) -> Mapping[str, Any]:
        """Return the claims of a token that this issuer signed for one of the audiences.

        Args:
            token: any text, from an untrusted client.
            audiences: at least one.

        Raises:
            TokenExpiredError: the token is valid except for its age.
            CredentialsInvalidError: the token is refused. The message is for the log, and contains no part of the
                token.
            IssuerUnavailableError: the keys are not known.
        """
        key = await self._key_of(read_header(token))
        claims = decode_token(token, key, self._registry).claims
        now = int(self._now().timestamp())
        expected = jwt.JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self.url},
            aud={"essential": True, "values": list(audiences)},
        )
        age = jwt.JWTClaimsRegistry(now=now, leeway=LEEWAY_SECONDS, exp={"essential": True})
        try:
            expected.validate({name: value for name, value in claims.items() if name != "exp"})
            age.validate({"exp": claims.get("exp")})
        except ExpiredTokenError:
            raise TokenExpiredError(claims) from None
        except JoseError as error:
            raise CredentialsInvalidError(f"the token is refused: {type(error).__name__}: {_claim_of(error)}") from None
        return claims

    async def probe(self) -> IssuerProbe:
        """Fetch the keys now, for a diagnosis.

        Raises:
            IssuerUnavailableError: the keys cannot be fetched.
        """
        if self._file is not None:
            return IssuerProbe(_count(await self._file.current()), "")
        answer = await self._fetch_key_set()
        return IssuerProbe(_count(await self._parsed(answer.body)), answer.date)

    async def reload(self) -> None:
        """Read the file of keys again, if keys come from a file.

        Raises:
            CredentialSourceError: the file cannot be used.
        """
        if self._file is not None:
            await self._file.reload()

    async def _key_of(self, header: Mapping[str, Any]) -> Key:
        kid = header.get("kid")
        keys = await (self._file.current() if self._file is not None else self._keys.current())
        if kid is None and _count(keys) == 1:
            return next(iter(keys.values()))
        if not isinstance(kid, str):
            raise CredentialsInvalidError("the token does not name its key")
        if kid not in keys and self._file is None:
            keys = await self._keys.renewed()
        if kid not in keys:
            raise CredentialsInvalidError("the key that signed the token is not one of the issuer")
        return keys[kid]

    async def _discover(self) -> Endpoints:
        content = (await self.client.fetch(self.url.rstrip("/") + _DISCOVERY)).body
        try:
            document = load_json(content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise IssuerUnavailableError("the discovery document is not a JSON object")
        if document.get("issuer") != self.url:
            # OpenID Connect Discovery 1.0, 4.3: otherwise the document is that of another issuer.
            raise IssuerUnavailableError("the discovery document names another issuer than the configured one")
        return self._read_endpoints(document)

    def _read_endpoints(self, document: Mapping[str, Any]) -> Endpoints:
        def url(name: str) -> str:
            text = document.get(name)
            if not isinstance(text, str) or len(text) > _URL_LENGTH_MAX or not has_allowed_scheme(text, self.url):
                return ""
            return text

        methods = document.get("token_endpoint_auth_methods_supported")
        return Endpoints(
            authorization_endpoint=url("authorization_endpoint"),
            token_endpoint=url("token_endpoint"),
            userinfo_endpoint=url("userinfo_endpoint"),
            end_session_endpoint=url("end_session_endpoint"),
            jwks_uri=url("jwks_uri"),
            # The default of OpenID Connect Discovery 1.0, section 3.
            token_endpoint_auth_methods=frozenset(map(str, methods))
            if isinstance(methods, list)
            else frozenset({"client_secret_basic"}),
            names_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        )

    async def _fetch_keys(self) -> Keys:
        return await self._parsed((await self._fetch_key_set()).body)

    async def _fetch_key_set(self) -> IssuerAnswer:
        url = self._options.key_url or (await self.endpoints()).jwks_uri
        if not url:
            raise IssuerUnavailableError("the discovery document names no usable `jwks_uri`")
        return await self.client.fetch(url)

    async def _parsed(self, content: bytes) -> Keys:
        if self._last is None or self._last[0] != content:
            try:
                self._last = (content, await asyncio.to_thread(_parse_keys, content))
            except CredentialSourceError as error:
                raise IssuerUnavailableError(f"the key set {error}") from None
        return self._last[1]


def read_header(token: str) -> Mapping[str, Any]:
    """Return the header of a token, without any verification.

    Raises:
        CredentialsInvalidError: the text is not a token, or longer than `TOKEN_LENGTH_MAX`.
    """
    return _read_part(token, 0)


def read_unverified_claims(token: str) -> Mapping[str, Any]:
    """Return the claims of a token, without any verification: only to choose the issuer that verifies them.

    Raises:
        CredentialsInvalidError: the text is not a token, or longer than `TOKEN_LENGTH_MAX`.
    """
    return _read_part(token, 1)


def _read_part(token: str, index: int) -> Mapping[str, Any]:
    parts = token.split(".") if len(token) <= TOKEN_LENGTH_MAX else []
    if len(parts) != _PARTS:
        raise CredentialsInvalidError("the token is too long, or no signed token")
    try:
        text = parts[index].encode("ascii")
        found = load_json(base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        found = None
    if not isinstance(found, dict):
        raise CredentialsInvalidError("the token cannot be read")
    return found


def _count(keys: Keys) -> int:
    return len({id(key) for key in keys.values()})


def _parse_keys(content: bytes) -> Keys:
    return read_signing_keys(content).by_id


def _claim_of(error: JoseError) -> str:
    # Claims have the names that this module gives; joserfc's texts do not quote values.
    return str(getattr(error, "claim", "") or getattr(error, "description", ""))[:64]
