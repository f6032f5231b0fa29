"""URLs in responses: absolute, as distribution's clients require, and correct behind any proxy."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from aiohttp import web

from core.model.digest import Digest
from core.model.names import RepositoryName
from entrypoints.http.keys import CLIENT


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


def _link(request: web.BaseRequest, query: Mapping[str, str | int | None], relation: str) -> str:
    pairs = sorted((key, str(value)) for key, value in query.items() if value is not None)
    # Encode the client's path again: it must not be able to end the <…> of the header.
    return f'<{quote(request.path)}?{urlencode(pairs)}>; rel="{relation}"'
