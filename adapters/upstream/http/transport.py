"""Connections to an upstream: TLS, proxies, redirects, pace, limits of time and number."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientError,
    ClientHttpProxyError,
    ClientProxyConnectionError,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    ThreadedResolver,
)
from aiohttp.abc import ResolveResult
from typing_extensions import override
from yarl import URL

from adapters.upstream.options import UpstreamOptions
from core.errors import UpstreamTimeoutError, UpstreamUnavailableError
from core.ports.resource import Resource

_USER_AGENT: Final = "sohu-registry"
_REDIRECTS_MAX: Final = 5
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LOCATION_LENGTH_MAX: Final = 16 * 1024
_HEADER_BYTES_MAX: Final = 32 * 1024
"""Signed URLs and tokens in headers have several KiB."""
_DISCARDED_BYTES_MAX: Final = 64 * 1024
_SOCKS: Final = {"socks5": False, "socks5h": True}
"""Whether the proxy resolves the names."""
_PROBLEMS: Final = (
    ((ClientSSLError, ssl.SSLError), "cannot be reached by TLS"),
    (ClientConnectorDNSError, "cannot be resolved"),
    (ClientProxyConnectionError, "cannot be reached: the proxy does not answer"),
)


class Transport(Resource):
    """Sends requests without credentials of its own. Opened as a context manager; opens no connection before a request.

    Args:
        name: the upstream's name, for errors.
        options: the upstream's options.
        now: a monotonic clock.
        sleep: waits for a number of seconds.

    Raises:
        ValueError: a certificate or key cannot be read.
    """

    def __init__(
        self,
        name: str,
        options: UpstreamOptions,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self.name = name
        self._options = options
        self._own_hosts = frozenset(URL(url).host for url in options.urls)
        self._contexts: dict[bool, ssl.SSLContext] = {}
        """By whether they hold the client certificate. Read on first use: the system's authorities take time."""
        if options.ca or options.certificate:
            has_certificate = bool(options.certificate)
            self._contexts[has_certificate] = _context(options, has_certificate=has_certificate)
        self._proxy = URL(options.http_proxy) if options.http_proxy else None
        self._pace = _Pace(options.rate, now, sleep)
        self._stack = AsyncExitStack()
        self._direct: ClientSession | None = None
        self._through_socks: ClientSession | None = None

    @override
    async def start(self) -> None:
        """Open the sessions, which connect on first use."""
        connector = TCPConnector(
            limit=self._options.connections, resolver=_BoundedResolver(self._options.connect_seconds)
        )
        self._direct = await self._stack.enter_async_context(self._session(connector))
        if self._proxy is not None and self._proxy.scheme in _SOCKS:
            # The library is loaded only where a configuration needs it.
            from aiohttp_socks import ProxyConnector, ProxyType  # noqa: PLC0415

            socks = ProxyConnector(
                host=self._proxy.host or "",
                port=self._proxy.port or 1080,
                proxy_type=ProxyType.SOCKS5,
                username=self._proxy.user,
                password=self._proxy.password,
                rdns=_SOCKS[self._proxy.scheme],
                limit=self._options.connections,
            )
            self._through_socks = await self._stack.enter_async_context(self._session(socks))

    @override
    async def stop(self) -> None:
        """Close all connections."""
        await self._stack.aclose()
        self._direct = self._through_socks = None

    async def send(
        self, method: str, url: URL, headers: Mapping[str, str], *, body: bytes | AsyncIterable[bytes] | None = None
    ) -> ClientResponse:
        """Send a request, follow redirects, and return the response with its body unread.

        `Authorization` is sent to the origin of `url` only. The caller reads, releases or closes the response. A
        request that changes something is not sent to another URL: its redirect is returned.

        Raises:
            UpstreamTimeoutError: a time limit was exceeded.
            UpstreamUnavailableError: there was no response, or too many or unusable redirects.
        """
        sent = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **headers}
        for _ in range(_REDIRECTS_MAX + 1):
            response = await self._send_once(method, url, sent, body)
            if response.status not in _REDIRECTS or method not in _SAFE_METHODS:
                return response
            target = self._target(response, url)
            await self.discard(response)
            if target.origin() != url.origin():
                sent.pop("Authorization", None)
            url = target
        raise UpstreamUnavailableError(f"{self.name}: {url.authority} redirects more than {_REDIRECTS_MAX} times")

    @contextmanager
    def errors_of(self, url: URL) -> Iterator[None]:
        """Translate the errors of a request to `url`, or of reading its response."""
        where = f"{self.name}: {url.authority}"
        try:
            yield
        except TimeoutError:
            raise UpstreamTimeoutError(f"{where} did not answer in time") from None
        except (ClientError, OSError, ValueError, EOFError, asyncio.IncompleteReadError) as error:
            # Not the error's text: it may contain a URL with a signature, or the password of a proxy.
            raise UpstreamUnavailableError(f"{where} {_problem(error)}") from None
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in {"aiohttp_socks", "python_socks"}:
                raise
            raise UpstreamUnavailableError(f"{where} cannot be reached through the proxy") from None

    async def discard(self, response: ClientResponse) -> None:
        """Give up a response; its connection stays open if little is left to read."""
        if response.content_length is None or response.content_length > _DISCARDED_BYTES_MAX:
            response.close()
            return
        try:
            await response.read()
        except (ClientError, OSError):
            # Nobody needs the body; aiohttp has closed the connection.
            response.close()

    def _session(self, connector: TCPConnector) -> ClientSession:
        limits = self._options.connect_seconds, self._options.idle_seconds
        return ClientSession(
            connector=connector,
            # `connect` includes the wait for a free connection.
            timeout=ClientTimeout(total=None, connect=sum(limits), sock_connect=limits[0], sock_read=limits[1]),
            cookie_jar=DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            max_line_size=_HEADER_BYTES_MAX,
            max_field_size=_HEADER_BYTES_MAX,
        )

    async def _send_once(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | AsyncIterable[bytes] | None
    ) -> ClientResponse:
        if self._direct is None:
            raise UpstreamUnavailableError(f"{self.name}: not open")
        session, options = self._direct, dict[str, Any]()
        if body is not None:
            options["data"] = body
        if self._proxy is not None and not self._avoids_proxy(url):
            if self._through_socks is not None:
                session = self._through_socks
            else:
                options["proxy"] = self._proxy
        await self._pace.wait()
        with self.errors_of(url):
            tls = await self._tls_for(url)
            return await session.request(method, url, headers=headers, allow_redirects=False, ssl=tls, **options)

    async def _tls_for(self, url: URL) -> ssl.SSLContext | bool:
        """Return the context for a URL, or for the proxy in between."""
        if url.scheme != "https" and (self._proxy is None or self._proxy.scheme != "https"):
            return True
        # Another host than the upstream's does not see the client certificate.
        key = bool(self._options.certificate) and url.host in self._own_hosts
        context = self._contexts.get(key)
        if context is None:
            context = await asyncio.to_thread(_context, self._options, has_certificate=key)
            self._contexts[key] = context
        return context

    def _avoids_proxy(self, url: URL) -> bool:
        host = (url.host or "").lower()
        return any(
            each in {"*", host, f"{host}:{url.port}"} or host.endswith(f".{each.lstrip('.')}")
            for each in map(str.lower, self._options.no_proxy)
            if each
        )

    def _target(self, response: ClientResponse, url: URL) -> URL:
        location = response.headers.get("Location", "")
        try:
            # Encoded already: a signature may cover the exact spelling.
            target = url.join(URL(location, encoded=True)) if len(location) <= _LOCATION_LENGTH_MAX else None
        except ValueError:
            target = None
        if not location or target is None or target.scheme not in {"http", "https"} or not target.host:
            response.close()
            raise UpstreamUnavailableError(f"{self.name}: {url.authority} redirects to an unusable URL")
        if url.scheme == "https" and target.scheme == "http" and not self._options.insecure:
            response.close()
            raise UpstreamUnavailableError(
                f"{self.name}: {url.authority} redirects to {target.authority} without TLS, which is not followed"
            )
        return target


