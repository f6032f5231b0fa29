"""Sign-in at the identity provider: the way there, and the way back."""

import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from core.errors import IssuerUnavailableError, NameUnknownError, TooManyRequestsError
from core.external_users.sign_in import ExternalSignIn
from core.external_users.user import ExternalUser
from core.ports.audit_log import AuditAction
from core.ports.identity_provider import SignInRefusedError
from entrypoints.http.keys import AUDIT_ACTION, REQUEST_ID, SIGNED_IN
from entrypoints.http.site import SiteParts
from entrypoints.web.flows import Flow, Flows
from entrypoints.web.locations import Location, Page
from entrypoints.web.sessions import Sessions
from entrypoints.web.views.destinations import destination
from entrypoints.web.visits import FLOW_COOKIE, Answer, Left, Moved, Shown, View, Visit

_NOT_AFTER: Final = frozenset({Page.SIGN_IN, Page.SIGN_OUT, Page.PROVIDER, Page.CALLBACK})
"""Pages that make no sense after a sign-in."""
_CANCELLED: Final = "access_denied"
"""The error of a provider when a person cancels (RFC 6749, 4.1.2.1)."""
_LOGGED_LENGTH_MAX: Final = 200

_logger = logging.getLogger(__name__)


class _EndedError(Exception):
    """No such sign-in has begun in this browser, or it has ended."""


class _CancelledError(Exception):
    """The person cancelled the sign-in at the provider."""


_PROBLEMS: Final[Mapping[type[Exception], tuple[str, int]]] = {
    _EndedError: ("expired", 400),
    _CancelledError: ("cancelled", 403),
    SignInRefusedError: ("refused", 403),
    TooManyRequestsError: ("busy", 429),
    IssuerUnavailableError: ("unavailable", 502),
}
"""The problem that the page explains for an error, and the status of the page."""


class ProviderViews:
    """Sends browsers to the identity provider, and begins sessions when they come back.

    Args:
        parts: the parts of the application that the site uses.
        sessions: the sessions of visitors.
        external: the sign-in at the provider.
    """

    def __init__(self, parts: SiteParts, sessions: Sessions, external: ExternalSignIn) -> None:
        self._parts = parts
        self._sessions = sessions
        self._external = external
        self._flows = Flows(parts.secret, now=parts.now)

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {
            (Page.PROVIDER, "GET"): self.leave,
            (Page.CALLBACK, "GET"): self.finish,
            (Page.SIGN_OUT, "GET"): self.signed_out,
        }

    async def leave(self, visit: Visit) -> Answer:
        """Send the browser to the provider.

        By a link, not a form: `form-action 'self'` of the page forbids a form that leads to another site.
        """
        following = destination(visit.query("next"))
        flow = self._flows.begin("" if following.page in _NOT_AFTER else following.path)
        try:
            request = self._flows.request(flow, self._address(visit, Page.CALLBACK))
            url = await self._external.provider.authorization_url(request, state=flow.state)
        except IssuerUnavailableError as error:
            return self._explain(visit, error)
        return Left(url=url, flow=self._flows.encode(flow))

    async def finish(self, visit: Visit) -> Answer:
        """Begin a session for the user whom the provider names."""
        if visit.request.method != "GET":
            # A program that looks at links must not use up the code.
            raise NameUnknownError("no such page")
        flow = self._flows.decode(visit.request.cookies.get(FLOW_COOKIE, ""), state=visit.query("state"))
        if flow is None and visit.user:
            # A second click at the provider, or the button Back: the first return has begun the session.
            return Moved(location=Location(Page.OVERVIEW))
        visit.request[AUDIT_ACTION] = AuditAction.SIGN_IN
        try:
            user = await self._redeem(visit, flow)
        except (
            _EndedError,
            _CancelledError,
            SignInRefusedError,
            IssuerUnavailableError,
            TooManyRequestsError,
        ) as error:
            return self._explain(visit, error)
        visit.request[SIGNED_IN] = user.principal
        session = self._sessions.begin(user=user.name, stamp=user.stamp)
        return Moved(location=destination(flow.following if flow else ""), session=session, ends_flow=True)

    async def signed_out(self, visit: Visit) -> Answer:
        """Offer the sign-out at the provider, where the person may still be signed in."""
        if visit.user:
            return Moved(location=Location(Page.OVERVIEW))
        try:
            url = await self._external.provider.sign_out_url(self._address(visit, Page.OVERVIEW))
        except IssuerUnavailableError as error:
            _logger.warning("the identity provider is unavailable: %s", error)
            url = None
        return Shown(template="signed-out.html", values={"label": self._external.label, "url": url})

    async def _redeem(self, visit: Visit, flow: Flow | None) -> ExternalUser:
        if flow is None:
            raise _EndedError
        error = visit.query("error")[:_LOGGED_LENGTH_MAX]
        if error == _CANCELLED:
            raise _CancelledError
        if error:
            description = visit.query("error_description")[:_LOGGED_LENGTH_MAX]
            raise SignInRefusedError(f"the provider answered {error!r}: {description!r}")
        request = self._flows.request(flow, self._address(visit, Page.CALLBACK))
        return await self._external.finish(visit.query("code"), request, issuer=visit.request.query.get("iss"))

    def _address(self, visit: Visit, page: Page) -> str:
        """Return the absolute URL of a page, as the browser and the provider know it.

        Raises:
            IssuerUnavailableError: the request has no valid host.
        """
        root = self._parts.urls.root(visit.request)
        if not urlsplit(root).netloc:
            raise IssuerUnavailableError("the address of the registry is unknown: set `http.host`")
        return f"{root.rstrip('/')}{self._parts.settings.ui.path}{Location(page).path}"

    def _explain(self, visit: Visit, error: Exception) -> Shown:
        """Return the page for an error, whose reason is in the log only."""
        problem, status = _PROBLEMS[type(error)]
        if isinstance(error, SignInRefusedError):
            _logger.warning("sign-in refused: %s", error)
        elif isinstance(error, IssuerUnavailableError):
            _logger.error("the identity provider is unavailable: %s", error)
        request_id = visit.request.get(REQUEST_ID, "")
        values = {"problem": problem, "label": self._external.label, "request_id": request_id}
        return Shown(template="sign-in-failed.html", values=values, status=status, ends_flow=True)
