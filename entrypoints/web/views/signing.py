"""Sign-in and sign-out with the users of the registry."""

import base64
from collections.abc import Mapping

from aiohttp import web

from core.errors import TooManyRequestsError
from core.ports.audit_log import AuditAction
from core.ports.authenticator import Accounts, Authenticator, CredentialsInvalidError
from entrypoints.http.actors import log_refused_login
from entrypoints.http.keys import AUDIT_ACTION, CLAIMED_USER, SIGNED_IN
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
        self._external = parts.operations.external_sign_in
        self._has_passwords = self._external is None or parts.settings.auth.has_passwords

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
        return self._form(visit.query("next"))

    async def sign_in(self, visit: Visit) -> Answer:
        """Verify the password, and begin a session."""
        user = visit.field("user")
        visit.request[AUDIT_ACTION] = AuditAction.SIGN_IN
        visit.request[CLAIMED_USER] = user
        try:
            session = await self._verify(visit.request, user, visit.field("password"))
        except TooManyRequestsError:
            return self._form(visit.field("next"), problem="busy", user=user, status=429)
        except CredentialsInvalidError as error:
            log_refused_login(visit.request, error)
            # The same answer for a wrong name and for a wrong password.
            return self._form(visit.field("next"), problem="wrong", user=user, status=403)
        return Moved(location=destination(visit.field("next")), session=session)

    async def sign_out(self, visit: Visit) -> Answer:
        """End the session in this browser."""
        is_external = self._external is not None and await self._external.users.find(visit.user) is not None
        location = Location(Page.SIGN_OUT if is_external else Page.OVERVIEW)
        return Moved(location=location, session=self._sessions.begin())

    async def _verify(self, request: web.Request, user: str, password: str) -> Session:
        if not user or ":" in user:
            raise CredentialsInvalidError("no user has an empty name or one with a colon")
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        principal = await self._authenticator.authenticate(f"Basic {credentials}")
        if principal.key:
            # A session has all rights of its user, and an API key may be limited.
            raise CredentialsInvalidError(f"the API key {principal.key} does not sign in to the web page")
        accounts = self._authenticator
        account = await accounts.account(principal.name) if isinstance(accounts, Accounts) else None
        if account is None:
            raise CredentialsInvalidError("the user no longer exists")
        request[SIGNED_IN] = account.principal
        return self._sessions.begin(user=account.principal.name, stamp=account.stamp)

    def _form(self, following: str, *, problem: str = "", user: str = "", status: int = 200) -> Shown:
        values = {
            "next": destination(following).path,
            "problem": problem,
            "claimed": user,
            "has_passwords": self._has_passwords,
            "provider": self._external.label if self._external is not None else "",
        }
        return Shown(template="sign-in.html", values=values, status=status)
