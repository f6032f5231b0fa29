"""Helpers shared by the handlers of all resources."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from aiohttp import web

from core.model.digest import Digest
from entrypoints.http.ranges import matches_etag
from entrypoints.http.routes import Target

Handler = Callable[[web.Request, Target], Awaitable[web.StreamResponse]]
"""Handler of one method on one resource."""


async def get_base(_request: web.Request, _target: Target) -> web.StreamResponse:
    """Confirm that this is a registry (end-1)."""
    return json_response({}, newline=False)


def json_response(
    document: Mapping[str, object],
    *,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
    newline: bool = True,
    status: int = 200,
) -> web.Response:
    """Return a JSON response that ends with a newline, as distribution's do."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return web.Response(
        body=body + b"\n" if newline else body, status=status, content_type=content_type, headers=headers
    )


def revalidated(
    request: web.Request,
    document: Mapping[str, object],
    headers: Mapping[str, str],
    *,
    content_type: str = "application/json",
) -> web.Response:
    """Return a JSON response with a weak `ETag`, or 304 if the client has the same response already.

    The tag is derived from the response, so it covers all that the response depends on: the content of the store, the
    query, the rights of the caller and the configuration.
    """
    # Texts of manifests may contain what UTF-8 cannot encode; JSON's escapes can.
    body = json.dumps(document, separators=(",", ":")).encode() + b"\n"
    etag = hashlib.blake2b(body + headers.get("Link", "").encode(), digest_size=16).hexdigest()
    headers = {**headers, "ETag": f'W/"{etag}"', "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    if matches_etag(request.headers.get("If-None-Match"), etag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type=content_type, headers=headers)


def content_headers(digest: Digest) -> dict[str, str]:
    """Return the headers of content addressed by digest."""
    return {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}


def not_modified(
    request: web.Request, digest: Digest, headers: Mapping[str, str] = MappingProxyType({})
) -> web.Response | None:
    """Return a 304 response if the client already has the content, otherwise None.

    Args:
        request: request whose `If-None-Match` is read.
        digest: digest of the content.
        headers: headers of the 200 response that a 304 must repeat, besides `ETag` (RFC 9110, 15.4.5).
    """
    if matches_etag(request.headers.get("If-None-Match"), digest):
        return web.Response(status=304, headers={**content_headers(digest), **headers})
    return None
