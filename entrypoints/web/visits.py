"""A visit: one request for a page, with the visitor and the visitor's rights."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeAlias

from aiohttp import web

from core.errors import DeniedError
from core.model.access import ADMINISTRATION, Access, Action, Caller, repository_access
from core.model.names import RepositoryName
from entrypoints.http.forwarding import Client
from entrypoints.http.keys import CLIENT
from entrypoints.web.locations import Location
from entrypoints.web.sessions import Session

DONE: Final = "done"
"""The beginning of the parameters with the result of a form, which links of the page do not repeat."""
FLOW_COOKIE: Final = "registry_sign_in"
"""The cookie of a sign-in at the identity provider that has begun (`entrypoints.web.flows`)."""
FLOW_LIFETIME: Final = timedelta(minutes=10)

_DIGITS_MAX: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request for a page."""

    request: web.Request
    location: Location
    caller: Caller
    session: Session
    language: str
    theme: str
    """`light`, `dark`, or empty for that of the browser."""
    form: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The fields of a form; empty for a GET."""

    @property
    def name(self) -> RepositoryName:
        """The repository of the page.

        Raises:
            NameInvalidError: it is no valid name.
        """
        return RepositoryName(self.location.name)

    @property
    def client(self) -> Client:
        """The sender of the request, as far as the headers of proxies are trusted."""
        return self.request[CLIENT]

    @property
    def user(self) -> str:
        """The user who has signed in, or the empty text."""
        return self.caller.principal.name

    @property
    def is_admin(self) -> bool:
        """Whether the visitor may do operations on the whole registry."""
        return self.allows(ADMINISTRATION)

    def allows(self, *accesses: Access) -> bool:
        """Whether a rule allows every access."""
        return self.caller.policy.allows_all(self.caller.principal, accesses)

    def may(self, action: Action, name: str) -> bool:
        """Whether the visitor may do something with a repository."""
        return self.allows(*repository_access(name, action))

    def require(self, *accesses: Access) -> None:
        """Raise an error if a rule does not allow every access.

        Raises:
            DeniedError: a visitor who can sign in is sent to the sign-in, others see a page with status 403.
        """
        if not self.allows(*accesses):
            raise DeniedError("requested access to the resource is denied")

    def require_pull(self) -> RepositoryName:
        """Return the repository of the page if the visitor may pull from it, whether it exists or not.

        Raises:
            DeniedError: as for `require`.
            NameInvalidError: it is no valid name.
        """
        self.require(*repository_access(self.location.name, Action.PULL))
        return self.name

    def query(self, key: str) -> str:
        """Return a parameter of the address, or the empty text."""
        return self.request.query.get(key, "")

    def number(self, key: str, *, default: int = 0) -> int:
        """Return a parameter of the address that is a whole number of at most 15 digits; else the default."""
        text = self.query(key)
        return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else default

    def field(self, key: str) -> str:
        """Return a field of the form, or the empty text."""
        values = self.form.get(key)
        return values[0] if values else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A page to render."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    ends_flow: bool = False
    """Whether this answer removes the cookie of a sign-in at the identity provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A redirect after a form, to a page of the site."""

    location: Location
    query: Mapping[str, str | int | None] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    """Cookies of the site that this answer sets."""
    session: Session | None = None
    """The session that begins with this answer."""
    ends_flow: bool = False
    """Whether this answer removes the cookie of a sign-in at the identity provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A redirect to the identity provider."""

    url: str
    flow: str
    """The value of the cookie of the sign-in."""


Answer: TypeAlias = Shown | Moved | Left | web.Response
View: TypeAlias = Callable[[Visit], Awaitable[Answer]]
"""Answers one method on one kind of page."""
