"""How the upstream server asks for credentials: not at all, Basic, or Bearer tokens."""

import base64
import secrets
import time
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class _Token:
    user: str
    scopes: tuple[str, ...]
    expires_at: float


@dataclass
class SignIn:
    """Users and tokens. Tests change the attributes while the server runs."""

    scheme: str | None = None
    """None, `Basic` or `Bearer`."""
    users: dict[str, str] = field(default_factory=dict)
    """Password of each user."""
    identity_tokens: dict[str, str] = field(default_factory=dict)
    """User of each identity token, which the token server exchanges for a token (POST)."""
    anonymous: bool = True
    """Whether the token server gives tokens to anonymous clients."""
    private: set[str] = field(default_factory=set)
    """Repositories that anonymous tokens do not open."""
    token_seconds: float = 300.0
    """How long tokens are valid."""
    token_member: str = "token"
    """The member of the token server's answer: `token` or `access_token`."""
    reports_lifetime: bool = True
    reported_seconds: float | None = None
    """The reported lifetime, if it is not the real one."""
    realm: str = ""
    """URL of the token server in the challenge; the server sets its own."""
    service: str = "registry.test"
    challenge: str | None = None
    """The whole `WWW-Authenticate` header, instead of the usual one."""
    _tokens: dict[str, _Token] = field(default_factory=dict)

    def require_basic(self, **users: str) -> None:
        """Ask for Basic credentials of these users."""
        self.scheme, self.users = "Basic", dict(users)

    def require_bearer(self, *, anonymous: bool = False, **users: str) -> None:
        """Ask for tokens, which the token server gives to these users."""
        self.scheme, self.users, self.anonymous = "Bearer", dict(users), anonymous

    def rotate(self, user: str, password: str) -> None:
        """Change the password of a user, and revoke all tokens."""
        self.users[user] = password
        self.revoke_tokens()

    def revoke_tokens(self) -> None:
        """Refuse all tokens issued so far."""
        self._tokens.clear()

    def refusal(self, request: web.Request, name: str | None) -> web.Response | None:
        """Return the 401 for a request to a repository, or None if the request is allowed."""
        if self.scheme is None or self._is_allowed(request.headers.get("Authorization", ""), name):
            return None
        challenge = f'Basic realm="{self.service}"'
        if self.scheme == "Bearer":
            scope = f',scope="repository:{name}:pull"' if name else ""
            challenge = f'Bearer realm="{self.realm}",service="{self.service}"{scope}'
        document = {"errors": [{"code": "UNAUTHORIZED", "message": "sign in"}]}
        return web.json_response(
            document, status=401, headers={"WWW-Authenticate": challenge if self.challenge is None else self.challenge}
        )

    async def answer_token(self, request: web.Request) -> web.Response:
        """Answer a request to the token server."""
        form = await request.post()
        user = self._user(request.headers.get("Authorization", ""))
        if request.method == "POST":
            user = self.identity_tokens.get(str(form.get("refresh_token")))
        if user is None or (not user and not self.anonymous):
            return web.json_response(
                {"errors": [{"code": "UNAUTHORIZED", "message": "unknown user"}]},
                status=400 if request.method == "POST" else 401,
                headers={"WWW-Authenticate": 'Basic realm="tokens"'},
            )
        wanted = [str(form.get("scope", ""))] if request.method == "POST" else request.query.getall("scope", [])
        scopes = tuple(scope for text in wanted for scope in text.split())
        token = secrets.token_urlsafe(24)
        self._tokens[token] = _Token(user, scopes, time.monotonic() + self.token_seconds)
        document: dict[str, object] = {self.token_member: token}
        if self.reports_lifetime:
            seconds = self.reported_seconds
            document["expires_in"] = int(self.token_seconds) if seconds is None else seconds
        return web.json_response(document)

    def _is_allowed(self, authorization: str, name: str | None) -> bool:
        if self.scheme == "Basic":
            return bool(self._user(authorization))
        token = self._tokens.get(authorization.removeprefix("Bearer "))
        if token is None or token.expires_at < time.monotonic():
            return False
        if name is None:
            return True
        return f"repository:{name}:pull" in token.scopes and (bool(token.user) or name not in self.private)

    def _user(self, authorization: str) -> str | None:
        """Return the user, an empty text for nobody, or None if the password is wrong."""
        if not authorization:
            return ""
        scheme, _, encoded = authorization.partition(" ")
        if scheme != "Basic":
            return None
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        return user if self.users.get(user) == password else None
