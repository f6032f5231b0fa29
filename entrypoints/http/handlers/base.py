"""What the handlers of all resources share."""

import json
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from core.digest import Digest
from entrypoints.http.ranges import matches_etag
from entrypoints.http.routes import Target

Handler = Callable[[web.Request, Target], Awaitable[web.StreamResponse]]
"""Answers one method on one resource."""


async def get_base(_request: web.Request, _target: Target) -> web.StreamResponse:
    """Say that this is a registry (end-1)."""
    return json_response({}, newline=False)


def json_response(
    document: Mapping[str, object],
    *,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
    newline: bool = True,
) -> web.Response:
    """Return a JSON answer, ended by a newline as distribution's are."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return web.Response(body=body + b"\n" if newline else body, content_type=content_type, headers=headers)


def content_headers(digest: Digest) -> dict[str, str]:
    """Return the headers of content that is addressed by digest."""
    return {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}


def not_modified(request: web.Request, digest: Digest) -> web.Response | None:
    """Return 304 if the client says that it has the content already, else None."""
    if matches_etag(request.headers.get("If-None-Match"), digest):
        return web.Response(status=304, headers=content_headers(digest))
    return None
