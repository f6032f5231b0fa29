"""OpenID Connect provider for tests: discovery, keys and tokens, on aiohttp, in its own thread."""

import asyncio
import json
import ssl
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.typedefs import Handler
from joserfc.jwk import Key, KeySet

from tests.support.certificates import Pair
from tests.support.token_keys import make_key, sign

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/keys"


@dataclass(frozen=True)
class Reply:
    """A prepared answer."""

    body: bytes = b""
    status: int = 200
    location: str = ""
    date: datetime | None = None


class IdentityProvider:
    """Provider on a free port of 127.0.0.1, running inside its block.

    Its own time is `now`, from which the claims of new tokens are computed.
    """

    def __init__(self, *, algorithm: str = "RS256", tls: Pair | None = None, now: datetime | None = None) -> None:
        self.algorithm = algorithm
        self.keys: dict[str, Key] = {"first": make_key(algorithm)}
        """The keys of the key set by id; the last one signs."""
        self.requests: Counter[str] = Counter()
        """Number of requests by path."""
        self.authorizations: set[str] = set()
        """The `Authorization` headers of all requests."""
        self.arrived = threading.Event()
        """Set when a request arrives."""
        self.is_down = False
        """Whether the provider drops connections instead of answering."""
        self.held: threading.Event | None = None
        """An event for which answers wait."""
        self.replies: dict[str, Reply] = {}
        """Prepared answers by path, instead of the usual ones."""
        self.discovery: dict[str, Any] = {}
        """Members that replace those of the discovery document."""
        self.now = now
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def rotate(self, kid: str, *, keeps_old: bool = False) -> None:
        """Sign with a new key from now on."""
        if not keeps_old:
            self.keys.clear()
        self.keys[kid] = make_key(self.algorithm)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of a valid token; `changes` replaces some of them, and None removes one."""
        now = int((self.now or datetime.now(UTC)).timestamp())
        whole = {
            "iss": self.url,
            "aud": "registry.example",
            "sub": "repo:corp/app:ref:refs/heads/main",
            "repository": "corp/app",
            "ref": "refs/heads/main",
            "nbf": now - 10,
            "iat": now,
            "exp": now + 300,
        } | changes
        return {name: value for name, value in whole.items() if value is not None}

    def token(self, *, kid: str | None = None, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Return a token signed with the newest key, or with the key `kid`; `changes` are those of `claims`."""
        name = kid or list(self.keys)[-1]
        whole = {"alg": self.algorithm, "kid": name} | (header or {})
        return sign(
            {key: value for key, value in whole.items() if value is not None}, self.claims(**changes), self.keys[name]
        )

    @property
    def key_set(self) -> bytes:
        """The JSON Web Key Set, as it is served."""
        keys = [{**key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, key in self.keys.items()]
        return json.dumps(KeySet.import_key_set({"keys": keys}).as_dict(private=False)).encode()

    def document(self) -> dict[str, Any]:
        """Return the discovery document."""
        return {
            "issuer": self.url,
            "jwks_uri": self.url + JWKS,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "end_session_endpoint": f"{self.url}/logout",
            "id_token_signing_alg_values_supported": [self.algorithm],
        } | self.discovery

    async def _start(self) -> str:
        app = web.Application(middlewares=[self._intercept])
        app.router.add_get(DISCOVERY, self._show_discovery)
        app.router.add_get(JWKS, self._show_keys)
        self.add_routes(app)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        context = None
        if self._tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._tls.certificate, self._tls.key)
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"

    def add_routes(self, app: web.Application) -> None:
        """Add further endpoints; for subclasses."""

    @web.middleware
    async def _intercept(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests[request.path] += 1
        self.arrived.set()
        self.authorizations.add(request.headers.get("Authorization", ""))
        if self.held is not None:
            await asyncio.to_thread(self.held.wait)
        if self.is_down:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        reply = self.replies.get(request.path)
        if reply is not None:
            headers = {"Location": reply.location} if reply.location else {}
            if reply.date is not None:
                headers["Date"] = format_datetime(reply.date, usegmt=True)
            return web.Response(status=reply.status, body=reply.body, headers=headers)
        return await handler(request)

    async def _show_discovery(self, _request: web.Request) -> web.Response:
        return web.json_response(self.document())

    async def _show_keys(self, _request: web.Request) -> web.Response:
        return web.Response(body=self.key_set, content_type="application/json")
