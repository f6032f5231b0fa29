"""The URLs that the registry writes: absolute for distribution's clients, right behind any proxy."""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from aiohttp import web

from core.digest import Digest
from core.names import RepositoryName
from entrypoints.http.keys import CLIENT


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlBuilder:
    """Writes `Location` and `Link` (`http.host`, `http.prefix`, `http.relativeurls`); one per process."""

    host: str | None = None
    """Scheme and host of all links, whatever the request says; a path in it is kept."""
    prefix: str = "/"
    relative: bool = False

    def manifest(self, request: web.BaseRequest, name: RepositoryName, digest: Digest) -> str:
        """Where a manifest is."""
        return self._absolute(request, f"v2/{name}/manifests/{digest}")

    def blob(self, request: web.BaseRequest, name: RepositoryName, digest: Digest) -> str:
        """Where a blob is."""
        return self._absolute(request, f"v2/{name}/blobs/{digest}")

    def upload(self, request: web.BaseRequest, name: RepositoryName, upload_id: str, token: str | None = None) -> str:
        """Where the next piece of an upload goes; without a token, where its status is asked for."""
        # Base64 for URLs, of which only the padding means something else in a query.
        query = f"?_state={token.replace('=', '%3D')}" if token else ""
        return self._absolute(request, f"v2/{name}/blobs/uploads/{upload_id}{query}")

    def next_page(self, request: web.BaseRequest, **query: str | int | None) -> str:
        """Return the `Link` value of the page that follows (RFC 8288).

        A relative path, which every client resolves; `query` is written in alphabetical order.
        """
        pairs = sorted((key, str(value)) for key, value in query.items() if value is not None)
        # What the client wrote, encoded anew: it must not be able to end the header's <…>.
        return f'<{quote(request.path)}?{urlencode(pairs)}>; rel="next"'

    def root(self, request: web.BaseRequest) -> str:
        """Where the registry is, ended by a slash; absolute wherever the client said at what host."""
        if self.host:
            return f"{self.host.rstrip('/')}/"
        client = request[CLIENT]
        # A path alone is right wherever the client believes to be.
        return f"{client.scheme}://{client.host}{self.prefix}" if client.host else self.prefix

    def _absolute(self, request: web.BaseRequest, path: str) -> str:
        if self.relative and not self.host:
            return f"{self.prefix}{path}"
        return f"{self.root(request)}{path}"
