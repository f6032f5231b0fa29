"""Changes of the URLs that another redirector names: distribution's middleware `rewrite`."""

from urllib.parse import quote, unquote, urlsplit

from typing_extensions import override

from adapters.redirection.base_url import PLAIN
from core.model.events import Actor
from core.ports.redirection import Redirector


class RewritingRedirector(Redirector):
    """Replaces scheme and host of URLs, and removes the beginning of their path; the query stays.

    Args:
        inner: names the URLs; opened and closed with this redirector.
        scheme: replaces the scheme, unless empty.
        host: replaces host and port, unless empty.
        trim_path_prefix: removed from paths that begin with it.
    """

    def __init__(self, inner: Redirector, *, scheme: str = "", host: str = "", trim_path_prefix: str = "") -> None:
        self._inner = inner
        self._scheme = scheme
        self._host = host
        self._trim_path_prefix = trim_path_prefix

    @override
    async def start(self) -> None:
        await self._inner.start()

    @override
    async def stop(self) -> None:
        await self._inner.stop()

    @override
    async def url(self, key: str, *, by: Actor) -> str | None:
        url = await self._inner.url(key, by=by)
        if url is None:
            return None
        parts = urlsplit(url)
        path = parts.path
        if self._trim_path_prefix:
            path = quote(unquote(path).removeprefix(self._trim_path_prefix), safe=PLAIN)
        return parts._replace(
            scheme=self._scheme or parts.scheme, netloc=self._host or parts.netloc, path=path
        ).geturl()