class _BoundedResolver(ThreadedResolver):
    """Limits the time of a look-up, which aiohttp does not count as part of a connection attempt."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    @override
    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        async with asyncio.timeout(self._seconds):
            return await super().resolve(host, port, family)


class _Pace:
    """Spaces requests evenly: at most `rate` per second, or any number if it is 0."""

    def __init__(self, rate: int, now: Callable[[], float], sleep: Callable[[float], Awaitable[object]]) -> None:
        self._seconds = 1 / rate if rate else 0.0
        self._now = now
        self._sleep = sleep
        self._free_at = 0.0

    async def wait(self) -> None:
        """Wait until the next request may be sent."""
        if not self._seconds:
            return
        now = self._now()
        start = max(now, self._free_at)
        self._free_at = start + self._seconds
        if start > now:
            await self._sleep(start - now)


def _context(options: UpstreamOptions, *, has_certificate: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for key, path in (("ca", options.ca), ("certificate", options.certificate if has_certificate else None)):
        if path is None:
            continue
        try:
            if key == "ca":
                context.load_verify_locations(path)
            else:
                context.load_cert_chain(path, options.key)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"`{key}`: cannot be used: {error.strerror or type(error).__name__}: {path}") from None
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _problem(error: BaseException) -> str:
    if isinstance(error, ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "it is not trusted"
        return f"has a certificate that is refused: {reason}"
    if isinstance(error, ClientHttpProxyError):
        return f"cannot be reached: the proxy answered {error.status}"
    for kinds, problem in _PROBLEMS:
        if isinstance(error, kinds):
            return problem
    if isinstance(error, OSError) and error.errno:
        return f"cannot be reached: {os.strerror(error.errno)}"
    return f"broke the connection or sent no valid HTTP ({type(error).__name__})"
