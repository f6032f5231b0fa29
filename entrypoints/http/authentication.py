"""Authentication and authorization of routed requests, before names are validated and anything is looked up."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from core.errors import DeniedError, NameInvalidError, UnauthenticatedError, UploadInvalidError
from core.model.access import (
    ADMINISTRATION,
    ANONYMOUS,
    CATALOG,
    OPEN,
    Access,
    AccessPolicy,
    Action,
    Caller,
    Principal,
    repository_access,
)
from core.model.names import RepositoryName
from core.ports.authenticator import (
    Asked,
    Authenticator,
    CredentialsExpiredError,
    CredentialsInvalidError,
    Fault,
)
from core.registry.upload_state import UploadState, UploadStateCodec
from entrypoints.http.actors import log_refused_login
from entrypoints.http.client_certificates import ClientCertificates
from entrypoints.http.keys import CALLER, CLIENT, SIGNED_IN, TARGET
from entrypoints.http.routes import Resource, Target
from entrypoints.http.urls import UrlBuilder

_logger = logging.getLogger(__name__)

_ACTIONS: Final[Mapping[str, tuple[Action, ...]]] = {
    "GET": (Action.PULL,),
    "HEAD": (Action.PULL,),
    "POST": (Action.PULL, Action.PUSH),
    "PUT": (Action.PULL, Action.PUSH),
    "PATCH": (Action.PULL, Action.PUSH),
    "DELETE": (Action.DELETE,),
}
_FOR_ALL: Final = frozenset({Resource.BASE, Resource.EXTENSIONS})
"""Resources that require no right beyond a login."""
_ADMINISTRATIVE: Final[frozenset[Resource]] = frozenset(
    {
        Resource.TRASH,
        Resource.TRASH_ENTRY,
        Resource.READ_ONLY,
        Resource.RETENTION,
        Resource.NOTIFICATIONS,
        Resource.USAGE,
        Resource.COLLECTION,
        Resource.VERIFICATION,
    }
)
"""Resources of the whole registry that require `ADMINISTRATION`; all others require the right to list repositories."""
_PUBLIC: Final = frozenset({Resource.V1_PING})
"""Resources that require no authentication: `docker search` sends the ping without credentials."""
_OUTLIVES: Final = frozenset({"GET", "HEAD", "PATCH", "PUT"})
"""Methods allowed in an upload session after its token has expired; a `DELETE` is not part of a push."""
_LEEWAY: Final = timedelta(seconds=60)


# Cached because requests repeat the same few repositories; bounded because clients choose the names.
@lru_cache(maxsize=512)
def accesses_of(target: Target, method: str, source: str | None) -> tuple[Access, ...]:
    """Return the accesses that a request requires, as distribution defines them.

    Args:
        target: target of the request.
        method: HTTP method.
        source: query parameter `from`, the source repository of a mount; required even if the request does not mount.
    """
    if target.resource in _FOR_ALL:
        return ()
    if not target.name:
        return (ADMINISTRATION if target.resource in _ADMINISTRATIVE else CATALOG,)
    accesses = repository_access(target.name, *_ACTIONS.get(method, ()))
    if source:
        accesses += repository_access(source, Action.PULL)
    return accesses


class Authorizer:
    """Authenticates and authorizes requests; one per application.

    Args:
        authenticator: identifies the sender of a request.
        policy: decides which requests are allowed.
        codec: decodes the signed state of upload sessions.
        urls: builds the URL of the registry.
        upload_lifetime: time from the start of a session during which the session may outlive its token.
        now: returns the current time, UTC-aware.
        certificates: identifies the senders of requests without an `Authorization` header; None for anonymous ones.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        policy: AccessPolicy,
        *,
        codec: UploadStateCodec,
        urls: UrlBuilder,
        upload_lifetime: timedelta,
        now: Callable[[], datetime],
        certificates: ClientCertificates | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._certificates = certificates
        self._use(policy)
        self._codec = codec
        self._urls = urls
        self._upload_lifetime = upload_lifetime
        self._now = now

    @property
    def policy(self) -> AccessPolicy:
        """The policy for requests from now on."""
        return self._policy

    async def reload(self) -> None:
        """Reload the files of users, groups and keys.

        Raises:
            CredentialSourceError: at least one file is invalid; the previous data stays in force.
        """
        await self._authenticator.reload()

    def use(self, policy: AccessPolicy, *, upload_lifetime: timedelta) -> None:
        """Apply another policy and lifetime to subsequent requests."""
        self._use(policy)
        self._upload_lifetime = upload_lifetime

    def identify_by(self, certificates: ClientCertificates | None) -> None:
        """Identify the senders of subsequent requests by these client certificates."""
        self._certificates = certificates

    def _use(self, policy: AccessPolicy) -> None:
        self._policy = policy
        # Computed once: without authentication and with an open policy, every request is allowed.
        self._allows_all = self._authenticator.is_open and policy == OPEN

    @web.middleware
    async def authorize(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Authenticate and authorize a request, and set its `CALLER`.

        This happens before names are validated and anything is looked up: the response must not reveal what exists.

        Raises:
            UnauthenticatedError: the client must authenticate, or get a token with more scope.
            DeniedError: the request is not allowed, and authenticating again would not help.
            TooManyRequestsError: too many credentials wait for verification.
        """
        target = request[TARGET]
        if target.resource in _PUBLIC:
            request[CALLER] = Caller(principal=ANONYMOUS, policy=self._policy)
            return await handler(request)
        accesses = accesses_of(target, request.method, request.query.get("from"))
        principal = await self._identify(request, target, accesses)
        request[SIGNED_IN] = principal
        self._decide(request, principal, accesses)
        request[CALLER] = Caller(
            principal=principal,
            policy=self._policy,
            may_push=any(access.action is Action.PUSH for access in accesses),
        )
        return await handler(request)

    async def admit(self, accesses: Sequence[Access]) -> Principal | None:
        """Return the sender of a request without credentials, or None unless the accesses are certainly allowed.

        Raises:
            RegistryError: as `Authenticator.authenticate` does.
        """
        if self._certificates is not None or not accesses:
            return None
        principal, policy = await self._authenticator.authenticate(None), self._policy
        if self._allows_all or (not policy.is_blocked(principal) and policy.allows_all(principal, accesses)):
            return principal
        return None

    async def _identify(self, request: web.Request, target: Target, accesses: Sequence[Access]) -> Principal:
        if self._certificates is not None and (principal := self._certificates.principal_of(request)) is not None:
            return principal
        try:
            return await self._authenticator.authenticate(request.headers.get("Authorization"))
        except CredentialsExpiredError as error:
            if not self._outlives(request, target, error):
                log_refused_login(request, error)
                raise self._challenge(request, accesses, Fault.INVALID_TOKEN) from None
            _logger.info("upload continued with a token that expired after it began")
            return error.principal
        except CredentialsInvalidError as error:
            log_refused_login(request, error)
            raise self._challenge(request, accesses, Fault.INVALID_TOKEN) from None

    def _decide(self, request: web.Request, principal: Principal, accesses: Sequence[Access]) -> None:
        policy, authenticator = self._policy, self._authenticator
        if self._allows_all:
            return
        if policy.is_blocked(principal):
            raise _denied(accesses)
        if not accesses and not principal.has_credentials and not authenticator.is_open:
            # Clients request the API root to learn how to log in, even if the registry allows much to anonymous users.
            raise self._challenge(request, accesses, None)
        if policy.allows_all(principal, accesses):
            return
        if authenticator.is_open or (principal.grants is None and not principal.is_anonymous):
            # Other credentials would not help, so a challenge is pointless.
            raise _denied(accesses)
        fault = Fault.INSUFFICIENT_SCOPE if principal.has_credentials else None
        raise self._challenge(request, accesses, fault)

    def _outlives(self, request: web.Request, target: Target, error: CredentialsExpiredError) -> bool:
        """Whether the request continues an upload session that began while the token was valid (docs/adr/0011)."""
        token = request.query.get("_state")
        if target.resource is not Resource.UPLOAD or request.method not in _OUTLIVES or token is None:
            return False
        try:
            state = self._codec.decode(token, name=RepositoryName(target.name), upload_id=target.reference)
        except (UploadInvalidError, NameInvalidError):
            return False
        began_at = _began_at(state)
        return (
            state.granted_to == error.principal.name
            and began_at is not None
            and began_at <= error.expired_at + _LEEWAY
            and self._now() < began_at + self._upload_lifetime
        )

    def _challenge(self, request: web.Request, accesses: Sequence[Access], fault: Fault | None) -> UnauthenticatedError:
        client = request[CLIENT]
        is_forwarded = "X-Forwarded-Proto" in request.headers or "Forwarded" in request.headers
        asked = Asked(
            root=self._urls.root(request),
            host=client.host or "",
            forwarded_scheme=client.scheme if is_forwarded else "",
        )
        challenge = self._authenticator.challenge(accesses, asked, fault)
        return UnauthenticatedError(challenge, detail=_detail(accesses) or None)


AUTHORIZER: Final = web.AppKey("AUTHORIZER", Authorizer)
"""Authorizer of the application, reloaded with the rest of the configuration."""


def _began_at(state: UploadState) -> datetime | None:
    try:
        began_at = datetime.fromisoformat(state.started_at)
    except ValueError:
        return None
    return began_at.astimezone(UTC) if began_at.tzinfo is not None else None


def _denied(accesses: Sequence[Access]) -> DeniedError:
    return DeniedError("requested access to the resource is denied", detail=_detail(accesses) or None)


def _detail(accesses: Sequence[Access]) -> list[dict[str, str]]:
    return [
        {"Type": access.kind, "Class": "", "Name": access.name, "Action": access.action.value} for access in accesses
    ]
