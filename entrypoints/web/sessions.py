"""Sessions of visitors: a signed cookie, which needs no storage and is valid at all replicas.

The cookie holds the user's name and the stamp of the password, so a session ends with the password or the user. It is
sent for the path of the page only, and no other part of the registry reads it. The token of a form is derived from the
id of the session: another site cannot read or guess it.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from entrypoints.web.signed_texts import SignedTexts

LIFETIME: Final = timedelta(hours=12)
COOKIE: Final = "registry_session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A visit of at most 12 hours, by a user or by an anonymous visitor."""

    id: str
    user: str = ""
    """Empty for an anonymous visitor."""
    stamp: str = ""
    """The stamp of the user's account at the sign-in."""
    ends_at: int
    """Seconds since 1970."""
    is_new: bool = False
    """Whether the visitor does not have the cookie yet."""


class Sessions:
    """Signs and verifies sessions and the tokens of forms.

    Args:
        secret: equal on all replicas.
        now: returns the current time, UTC-aware.
    """

    def __init__(self, secret: bytes, *, now: Callable[[], datetime]) -> None:
        self._signed = SignedTexts(secret, b"web sessions")
        self._now = now

    def begin(self, *, user: str = "", stamp: str = "") -> Session:
        """Return a new session. Its id is new too: an attacker cannot prepare a session for another user."""
        ends_at = int((self._now() + LIFETIME).timestamp())
        return Session(id=secrets.token_urlsafe(16), user=user, stamp=stamp, ends_at=ends_at, is_new=True)

    def encode(self, session: Session) -> str:
        """Return the value of the cookie."""
        return self._signed.encode(b"session", [session.id, session.user, session.stamp, session.ends_at])

    def decode(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None if the cookie is not ours or too old."""
        values = self._signed.decode(b"session", cookie)
        if values is None:
            return None
        session_id, user, stamp, ends_at = values
        if ends_at <= self._now().timestamp():
            return None
        return Session(id=session_id, user=user, stamp=stamp, ends_at=ends_at)

    def form_token(self, session: Session) -> str:
        """Return the token that every form of the session contains."""
        return self._signed.derive(b"form", session.id)

    def is_form_token(self, session: Session, token: str) -> bool:
        """Whether a form was made for the session."""
        return hmac.compare_digest(token.encode(), self.form_token(session).encode())
