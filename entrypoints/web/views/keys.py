"""API keys of the user who has signed in: list, creation and revocation."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from core.access_keys.key import EVERYWHERE, GLOBS_MAX, limit_to
from core.access_keys.service import AccessKeys, ListedKey
from core.errors import DeniedError, InvalidInputError, UnknownError
from core.model.access import RuleAction
from core.ports.audit_log import AuditAction
from entrypoints.http.keys import AUDIT_ACTION
from entrypoints.http.routes import Right
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Location, Page
from entrypoints.web.visits import Answer, Moved, Shown, View, Visit

_LIFETIMES: Final[Mapping[str, timedelta | None]] = {
    "7": timedelta(days=7),
    "30": timedelta(days=30),
    "90": timedelta(days=90),
    "365": timedelta(days=365),
    "never": None,
}
_DEFAULT_LIFETIME: Final = "90"
_ACTIONS: Final = (RuleAction.PULL, RuleAction.PUSH, RuleAction.DELETE, RuleAction.CATALOG)
SHOWN_MAX: Final = 200
"""Maximum number of keys on the page, each of which costs a storage request."""


class KeyViews:
    """Shows, creates and revokes keys. Operators see and revoke those of all users."""

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts
        self._keys = parts.operations.access_keys

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        if self._keys is None:
            return {}
        return {
            (Page.KEYS, "GET"): self.show,
            (Page.KEYS, "POST"): self.create,
            (Page.KEY, "GET"): self.confirm,
            (Page.KEY, "POST"): self.revoke,
        }

    async def show(self, visit: Visit) -> Answer:
        """Show the keys. Two listings, and a storage request for each key of the store, at most `SHOWN_MAX` shown."""
        _require_user(visit)
        return await self._page(visit)

    async def create(self, visit: Visit) -> Answer:
        """Create a key, and show it this once."""
        user = _require_user(visit)
        await self._parts.flags.require(Right.WRITE)
        visit.request[AUDIT_ACTION] = AuditAction.KEY_CREATE
        await self._parts.auditor.ask(visit.request)
        try:
            lifetime = _LIFETIMES[visit.field("expires")]
        except KeyError:
            raise InvalidInputError("the lifetime must be one of the list") from None
        globs = visit.field("repositories").replace(",", " ").split()[: GLOBS_MAX + 1]
        limit = limit_to(globs or EVERYWHERE, visit.form.get("actions", ()))
        expires_at = None if lifetime is None else self._parts.now() + lifetime
        _, token = await self._service.create(
            owner=user, label=visit.field("label"), limit=limit, expires_at=expires_at
        )
        # No redirect: the key must not appear in an address.
        return await self._page(visit, token=token)

    async def confirm(self, visit: Visit) -> Answer:
        """Show what a revocation ends."""
        owner = _owner_of(visit)
        async for listed in self._service.listed(owner):
            if listed.key.id == visit.location.reference:
                return Shown(template="key.html", values={"listed": listed})
        raise UnknownError("there is no such key")

    async def revoke(self, visit: Visit) -> Answer:
        """Revoke a key. This works while the registry is read-only, too."""
        owner = _owner_of(visit)
        visit.request[AUDIT_ACTION] = AuditAction.KEY_REVOKE
        await self._parts.auditor.ask(visit.request)
        await self._service.revoke(visit.location.reference, owner=owner)
        return Moved(location=Location(Page.KEYS), query={"revoked": visit.location.reference})

    @property
    def _service(self) -> AccessKeys:
        if self._keys is None:
            raise UnknownError("there are no keys")
        return self._keys

    async def _page(self, visit: Visit, *, token: str = "") -> Shown:
        shown: list[ListedKey] = []
        has_more = False
        async for listed in self._service.listed(None if visit.is_admin else visit.user):
            if len(shown) == SHOWN_MAX:
                has_more = True
                break
            shown.append(listed)
        shown.sort(key=lambda listed: listed.key.created_at, reverse=True)
        values = {
            "keys": shown,
            "has_more": has_more,
            "token": token,
            "now": self._parts.now(),
            "lifetimes": list(_LIFETIMES),
            "default_lifetime": _DEFAULT_LIFETIME,
            "actions": _ACTIONS,
        }
        return Shown(template="keys.html", values=values)


def _require_user(visit: Visit) -> str:
    if not visit.user:
        raise DeniedError("keys belong to a user: sign in")
    return visit.user


def _owner_of(visit: Visit) -> str | None:
    """Return the owner whose keys the visitor may revoke; None for an operator, who may revoke all."""
    user = _require_user(visit)
    return None if visit.is_admin else user
