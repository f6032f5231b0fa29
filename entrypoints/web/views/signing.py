"""Sign-in and sign-out with the users of the registry."""

import base64
from collections.abc import Mapping

from core.errors import TooManyRequestsError
from core.ports.audit_log import AuditAction
from core.ports.authenticator import Accounts, Authenticator, CredentialsInvalidError
from entrypoints.http.keys import AUDIT_ACTION, CLAIMED_USER
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Location, Page
from entrypoints.web.sessions import Session, Sessions
from entrypoints.web.views.destinations import destination
from entrypoints.web.visits import Answer, Moved, Shown, View, Visit


class SigningViews:
    """The form of the sign-in, and what happens when it is sent."""

    def __init__(self, parts: SiteParts, sessions: Sessions) -> None:
        self._authenticator: Authenticator = parts.authenticator
        self._sessions = sessions

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        if not isinstance(self._authenticator, Accounts):
            return {}
        return {
            (Page.SIGN_IN, "GET"): self.show,
            (Page.SIGN_IN, "POST"): self.sign_in,
            (Page.SIGN_OUT, "POST"): self.sign_out,
        }

    async def show(self, visit: Visit) -> Answer:
        """Show the form."""
        return _form(visit.query("next"))

    async def sign_in(self, visit: Visit) -> Answer:
        """Verify the password, and begin a session."""
        user = visit.field("user")
        visit.request[AUDIT_ACTION] = AuditAction.SIGN_IN
        visit.request[CLAIMED_USER] = user
        try:
            session = await self._verify(user, visit.field("password"))
        except TooManyRequestsError:
            return _form(visit.field("next"), problem="busy", user=user, status=429)
        if session is None:
            # The same answer for a wrong name and for a wrong password.
            return _form(visit.field("next"), problem="wrong", user=user, status=403)
        return Moved(location=destination(visit.field("next")), session=session)

    async def sign_out(self, _visit: Visit) -> Answer:
        """End the session in this browser."""
        return Moved(location=Location(Page.OVERVIEW), session=self._sessions.begin())

    async def _verify(self, user: str, password: str) -> Session | None:
        if not user or ":" in user:
            return None
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        try:
            principal = await self._authenticator.authenticate(f"Basic {credentials}")
        except CredentialsInvalidError:
            return None
        if principal.key:
            # A session has all rights of its user, and an API key may be limited.
            return None
        accounts = self._authenticator
        account = await accounts.account(principal.name) if isinstance(accounts, Accounts) else None
        return self._sessions.begin(user=account.principal.name, stamp=account.stamp) if account else None


def _form(following: str, *, problem: str = "", user: str = "", status: int = 200) -> Shown:
    values = {"next": destination(following).path, "problem": problem, "claimed": user}
    return Shown(template="sign-in.html", values=values, status=status)
