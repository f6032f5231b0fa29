"""URLs in responses: absolute, as distribution's clients require, and correct behind any proxy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from aiohttp import web

from core.model.digest import Digest
from core.model.names import RepositoryName
from entrypoints.http.keys import CLIENT
from entrypoints.http.trails import bounded

_Query = Mapping[str, str | int | Sequence[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlBuilder:
    """Builds `Location` and `Link` URLs (`http.host`, `http.prefix`, `http.relativeurls`); one per process."""

    host: str | None = None
    """Scheme and host of all links, regardless of the request; may include a path."""
    prefix: str = "/"
    relative: bool = False

    def manifest(self, request: web.BaseRequest, name: RepositoryName, digest: Digest) -> str:
        """Return the URL of a manifest."""
        return f"{self.base(request)}v2/{name}/manifests/{digest}"

    def blob(self, request: web.BaseRequest, name: RepositoryName, digest: Digest) -> str:
        """Return the URL of a blob."""
        return f"{self.base(request)}v2/{name}/blobs/{digest}"

    def upload(self, request: web.BaseRequest, name: RepositoryName, upload_id: str, token: str | None = None) -> str:
        """Return the URL for the next piece of an upload; without a token, the URL of its status."""
        # The token is URL-safe Base64, whose padding is the only character that needs encoding in a query.
        query = f"?_state={token.replace('=', '%3D')}" if token else ""
        return f"{self.base(request)}v2/{name}/blobs/uploads/{upload_id}{query}"

    def next_page(self, request: web.BaseRequest, **query: str | int | None) -> str:
        """Return the `Link` value of the next page (RFC 8288).

        The URL is a relative path, which every client resolves; `query` is written in alphabetical order.
        """
        return _link(request, query, "next")

    def pages_beside(
        self, request: web.BaseRequest, *, previous: str | None, following: str | None, **query: str | int | None
    ) -> dict[str, str]:
        """Return the `Link` header of the previous and the next page, with a marker for each that exists."""
        links = []
        if previous is not None:
            links.append(_link(request, {**query, "before": previous}, "prev"))
        if following is not None:
            links.append(_link(request, {**query, "last": following}, "next"))
        return {"Link": ", ".join(links)} if links else {}

    def pages_around(
        self, request: web.BaseRequest, *, following: str | None, **query: str | int | None
    ) -> dict[str, str]:
        """Return the `Link` header of a list whose pages begin at positions: its first, previous and next page.

        The links carry the positions of the pages before (`entrypoints.http.trails`). A page has no link to the
        previous one if it is the first, if the client wrote the position itself, or if the trail ends.

        Args:
            request: the request, whose `last` is the position of this page.
            following: the position of the next page; None if there is none.
            query: the other parameters of the request.
        """
        last = request.query.get("last", "")
        trail = bounded(request.query.getall("trail", ())) if last else ()
        links = [_link(request, query, "first")] if last else []
        if trail:
            links.append(_link(request, {**query, "last": trail[-1] or None, "trail": trail[:-1]}, "prev"))
        if following is not None:
            links.append(_link(request, {**query, "last": following, "trail": bounded([*trail, last])}, "next"))
        return {"Link": ", ".join(links)} if links else {}

    def root(self, request: web.BaseRequest) -> str:
        """Return the URL of the registry, ending with a slash; absolute if the request has a valid host."""
        if self.host:
            return f"{self.host.rstrip('/')}/"
        client = request[CLIENT]
        # A path without a host is correct whatever host the client used.
        return f"{client.scheme}://{client.host}{self.prefix}" if client.host else self.prefix

    def base(self, request: web.BaseRequest) -> str:
        """Return the URL to which links append `v2/…`: `root`, or a path if links are relative."""
        return self.prefix if self.relative and not self.host else self.root(request)


def _link(request: web.BaseRequest, query: _Query, relation: str) -> str:
    pairs = [(key, value) for key, value in sorted(query.items()) if value is not None]
    # Encode the client's path again: it must not be able to end the <…> of the header.
    return f'<{quote(request.path)}?{urlencode(pairs, doseq=True)}>; rel="{relation}"'
