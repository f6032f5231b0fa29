"""Sign-ins at the identity provider that have begun: a signed cookie in the browser, valid once and for 10 minutes.

The cookie is `SameSite=Lax`: the provider sends the browser back by a link of another site, and browsers withhold a
`Strict` cookie then. The nonce and the verifier of PKCE follow from the state and the registry's secret. The browser
never receives the verifier, and each replica can finish a sign-in that another one began.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.ports.identity_provider import SignInRequest
from entrypoints.web.signed_texts import SignedTexts
from entrypoints.web.visits import FLOW_LIFETIME

_FOLLOWING_LENGTH_MAX: Final = 1024
_STATE_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A sign-in that has begun in this browser."""

    state: str
    following: str
    """The path of the page that follows the sign-in, below that of the site."""
    ends_at: int
    """Seconds since 1970."""


class Flows:
    """Signs and verifies the cookie of a sign-in.

    Args:
        secret: equal on all replicas.
        now: returns the current time, UTC-aware.
    """

    def __init__(self, secret: bytes, *, now: Callable[[], datetime]) -> None:
        self._signed = SignedTexts(secret, b"provider sign-ins")
        self._now = now

    def begin(self, following: str) -> Flow:
        """Return a new sign-in, with a state that cannot be guessed."""
        return Flow(
            state=secrets.token_urlsafe(_STATE_BYTES),
            following=following if len(following) <= _FOLLOWING_LENGTH_MAX else "",
            ends_at=int((self._now() + FLOW_LIFETIME).timestamp()),
        )

    def encode(self, flow: Flow) -> str:
        """Return the value of the cookie."""
        return self._signed.encode(b"flow", [flow.state, flow.following, flow.ends_at])

    def decode(self, cookie: str, *, state: str) -> Flow | None:
        """Return the sign-in of a cookie; None if the cookie is not ours or too old, or the state is another one."""
        values = self._signed.decode(b"flow", cookie)
        if values is None:
            return None
        flow = Flow(state=values[0], following=values[1], ends_at=values[2])
        is_right = hmac.compare_digest(flow.state.encode(), state.encode())
        return flow if is_right and flow.ends_at > self._now().timestamp() else None

    def request(self, flow: Flow, redirect_uri: str) -> SignInRequest:
        """Return the secrets of a sign-in, which follow from its state."""
        return SignInRequest(
            redirect_uri=redirect_uri,
            nonce=self._signed.derive(b"nonce", flow.state),
            verifier=self._signed.derive(b"verifier", flow.state),
        )
