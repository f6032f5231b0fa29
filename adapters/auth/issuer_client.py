"""Requests to an issuer: bounded in bytes and time, without redirects, proxies and cookies."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from aiohttp import (
    ClientConnectorCertificateError,
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from typing_extensions import override
from yarl import URL

from adapters.auth.issuer_options import IssuerOptions, has_allowed_scheme
from core.errors import IssuerUnavailableError
from core.ports.resource import Resource

ANSWER_BYTES_MAX: Final = 256 * 1024
"""Discovery documents have about 5 KiB, key sets of the large providers about 20 KiB."""
TOTAL_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 5.0
_CONNECTIONS_MAX: Final = 4
_TOKEN_BYTES_MAX: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class IssuerAnswer:
    """A complete response."""

    status: int
    body: bytes
    date: str
    """The header `Date`; empty if there is none."""


class IssuerClient(Resource):
    """Sends requests to one issuer; opened as a context manager.

    It contacts a URL without TLS only if the issuer's own URL has none.
    """

    def __init__(self, options: IssuerOptions) -> None:
        self._options = options
        self._session: ClientSession | None = None

    @override
    async def start(self) -> None:
        """Open the session, which connects on first use."""
        self._session = ClientSession(
            # Requests are rare, so no connection is kept.
            connector=TCPConnector(limit=_CONNECTIONS_MAX, force_close=True),
            timeout=ClientTimeout(total=TOTAL_SECONDS, sock_connect=_CONNECT_SECONDS),
            cookie_jar=DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers={"User-Agent": "sohu-registry", "Accept": "application/json", "Accept-Encoding": "identity"},
        )

    @override
    async def stop(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def fetch(self, url: str) -> IssuerAnswer:
        """Return a 200 answer to a GET with the configured bearer token, if there is one.

        Raises:
            IssuerUnavailableError: there is no such answer. The message is for the log, and contains no secret.
        """
        headers = {}
        if self._options.token_file is not None:
            headers["Authorization"] = f"Bearer {await asyncio.to_thread(_read_token, self._options.token_file)}"
        answer = await self.send("GET", url, headers=headers)
        if answer.status != HTTPStatus.OK:
            raise IssuerUnavailableError(f"{_place(url)} answered {answer.status}")
        return answer

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None
    ) -> IssuerAnswer:
        """Return the answer to a request, whatever its status; a redirect is not followed.

        Raises:
            IssuerUnavailableError: the URL is not allowed, or there is no complete answer within the limits.
        """
        if self._session is None:
            raise IssuerUnavailableError("the client is not open")
        if not has_allowed_scheme(url, self._options.url):
            raise IssuerUnavailableError("a URL without TLS is not contacted, because the issuer's URL is https")
        place = _place(url)
        try:
            tls: Any = await asyncio.to_thread(_context, self._options.ca) if url.startswith("https:") else True
            # Encoded already: the issuer decides how its URLs are spelled.
            async with self._session.request(
                method, URL(url, encoded=True), headers=headers, data=form, ssl=tls, allow_redirects=False
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > ANSWER_BYTES_MAX:
                        raise IssuerUnavailableError(f"{place} answered more than {ANSWER_BYTES_MAX} bytes")
                return IssuerAnswer(response.status, bytes(body), response.headers.get("Date", ""))
        except TimeoutError:
            raise IssuerUnavailableError(f"{place} did not answer in {TOTAL_SECONDS:.0f} s") from None
        except ClientConnectorCertificateError as error:
            reason = getattr(error.certificate_error, "verify_message", "") or "it is not trusted"
            raise IssuerUnavailableError(f"{place} has a certificate that is refused: {reason}") from None
        except (ClientError, OSError, ValueError) as error:
            # Not the error's text: it may contain a URL with a secret.
            raise IssuerUnavailableError(f"{place} cannot be reached ({type(error).__name__})") from None


def authority_problem(path: str) -> str | None:
    """Return the problem with a file of authorities, or None."""
    try:
        _context(path)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or "contains no usable PEM certificate"
    return None


def _context(ca: str | None) -> ssl.SSLContext:
    # Read for each request: Kubernetes replaces the file.
    return ssl.create_default_context(cafile=ca)


def _read_token(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            token = file.read(_TOKEN_BYTES_MAX + 1).strip()
    except OSError as error:
        raise IssuerUnavailableError(f"the token file {path}: {error.strerror}") from None
    if not token.isascii() or not token.decode("ascii").isprintable() or not 0 < len(token) <= _TOKEN_BYTES_MAX:
        raise IssuerUnavailableError(f"the token file {path}: contains no token")
    return token.decode("ascii")


def _place(url: str) -> str:
    try:
        return URL(url).authority
    except ValueError:
        return "the issuer"
