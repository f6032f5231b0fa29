"""HTTP session below botocore: keep-alive connections, bodies from memory, redirects raised instead of followed."""

from typing import Any, Final

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from typing_extensions import override

from adapters.blob_storage.s3.body import Body, BodyPayload

_READ_BUFFER_BYTES: Final = 512 * 1024
"""aiohttp's default of 64 KiB splits a blob into many more pieces."""

_TEMPORARY_REDIRECT: Final = 307


class RedirectedError(Exception):
    """The store redirects this request to another host, for which it must be signed again."""

    def __init__(self, location: str) -> None:
        super().__init__("the store redirects the request")
        self.location = location


class StoreHttpSession(AIOHTTPSession):  # type: ignore[misc] # aiobotocore has no types
    """The session class that aiobotocore is configured to use."""

    @override
    async def send(self, request: Any) -> Any:
        """Send a prepared request.

        Raises:
            RedirectedError: the answer is 307.
        """
        response = await super().send(request)
        location = response.headers.get("location")
        if response.status_code == _TEMPORARY_REDIRECT and location:
            await response.content
            raise RedirectedError(location)
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
