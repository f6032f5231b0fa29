"""HTTP session below botocore: keep-alive connections, bodies from memory, redirects raised instead of followed."""

import ssl
from typing import Any, Final

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from typing_extensions import override
from yarl import URL

from adapters.blob_storage.s3.body import Body, BodyPayload
from adapters.blob_storage.s3.connections import SmallConnections
from adapters.blob_storage.s3.direct.http_pool import READ_BUFFER_BYTES
from adapters.blob_storage.s3.direct.tls import unverifying_context, verifying_context
from adapters.blob_storage.s3.options import RetryOptions
from adapters.blob_storage.s3.requests import require_no_redirect

_TEMPORARY_REDIRECT: Final = 307


class StoreHttpSession(AIOHTTPSession):  # type: ignore[misc] # aiobotocore has no types
    """The session that botocore's client and the direct requests share, with its limit of connections."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._proxies: dict[str, str | None] = {}
        self._small: SmallConnections | None = None

    def small_connections(self, url: str, limit: int, retry: RetryOptions) -> SmallConnections | None:
        """Return connections to a host for small requests, with the same TLS; None if a proxy leads to the host.

        Call this once.
        """
        if not limit or self._proxy_of(url) is not None:
            return None
        self._small = SmallConnections(
            url,
            self._context() if url.startswith("https:") else None,
            limit=limit,
            connect_seconds=retry.connect_seconds,
            read_seconds=retry.read_seconds,
        )
        return self._small

    def _context(self) -> ssl.SSLContext:
        """Return the context for the store; unlike aiobotocore's, it checks the host's name in a certificate."""
        if not self._verify:
            return unverifying_context()
        return verifying_context(None if self._verify is True else str(self._verify))

    @override
    def _create_connector(self, proxy_url: str | None) -> aiohttp.TCPConnector:
        if proxy_url or not self._verify or self._cert_file:
            connector: aiohttp.TCPConnector = super()._create_connector(proxy_url)
            return connector
        # aiobotocore would read the certificates for each connector.
        return aiohttp.TCPConnector(limit=self._max_pool_connections, ssl=self._context(), **self._connector_args)

    @override
    async def __aexit__(self, *error: object) -> None:
        if self._small is not None:
            await self._small.close()
        await super().__aexit__(*error)

    @override
    async def send(self, request: Any) -> Any:
        """Send a prepared request of botocore.

        Raises:
            RedirectedError: the answer is 307.
        """
        response = await super().send(request)
        if response.status_code == _TEMPORARY_REDIRECT:
            await response.content
        require_no_redirect(response.status_code, response.headers)
        return response

    async def request(self, method: str, url: str, *, headers: dict[str, str], data: Any) -> aiohttp.ClientResponse:
        """Send a signed request over a connection of the pool."""
        proxy = self._proxy_of(url)
        session = await self._get_session(proxy)
        response: aiohttp.ClientResponse = await session.request(
            method, data=data, url=URL(url, encoded=True), headers=headers, proxy=proxy
        )
        return response

    def _proxy_of(self, url: str) -> str | None:
        scheme = url.partition(":")[0]
        if scheme not in self._proxies:
            self._proxies[scheme] = self._proxy_config.proxy_url_for(url)
        return self._proxies[scheme]

    @override
    async def _get_session(self, proxy_url: str | None) -> "_Sender":
        return _Sender(await super()._get_session(proxy_url))


class _Sender:
    """Wraps aiohttp's session, on which aiobotocore calls `request` only."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, *, data: Any, **arguments: Any) -> aiohttp.ClientResponse:
        return await self._session.request(
            method,
            data=BodyPayload(data) if isinstance(data, Body) else data,
            # aiohttp would follow a redirect without the signature: it drops `Authorization` for another host.
            allow_redirects=False,
            read_bufsize=READ_BUFFER_BYTES,
            **arguments,
        )
