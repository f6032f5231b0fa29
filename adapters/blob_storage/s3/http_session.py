"""The HTTP session below botocore: kept connections, bodies from memory, redirects that are told, not followed."""

from typing import Any, Final

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from typing_extensions import override

from adapters.blob_storage.s3.body import Body, BodyPayload

_READ_BUFFER_BYTES: Final = 512 * 1024
"""aiohttp's default of 64 KiB makes a blob arrive in many more pieces."""

_TEMPORARY_REDIRECT: Final = 307


class RedirectedError(Exception):
    """The store names another host for this request, which has to be signed anew for it."""

    def __init__(self, location: str) -> None:
        super().__init__("the store redirects the request")
        self.location = location


class StoreHttpSession(AIOHTTPSession):  # type: ignore[misc] # aiobotocore has no types
    """What aiobotocore is told to send requests with."""

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
    """Stands between aiobotocore and aiohttp where their one call meets."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, *, data: Any, **arguments: Any) -> aiohttp.ClientResponse:
        return await self._session.request(
            method,
            data=BodyPayload(data) if isinstance(data, Body) else data,
            # aiohttp would follow a redirect without the signature, which it must not send to another host.
            allow_redirects=False,
            read_bufsize=_READ_BUFFER_BYTES,
            **arguments,
        )
