"""The port for finding out who sends a request, and for asking them to say so."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

from core.access import Access, Principal

TOKEN_PATH: Final = "auth/token"  # noqa: S105 - a path
"""Where, below the registry's root, a `TokenIssuer` is asked; distribution's default for a token server beside it."""


class Fault(StrEnum):
    """What is wrong with a token, as a challenge tells it (RFC 6750, 3.1)."""

    INVALID_TOKEN = "invalid_token"  # noqa: S105 - a word of the protocol, not a password
    INSUFFICIENT_SCOPE = "insufficient_scope"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """At what address a client asked, for challenges that name one."""

    root: str
    """Scheme, host and prefix of the registry as the client sees them, ended by a slash."""
    host: str
    forwarded_scheme: str = ""
    """What a proxy in front told of the scheme, or nothing."""


class CredentialsInvalidError(Exception):
    """Credentials came and are not good; the text is for the log and tells no secret."""


class CredentialsExpiredError(CredentialsInvalidError):
    """A token that is good in every respect but its age."""

    def __init__(self, principal: Principal, expired_at: datetime) -> None:
        super().__init__("the token has expired")
        self.principal = principal
        self.expired_at = expired_at


class CredentialSourceError(Exception):
    """What an authenticator is made from cannot be used; the text names file and line, never a line's content."""


class Authenticator(ABC):
    """Finds out who sends a request; one per process, safe for any number of tasks, opened as a context manager.

    Opening raises `CredentialSourceError` when a file of users or keys is missing or cannot be used: a registry must
    not start that lets nobody in, or everybody. What is read from files is read again when they change, at the latest
    with the next request; a version that cannot be used is refused with a line in the log, and the one before stays.
    """

    name: str
    """The method's name in configuration and logs."""

    async def __aenter__(self) -> Self:
        """Read files, start threads."""
        return self

    async def __aexit__(  # noqa: B027 - optional: some have nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop them again."""

    @property
    def is_open(self) -> bool:
        """Whether nobody is ever asked who they are."""
        return False

    @abstractmethod
    async def authenticate(self, authorization: str | None) -> Principal:
        """Return who sends this `Authorization` header; somebody anonymous where there is none, or an empty one.

        Never blocks the event loop. How long it takes does not tell whether a user exists.

        Raises:
            CredentialsInvalidError: they are malformed, of another scheme, unknown, wrong or expired.
            TooManyRequestsError: too many credentials wait to be verified.
        """

    @abstractmethod
    def challenge(self, accesses: Sequence[Access], asked: Asked, fault: Fault | None) -> str:
        """Return the `WWW-Authenticate` value that tells a client how to come back with rights to `accesses`.

        One line of printable ASCII, whatever the client sent; the same for the same arguments.
        """

    async def reload(self) -> None:  # noqa: B027 - optional: some read nothing
        """Read files again now, for an operator who asks.

        Raises:
            CredentialSourceError: at least one cannot be used; what was read before stays.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A token as a client gets it."""

    token: str
    issued_at: datetime
    lifetime_seconds: int


class TokenIssuer(ABC):
    """Exchanges the credentials of a login for a token, where the registry is its own token server."""

    @abstractmethod
    async def exchange(self, authorization: str | None) -> IssuedToken:
        """Return a token that stands for whoever sends this header, which may be nobody in particular.

        A token is exchanged for no other: whoever holds one comes to an end with it.

        Raises:
            CredentialsInvalidError: they are none that one logs in with.
            TooManyRequestsError: too many credentials wait to be verified.
        """
