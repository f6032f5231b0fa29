"""`HttpEventReceiver`: an endpoint that receives envelopes by `POST`."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TraceConfig, TraceRequestRedirectParams
from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from core.ports.event_receiver import EventReceiver, ReceiverUnavailableError

_USER_AGENT: Final = "sohu-registry"
_KEEP_THE_METHOD: Final = frozenset({307, 308})


class HttpEventReceiver(EventReceiver):
    """Posts envelopes to a URL; the body of the answer is not read.

    A redirect is followed only if scheme, host, port and method stay the same: otherwise a receiver could send events
    and their credentials to any host, and a redirect to GET would lose the event.

    Args:
        url: may contain credentials, which no error shows; an `Authorization` header in `headers` replaces them.
        media_type: media type of the envelopes.
        headers: headers of each request; they replace the default ones. (Distribution sends both, but many servers
            reject two `Content-Type` headers.)
        timeout_seconds: time limit of a request including its answer.
    """

    def __init__(
        self, url: str, *, media_type: str, headers: Mapping[str, Sequence[str]], timeout_seconds: float
    ) -> None:
        self._headers = CIMultiDict([(name, value) for name, values in headers.items() for value in values])
        self._headers.setdefault("Content-Type", media_type)
        self._headers.setdefault("User-Agent", _USER_AGENT)
        self._url = _without_user(url) if "Authorization" in self._headers else url
        self._timeout_seconds = timeout_seconds
        self._session: ClientSession | None = None

    @override
    async def start(self) -> None:
        self._session = ClientSession(
            timeout=ClientTimeout(total=self._timeout_seconds),
            cookie_jar=DummyCookieJar(),
            trace_configs=[_refusing_redirects()],
        )

    @override
    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @override
    async def post(self, body: bytes) -> int:
        if self._session is None:
            raise ReceiverUnavailableError("not open")
        try:
            async with self._session.post(self._url, data=body, headers=self._headers) as response:
                return response.status
        except TimeoutError:
            raise ReceiverUnavailableError(f"no answer within {self._timeout_seconds:g} s") from None
        except (ClientError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            # Neither the error's text nor its cause: both may contain the URL with its credentials, or headers.
            raise ReceiverUnavailableError(f"no answer: {type(error).__name__}") from None


def _without_user(url: str) -> str:
    try:
        return str(URL(url).with_user(None))
    except ValueError:
        # Not a valid URL; the request reports that.
        return url


def _refusing_redirects() -> TraceConfig:
    """Return a trace config that rejects unsafe redirects before aiohttp follows them."""

    async def check(_session: ClientSession, _context: object, redirect: TraceRequestRedirectParams) -> None:
        answer = redirect.response
        # aiohttp also reads `URI`.
        location = answer.headers.get("Location") or answer.headers.get("URI") or ""
        if answer.status not in _KEEP_THE_METHOD:
            answer.close()
            raise ReceiverUnavailableError(
                "redirects in a way that turns POST into GET, which is not followed: correct the URL"
            )
        if answer.url.join(URL(location)).origin() != answer.url.origin():
            answer.close()
            raise ReceiverUnavailableError("redirects to another server, which is not followed: correct the URL")

    config = TraceConfig()
    config.on_request_redirect.append(check)
    return config
