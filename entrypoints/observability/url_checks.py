"""Health checks that send a request to a URL."""

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TraceConfig, TraceRequestRedirectParams
from yarl import URL

from config.settings import HttpCheckSettings
from entrypoints.observability.health import DEFAULT_INTERVAL_SECONDS, Check, CheckFailedError


def url_check(settings: HttpCheckSettings, position: int) -> Check:
    """Return the check that asks a URL; `position` is its place in the configuration."""
    # User, password and query may be credentials. Unlike distribution, leave them out of the name.
    url = URL(settings.uri)
    bare = str(url.with_user(None).with_query(None))
    name = settings.uri if bare == str(url) else f"{bare} (health.http[{position}])"
    if any(header.lower() == "authorization" for header in settings.headers):
        # As in distribution; aiohttp does not accept both at once.
        url = url.with_user(None)
    headers = [(header, value.reveal()) for header, values in settings.headers.items() for value in values]
    timeout = ClientTimeout(total=settings.timeout_seconds or None)

    async def ask() -> None:
        try:
            # Use a new connection each time: an open connection proves nothing about new ones.
            async with (
                ClientSession(timeout=timeout, cookie_jar=DummyCookieJar(), trace_configs=[_same_server()]) as session,
                session.head(url, headers=headers, allow_redirects=True) as response,
            ):
                status = response.status
        except (ClientError, TimeoutError, OSError, ValueError):
            raise CheckFailedError(f"error while checking: {name}") from None
        if status != settings.status_code:
            raise CheckFailedError(f"downstream service returned unexpected status: {status}")

    return Check(
        name=name,
        run=ask,
        interval_seconds=settings.interval_seconds or DEFAULT_INTERVAL_SECONDS,
        threshold=settings.threshold,
    )


def _same_server() -> TraceConfig:
    """Return a trace config that refuses redirects to another server, so that no server can direct checks elsewhere."""

    async def look(_session: ClientSession, _context: object, redirect: TraceRequestRedirectParams) -> None:
        answer = redirect.response
        # aiohttp also follows the `URI` header.
        location = answer.headers.get("Location") or answer.headers.get("URI") or ""
        if answer.url.join(URL(location)).origin() != answer.url.origin():
            answer.close()
            raise CheckFailedError("redirects to another server are not followed: correct the URL")

    config = TraceConfig()
    config.on_request_redirect.append(look)
    return config
