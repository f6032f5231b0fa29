"""Token server for tests: distribution's token specification on aiohttp, in its own thread.

The server authenticates users by password, and grants each user the requested scopes that a table allows.
"""

import asyncio
import base64
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from joserfc.jwk import KeySet

from tests.support.token_keys import ISSUER, SERVICE, claims, grant, make_key, sign

Table = Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]]
"""User name to password and actions by repository name; `*` means every repository, the user "" is anonymous."""


class TokenServer:
    """Server on a free port of 127.0.0.1, running inside its block."""

    def __init__(self, folder: Path, users: Table, *, lifetime_seconds: int = 300) -> None:
        self._users = users
        self._lifetime_seconds = lifetime_seconds
        self._key = make_key("ES256")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.asked: list[str] = []
        """Scopes that clients requested, in order."""
        self.key_set = folder / "token-server-keys.json"
        self.key_set.write_text(json.dumps(KeySet([self._key]).as_dict(private=False)))
        self.realm = ""

    @property
    def settings(self) -> dict[str, Any]:
        """Section `auth.token` of a registry that trusts this server."""
        return {"realm": self.realm, "issuer": ISSUER, "service": SERVICE, "jwks": str(self.key_set)}

    def __enter__(self) -> Self:
        self._thread.start()
        self.realm = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    async def _start(self) -> str:
        app = web.Application()
        app.router.add_get("/token", self._token)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        return f"http://127.0.0.1:{port}/token"

    async def _token(self, request: web.Request) -> web.Response:
        name = _checked_name(request.headers.get("Authorization", ""), self._users)
        if name is None:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="tokens"'})
        scopes = [scope for text in request.query.getall("scope", []) for scope in text.split()]
        self.asked += scopes
        now = datetime.now(UTC)
        token = sign(
            {"alg": "ES256", "kid": self._key.thumbprint()},
            claims(
                access=[entry for scope in scopes if (entry := self._granted(name, scope))],
                subject=name,
                now=now,
                exp=int(now.timestamp()) + self._lifetime_seconds,
            ),
            self._key,
        )
        return web.json_response({"token": token, "expires_in": self._lifetime_seconds})

    def _granted(self, name: str, scope: str) -> dict[str, Any] | None:
        kind, _, rest = scope.partition(":")
        resource, _, actions = rest.rpartition(":")
        rights = self._users[name][1]
        allowed = {*rights.get(resource, ()), *rights.get("*", ())}
        granted = [action for action in actions.split(",") if action in allowed]
        return grant(resource, *granted, kind=kind) if granted else None


def _checked_name(authorization: str, users: Table) -> str | None:
    if not authorization:
        return "" if "" in users else None
    name, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
    if not name and not password:
        return "" if "" in users else None
    return name if name in users and users[name][0] == password else None
