"""HTTP session below botocore: keep-alive connections, bodies from memory, redirects raised instead of followed."""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from typing_extensions import override
from yarl import URL

from adapters.blob_storage.s3.body import Body, BodyPayload

_READ_BUFFER_BYTES: Final = 512 * 1024
"""aiohttp's default of 64 KiB splits a blob into many more pieces."""

_TEMPORARY_REDIRECT: Final = 307


class RedirectedError(Exception):
    """The store redirects this request to another host, for which it must be signed again."""

    def __init__(self, location: str) -> None:
        super().__init__("the store redirects the request")
        self.location = location


def require_no_redirect(status: int, headers: Mapping[str, str]) -> None:
    """Check an answer whose body has been read.

    Raises:
        RedirectedError: the answer is 307.
    """
    location = headers.get("location")
    if status == _TEMPORARY_REDIRECT and location:
        raise RedirectedError(location)


class StoreHttpSession(AIOHTTPSession):  # type: ignore[misc] # aiobotocore has no types
    """The session that botocore's client and the direct requests share, with its limit of connections."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._proxies: dict[str, str | None] = {}

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
        scheme = url.partition(":")[0]
        if scheme not in self._proxies:
            self._proxies[scheme] = self._proxy_config.proxy_url_for(url)
        proxy = self._proxies[scheme]
        session = await self._get_session(proxy)
        response: aiohttp.ClientResponse = await session.request(
            method, data=data, url=URL(url, encoded=True), headers=headers, proxy=proxy
        )
        return response

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
            read_bufsize=_READ_BUFFER_BYTES,
            **arguments,
        )
