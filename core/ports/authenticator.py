"""The port for authentication: identifying callers, and challenging them to authenticate."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from core.model.access import Access, Principal
from core.ports.resource import Resource

TOKEN_PATH: Final = "auth/token"  # noqa: S105 - a path
"""Path of a `TokenIssuer` below the registry's root; distribution's default for a token server at the same host."""


class Fault(StrEnum):
    """The error code of a challenge (RFC 6750, 3.1)."""

    INVALID_TOKEN = "invalid_token"  # noqa: S105 - a word of the protocol, not a password
    INSUFFICIENT_SCOPE = "insufficient_scope"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The address that the client used, for challenges that contain it."""

    root: str
    """Scheme, host and path prefix of the registry as the client sees them, with a trailing slash."""
    host: str
    forwarded_scheme: str = ""
    """The scheme reported by a proxy, or empty."""


class CredentialsInvalidError(Exception):
    """The credentials are invalid. The message is for the log and contains no secret."""


class CredentialsExpiredError(CredentialsInvalidError):
    """A token that is valid except for its age."""

    def __init__(self, principal: Principal, expired_at: datetime) -> None:
        super().__init__("the token has expired")
        self.principal = principal
        self.expired_at = expired_at


class CredentialSourceError(Exception):
    """A file of users or keys cannot be used. The message names file and line, never the content of a line."""


class Authenticator(Resource):
    """Identifies the sender of a request. One per process, opened as a context manager; safe for concurrent tasks.

    Opening raises `CredentialSourceError` if a file of users or keys is missing or unusable, so that a misconfigured
    registry does not start with everyone locked out or let in. Changed files are read again by the next request at the
    latest. If a new version is unusable, an error is logged and the previous version stays in use.
    """

    name: str
    """The method's name in configuration and logs."""

    @property
    def is_open(self) -> bool:
        """Whether callers are never asked to authenticate."""
        return False

    @abstractmethod
    async def authenticate(self, authorization: str | None) -> Principal:
        """Return the sender of this `Authorization` header; an anonymous principal if it is absent or empty.

        Never blocks the event loop. The duration does not reveal whether a user exists.

        Raises:
            CredentialsInvalidError: the credentials are malformed, of another scheme, unknown, wrong or expired.
            TooManyRequestsError: too many credentials are waiting for verification.
            IssuerUnavailableError: the credentials are a token of an identity provider whose keys are not known.
        """

    @abstractmethod
    def challenge(self, accesses: Sequence[Access], asked: Asked, fault: Fault | None) -> str:
        """Return the `WWW-Authenticate` value with which a client can obtain `accesses`.

        One line of printable ASCII, whatever the client sent. Equal arguments give equal results.
        """

    async def reload(self) -> None:
        """Read the files again now, at an operator's request.

        Raises:
            CredentialSourceError: at least one file is unusable; the previous content stays in use.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user whose password an authenticator verifies."""

    principal: Principal
    stamp: str
    """Differs after each change of the password; reveals nothing about the password. Equal on all replicas."""


class Accounts(ABC):
    """The users of an authenticator that verifies passwords, for sessions that last longer than a request."""

    @abstractmethod
    async def account(self, name: str, *, key: str = "") -> Account | None:
        """Return a user as of now, with the current groups; None if there is no such user.

        Costs as much as a request with remembered credentials: no password is verified.

        Args:
            name: the user.
            key: the id of an API key of this user, to whose limits the principal is restricted. The result is None if
                the key is no longer valid.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A token, as returned to a client."""

    token: str
    principal: Principal
    """The caller whom the token identifies."""
    issued_at: datetime
    lifetime_seconds: int


class TokenIssuer(ABC):
    """Exchanges login credentials for a token, if the registry is its own token server."""

    @abstractmethod
    async def exchange(self, authorization: str | None) -> IssuedToken:
        """Return a token for the sender of this header, who may be anonymous.

        A token cannot be exchanged for another one, so its bearer has access only until it expires.

        Raises:
            CredentialsInvalidError: the header contains no valid login credentials.
            TooManyRequestsError: too many credentials are waiting for verification.
        """
