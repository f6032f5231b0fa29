"""The URLs that the registry writes: absolute for distribution's clients, right behind any proxy."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from aiohttp import web

from core.digest import Digest
from core.names import RepositoryName

_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_SCHEMES: Final = frozenset({"http", "https"})


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
        query = f"?_state={quote(token, safe='')}" if token else ""
        return self._absolute(request, f"v2/{name}/blobs/uploads/{upload_id}{query}")

    def next_page(self, request: web.BaseRequest, **query: str | int | None) -> str:
        """Return the `Link` value of the page that follows (RFC 8288).

        A relative path, which every client resolves; `query` is written in alphabetical order.
        """
        pairs = sorted((key, str(value)) for key, value in query.items() if value is not None)
        # What the client wrote, encoded anew: it must not be able to end the header's <…>.
        return f'<{quote(request.path)}?{urlencode(pairs)}>; rel="next"'

    def root(self, request: web.BaseRequest) -> str:
        """Where the registry is, absolute whatever `http.relativeurls` says, ended by a slash."""
        if self.host:
            return f"{self.host.rstrip('/')}/"
        scheme, host = origin(request)
        return f"{scheme}://{host}{self.prefix}"

    def _absolute(self, request: web.BaseRequest, path: str) -> str:
        if self.relative and not self.host:
            return f"{self.prefix}{path}"
        return f"{self.root(request)}{path}"


def origin(request: web.BaseRequest) -> tuple[str, str]:
    """Return scheme and host as the client sees them; a value that cannot be one is passed over."""
    scheme, host = request.scheme, request.host
    if request.headers.get("Forwarded"):
        # RFC 7239; its first element is the proxy nearest to the client.
        first = request.forwarded[0] if request.forwarded else {}
        forwarded_proto, forwarded_host = first.get("proto", ""), first.get("host", "")
    else:
        forwarded_proto = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip()
        forwarded_host = request.headers.get("X-Forwarded-Host", "").partition(",")[0].strip()
    if forwarded_proto.lower() in _SCHEMES:
        scheme = forwarded_proto.lower()
    if _HOST.fullmatch(forwarded_host):
        host = forwarded_host
    return scheme, host


def forwarded_scheme(request: web.BaseRequest) -> str:
    """Return what a proxy in front told of the scheme (`X-Forwarded-Proto`), or nothing."""
    scheme = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    return scheme if scheme in _SCHEMES else ""
