"""OpenID Connect provider at which people sign in: the authorization code flow, with all checks."""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote_plus, urlencode

from aiohttp import web
from typing_extensions import override

from tests.support.identity_provider import IdentityProvider

CLIENT: Final = "the registry"
SECRET: Final = "a secret: 100% / safe"
_PERSON: Final = {
    "sub": "248289761001",
    "preferred_username": "alice",
    "email": "alice@example.com",
    "email_verified": True,
    "groups": ["dev", "admins"],
}


@dataclass(frozen=True)
class _Grant:
    """A code that the provider issued."""

    redirect_uri: str
    challenge: str
    nonce: str


@dataclass
class People:
    """The answers of the provider, which tests change."""

    person: dict[str, Any] = field(default_factory=lambda: dict(_PERSON))
    """The claims of the person who signs in."""
    userinfo: dict[str, Any] = field(default_factory=dict)
    """Further claims at the userinfo endpoint."""
    error: str = ""
    """An error in the place of a code."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Changed claims of ID tokens; None removes one."""
    header: dict[str, Any] = field(default_factory=dict)
    """Changed members of the header of ID tokens."""
    id_token: str | None = None
    """A token in the place of an ID token."""
    has_link: bool = False
    """Whether the provider shows a page with a link, in the place of a redirect."""


class SignInProvider(IdentityProvider):
    """Provider with one client, whose redirect URIs must be registered exactly.

    It requires PKCE with S256, a state and a nonce. Each code is valid once, with the redirect URI and the verifier of
    its beginning, and for a client that authenticates.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.people = People()
        self.redirect_uris: set[str] = set()
        self.faults: list[str] = []
        """The reasons for which the provider refused something."""
        self._grants: dict[str, _Grant] = {}

    @override
    def document(self) -> dict[str, Any]:
        members = {"userinfo_endpoint": f"{self.url}/userinfo", "authorization_response_iss_parameter_supported": True}
        return super().document() | members | self.discovery

    @override
    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._exchange)
        app.router.add_get("/userinfo", self._show_userinfo)
        app.router.add_get("/logout", self._sign_out)

    def refuse(self, fault: str, error: str, status: int = 400) -> web.Response:
        self.faults.append(fault)
        return web.json_response({"error": error, "error_description": fault}, status=status)

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        redirect_uri = query.get("redirect_uri", "")
        if query.get("client_id") != CLIENT or redirect_uri not in self.redirect_uris:
            return self.refuse(f"unknown client or redirect URI: {redirect_uri}", "invalid_request")
        is_complete = query.get("code_challenge_method") == "S256" and len(query.get("code_challenge", "")) == 43
        if query.get("response_type") != "code" or "openid" not in query.get("scope", "").split() or not is_complete:
            return self.refuse("incomplete request", "invalid_request")
        answer = {"state": query["state"], "iss": self.url}
        if self.people.error:
            answer |= {"error": self.people.error, "error_description": "<b>because</b>"}
        else:
            code = answer["code"] = secrets.token_urlsafe(16)
            self._grants[code] = _Grant(redirect_uri, query["code_challenge"], query["nonce"])
        target = f"{redirect_uri}?{urlencode(answer)}"
        if self.people.has_link:
            page = f'<!doctype html><title>Provider</title><a href="{target.replace("&", "&amp;")}">Continue</a>'
            return web.Response(text=page, content_type="text/html")
        return web.Response(status=302, headers={"Location": target})

    async def _exchange(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not self._is_client(request.headers.get("Authorization", ""), form):
            return self.refuse("wrong client authentication", "invalid_client", 401)
        grant = self._grants.pop(str(form.get("code")), None)
        if grant is None or form.get("grant_type") != "authorization_code":
            return self.refuse("unknown or used code", "invalid_grant")
        digest = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != grant.challenge:
            return self.refuse("wrong verifier", "invalid_grant")
        if form.get("redirect_uri") != grant.redirect_uri:
            return self.refuse("another redirect URI", "invalid_grant")
        people = self.people
        changes = {"aud": CLIENT, "nonce": grant.nonce, **people.person, **people.changes}
        token = people.id_token or self.token(header=people.header, **changes)
        return web.json_response({"access_token": "access", "token_type": "Bearer", "id_token": token})

    def _is_client(self, authorization: str, form: Any) -> bool:
        methods = self.document().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if "none" in methods and not authorization and "client_secret" not in form:
            return bool(form.get("client_id") == CLIENT)
        if "client_secret_post" in methods and not authorization:
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)
        if "client_secret_basic" not in methods or not authorization.startswith("Basic "):
            return False
        name, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        return (unquote_plus(name), unquote_plus(secret)) == (CLIENT, SECRET)

    async def _show_userinfo(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer access":
            return self.refuse("wrong access token", "invalid_token", 401)
        return web.json_response({"sub": self.people.person["sub"], **self.people.userinfo})

    async def _sign_out(self, request: web.Request) -> web.StreamResponse:
        target = request.query.get("post_logout_redirect_uri", "")
        if request.query.get("client_id") != CLIENT or not any(uri.startswith(target) for uri in self.redirect_uris):
            return self.refuse("unknown client or redirect URI", "invalid_request")
        return web.Response(status=302, headers={"Location": target})


def unsigned(claims: dict[str, Any]) -> str:
    """Return a token with `alg: none`."""
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."
