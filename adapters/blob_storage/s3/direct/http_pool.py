"""aiohttp's connections to a store, for large bodies, and for small requests while their own connections are busy."""

import ssl
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from adapters.blob_storage.s3.body import Body, BodyPayload
from adapters.blob_storage.s3.connection import IDLE_SECONDS_MAX
from adapters.blob_storage.s3.connections import SmallConnections
from adapters.blob_storage.s3.direct.tls import unverifying_context, verifying_context
from adapters.blob_storage.s3.options import RetryOptions, S3Options

READ_BUFFER_BYTES: Final = 512 * 1024
"""aiohttp's default of 64 KiB splits a blob into many more pieces."""


class HttpPool:
    """Connections to one store; belongs to one event loop.

    Args:
        options: limits, retries and TLS.
        proxies: URL of the proxy for each scheme of URLs; none for a scheme that is missing.
    """

    def __init__(self, options: S3Options, proxies: Mapping[str, str]) -> None:
        self._options = options
        self._proxies = proxies
        retry = options.retry
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=options.connections_max - options.small_connections_max, keepalive_timeout=IDLE_SECONDS_MAX
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(sock_connect=retry.connect_seconds, sock_read=retry.read_seconds),
            skip_auto_headers={"Content-Type"},
            auto_decompress=False,
        )
        self._small: SmallConnections | None = None

    async def request(self, method: str, url: str, *, headers: dict[str, str], data: Any) -> aiohttp.ClientResponse:
        """Send a signed request."""
        scheme = url.partition(":")[0]
        return await self._session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=BodyPayload(data) if isinstance(data, Body) else data,
            # aiohttp would follow a redirect without the signature: it drops `Authorization` for another host.
            allow_redirects=False,
            read_bufsize=READ_BUFFER_BYTES,
            proxy=self._proxies.get(scheme),
            ssl=self._context if scheme == "https" else True,
        )

    def small_connections(self, url: str, limit: int, retry: RetryOptions) -> SmallConnections | None:
        """Return connections to a host for small requests, with the same TLS; None if a proxy leads to the host.

        Call this once.
        """
        scheme = url.partition(":")[0]
        if not limit or scheme in self._proxies:
            return None
        self._small = SmallConnections(
            url,
            self._context if scheme == "https" else None,
            limit=limit,
            connect_seconds=retry.connect_seconds,
            read_seconds=retry.read_seconds,
        )
        return self._small

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return unverifying_context() if self._options.skip_verify else verifying_context(self._options.authorities)

    async def close(self) -> None:
        """Close all connections; requests under way fail."""
        if self._small is not None:
            await self._small.close()
        await self._session.close()


def proxies_of_environment(endpoint: str) -> dict[str, str]:
    """Return the proxies that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name for a store, by scheme."""
    if proxy_bypass(urlsplit(endpoint).netloc):
        return {}
    proxies = {scheme: proxy for scheme, proxy in getproxies().items() if scheme in {"http", "https"} and proxy}
    return {scheme: proxy if "://" in proxy else f"http://{proxy}" for scheme, proxy in proxies.items()}
