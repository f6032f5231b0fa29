"""The sender of a request as the actor of an operation, and the description of the request in events."""

import logging
import re
from functools import partial
from typing import Final

from aiohttp import BasicAuth, web

from core.model.events import Actor, Origin
from core.ports.authenticator import CredentialsExpiredError, CredentialsInvalidError
from entrypoints.http.keys import CALLER, CLAIMED_USER, CLIENT, REQUEST_ID
from entrypoints.http.urls import UrlBuilder

_CLAIMED: Final = re.compile(r"[A-Za-z0-9._@+-]{1,64}")
"""User names that are logged as claimed; anything else is omitted, since users type passwords into the wrong field."""

_logger = logging.getLogger(__name__)


def actor_of(request: web.Request, urls: UrlBuilder) -> Actor:
    """Return the sender of an authorized request. The request is described only if an event is published."""
    return Actor(request[CALLER].principal.name, partial(_origin, request, urls))


def _origin(request: web.Request, urls: UrlBuilder) -> Origin:
    return Origin(
        request_id=request[REQUEST_ID],
        address=_address(request),
        host=request.host,
        method=request.method,
        user_agent=request.headers.get("User-Agent", ""),
        actor=request[CALLER].principal.name or claimed_user(request.headers.get("Authorization", "")),
        root=urls.base(request),
    )


def _address(request: web.Request) -> str:
    """Return the client's address as distribution formats it: with the port, unless the address comes from a proxy."""
    address = request[CLIENT].address
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    if not isinstance(peer, tuple) or peer[0] != address:
        return address
    return f"[{address}]:{peer[1]}" if ":" in address else f"{address}:{peer[1]}"


def log_refused_login(request: web.Request, error: CredentialsInvalidError) -> None:
    """Log why credentials were refused. The client never learns the reason."""
    # A token expires in the course of every long push: that is no reason to worry.
    level = logging.INFO if isinstance(error, CredentialsExpiredError) else logging.WARNING
    fields = {"client.address": request[CLIENT].address}
    if name := claimed_name(request):
        fields["auth.user.name"] = name
    _logger.log(level, "login failed: %s", error, extra=fields)


def claimed_name(request: web.Request) -> str:
    """Return the user name of the credentials, unverified, if it is a plausible name; otherwise an empty string."""
    name = request.get(CLAIMED_USER) or claimed_user(request.headers.get("Authorization", ""))
    return name if _CLAIMED.fullmatch(name) else ""


def claimed_user(authorization: str) -> str:
    """Return the user name of Basic credentials, unverified, or an empty string.

    Without authentication, distribution's events contain this name.
    """
    try:
        login: str = BasicAuth.decode(authorization).login
    except ValueError:
        return ""
    return login
