"""`HttpEventReceiver`: an endpoint that takes envelopes by `POST`."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TraceConfig, TraceRequestRedirectParams
from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from core.ports.event_receiver import EventReceiver, ReceiverUnavailableError

_USER_AGENT: Final = "sohu-registry"
_KEEP_THE_METHOD: Final = frozenset({307, 308})


class HttpEventReceiver(EventReceiver):
    """Posts envelopes to a URL, whose answer's body it does not read.

    A redirect is followed as long as it keeps scheme, host, port and method: a receiver must not send events, or the
    credentials that come with them, wherever it likes, and one that makes a GET of it would lose the event.

    Args:
        url: may hold credentials, which no error shows; an `Authorization` among the headers takes their place.
        media_type: of the envelopes.
        headers: of each request; they take the place of what would be sent otherwise (distribution sends both, and
            two of `Content-Type` are more than many servers take).
        timeout_seconds: for a request and its answer.
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
    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            timeout=ClientTimeout(total=self._timeout_seconds),
            cookie_jar=DummyCookieJar(),
            trace_configs=[_refusing_redirects()],
        )
        return self

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
            # Neither its text nor its cause: both may hold the URL with its credentials, or headers.
            raise ReceiverUnavailableError(f"no answer: {type(error).__name__}") from None


def _without_user(url: str) -> str:
    try:
        return str(URL(url).with_user(None))
    except ValueError:
        # No URL at all, which the request finds out.
        return url


def _refusing_redirects() -> TraceConfig:
    """Return what aiohttp asks before it follows a redirect."""

    async def look(_session: ClientSession, _context: object, redirect: TraceRequestRedirectParams) -> None:
        answer = redirect.response
        # aiohttp reads `URI` too.
        location = answer.headers.get("Location") or answer.headers.get("URI") or ""
        if answer.status not in _KEEP_THE_METHOD:
            answer.close()
            raise ReceiverUnavailableError("redirects to where it could only be asked, not told: correct the URL")
        if answer.url.join(URL(location)).origin() != answer.url.origin():
            answer.close()
            raise ReceiverUnavailableError("redirects to another server, which is not followed: correct the URL")

    config = TraceConfig()
    config.on_request_redirect.append(look)
    return config
