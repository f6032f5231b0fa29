"""Client for the public address of a registry; it follows no redirects, so that changes by proxies are visible."""

import base64
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode, urljoin, urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from typing_extensions import override
from yarl import URL

from core.json_text import load_json

_TIMEOUT_SECONDS: Final = 120.0
_ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
_SHOWN_BYTES: Final = 200

Body = bytes | AsyncIterator[bytes] | None


class UnreachableError(Exception):
    """No answer, or a broken connection; the message is for operators and contains no secret."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Response to a request."""

    status: int
    headers: Mapping[str, str]
    """Lookup of names is case-insensitive."""
    body: bytes
    seconds: float

    @property
    def location(self) -> str:
        """Value of the `Location` header, or an empty string."""
        return self.headers.get("Location", "")

    @property
    def codes(self) -> list[str]:
        """Error codes of the registry; empty if something else answered, such as a proxy."""
        try:
            return [str(error["code"]) for error in load_json(self.body)["errors"]]
        except (ValueError, KeyError, TypeError):
            return []

    def describe(self) -> str:
        """Return the status and the apparent source of the answer."""
        if self.codes:
            return f"{self.status} {', '.join(self.codes)}"
        server = self.headers.get("Server")
        shown = " ".join(self.body[:_SHOWN_BYTES].decode("utf-8", "replace").split())
        return f"{self.status}" + (f" from {server}" if server else "") + (f": {shown}" if shown else "")


@dataclass(frozen=True, slots=True)
class Credentials:
    """User name and password for the checks."""

    user: str
    password: str

    @override
    def __repr__(self) -> str:
        return f"Credentials({self.user!r})"

    @property
    def basic(self) -> str:
        """Value of the `Authorization` header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class PublicRegistry:
    """Client for one address.

    Each request uses its own connection, so that a load balancer chooses a replica each time.

    Args:
        url: scheme, host, port and prefix, as a client would write them.
        credentials: user to authenticate as; None means anonymous.
        context: TLS context that decides which certificates to trust.
    """

    def __init__(self, url: str, *, credentials: Credentials | None = None, context: ssl.SSLContext | None) -> None:
        self.url = url.rstrip("/") + "/"
        self._credentials = credentials
        self._context = context
        self._authorization: dict[str, str] = {}

    @property
    def is_https(self) -> bool:
        """Whether clients connect with TLS."""
        return urlsplit(self.url).scheme == "https"

    def resolve(self, location: str) -> str:
        """Return the absolute URL for a `Location` value."""
        return urljoin(self.url + "v2/", location)

    def here(self, location: str) -> str:
        """Return a URL with this registry's scheme and host, and the path and query of `location`."""
        wanted, own = urlsplit(self.resolve(location)), urlsplit(self.url)
        return wanted._replace(scheme=own.scheme, netloc=own.netloc).geturl()

    async def request(
        self,
        method: str,
        target: str,
        *,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
        scope: str = "",
    ) -> Answer:
        """Send one request, with a token or a password if the server demands one; redirects are not followed.

        Args:
            method: HTTP method.
            target: path below the registry's root, or a URL.
            body: bytes, or an iterator of pieces for a chunked body. An iterator is sent only once, so a token must
                have been obtained by an earlier request.
            headers: additional headers.
            scope: scope of the token.

        Raises:
            UnreachableError: there is no answer.
        """
        answer = await self._send(method, target, body, {**self._known(scope), **(headers or {})})
        can_repeat = self._credentials is not None and not isinstance(body, AsyncIterator)
        if answer.status == HTTPStatus.UNAUTHORIZED and can_repeat:
            authorization = await self._authorize(answer.headers.get("WWW-Authenticate", ""), scope)
            if authorization:
                self._authorization[scope] = authorization
                answer = await self._send(method, target, body, {**self._known(scope), **(headers or {})})
        return answer

    def _known(self, scope: str) -> dict[str, str]:
        known = self._authorization.get(scope)
        return {"Authorization": known} if known else {}

    async def _authorize(self, challenge: str, scope: str) -> str | None:
        if self._credentials is None:
            return None
        if challenge.lower().startswith("basic"):
            return self._credentials.basic
        asked = parse_challenge(challenge)
        realm = asked.pop("realm", None)
        if not challenge.lower().startswith("bearer") or realm is None:
            return None
        query = urlencode({"service": asked.get("service", ""), "scope": scope or asked.get("scope", "")})
        separator = "&" if urlsplit(realm).query else "?"
        answer = await self._send("GET", f"{realm}{separator}{query}", None, {"Authorization": self._credentials.basic})
        try:
            document: dict[str, Any] = load_json(answer.body)
            return f"Bearer {document.get('token') or document['access_token']}"
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UnreachableError(f"the token server at {realm} returned {answer.describe()}") from None

    async def _send(self, method: str, target: str, body: Body, headers: Mapping[str, str]) -> Answer:
        url = URL(target if "://" in target else urljoin(self.url, target), encoded=True)
        all_headers = dict(headers)
        if body is None and method in {"POST", "PUT", "PATCH"}:
            all_headers["Content-Length"] = "0"
        began = time.monotonic()
        try:
            # A session closes its connections at once at its end, and waits for no server to end TLS.
            async with (
                ClientSession(
                    connector=TCPConnector(ssl=self._context or True),
                    timeout=ClientTimeout(total=_TIMEOUT_SECONDS, sock_connect=10),
                    auto_decompress=False,
                ) as session,
                session.request(method, url, data=body, headers=all_headers, allow_redirects=False) as response,
            ):
                content = b"" if method == "HEAD" else await response.content.read(_ANSWER_BYTES_MAX)
                while not response.content.at_eof() and len(content) < _ANSWER_BYTES_MAX:
                    content += await response.content.read(_ANSWER_BYTES_MAX - len(content))
                return Answer(response.status, response.headers, content, time.monotonic() - began)
        except (ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise UnreachableError(f"{method} {url.with_query(None)}: {reason}") from error


def parse_challenge(challenge: str) -> dict[str, str]:
    """Return the parameters of a `WWW-Authenticate` value with a single challenge."""
    parameters: dict[str, str] = {}
    rest = challenge.partition(" ")[2]
    while "=" in rest:
        name, _, rest = rest.partition("=")
        if rest.startswith('"'):
            value, _, rest = rest[1:].partition('"')
        else:
            value, _, rest = rest.partition(",")
        parameters[name.strip(" ,").lower()] = value.strip()
        rest = rest.lstrip(" ,")
    return parameters
