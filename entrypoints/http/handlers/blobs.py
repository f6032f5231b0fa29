"""Blobs: `GET`, `HEAD`, `DELETE /v2/<name>/blobs/<digest>` (end-2, end-10)."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

from aiohttp import web

from core.errors import RangeInvalidError
from core.model.digest import Digest
from core.model.media_types import OCTET_STREAM
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobReader
from core.registry.blobs import BlobService
from entrypoints.http.actors import actor_of
from entrypoints.http.connection.sending import send_blob, send_parts
from entrypoints.http.handlers.base import content_headers, not_modified
from entrypoints.http.middleware.cache_status import note_freshness
from entrypoints.http.ranges import ByteRange, matches_etag, parse_ranges, resolve_ranges
from entrypoints.http.routes import Target
from entrypoints.http.urls import UrlBuilder

_CACHED: Final = {"Cache-Control": "max-age=31536000"}
_IMMUTABLE: Final = {"Accept-Ranges": "bytes", **_CACHED, "Content-Type": OCTET_STREAM}


class BlobHandlers:
    """Handlers for blobs."""

    def __init__(self, blobs: BlobService, *, urls: UrlBuilder, redirects: bool) -> None:
        self._blobs = blobs
        self._urls = urls
        self._redirects = redirects

    async def head(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Describe a blob; never redirect, because the redirect URL is signed for another method."""
        name, digest = RepositoryName(target.name), Digest(target.reference)
        descriptor = await self._blobs.stat(name, digest, pulled_by=actor_of(request, self._urls))
        if (unchanged := not_modified(request, digest, _CACHED)) is not None:
            return unchanged
        response = web.StreamResponse(headers=content_headers(digest) | _IMMUTABLE)
        response.content_length = descriptor.size
        return response

    async def get(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Send a blob or a part of it, or redirect to the store."""
        name, digest = RepositoryName(target.name), Digest(target.reference)
        wanted, client = _wanted_ranges(request, digest), actor_of(request, self._urls)
        # Object stores answer a request for several ranges with the whole object.
        is_redirected = self._redirects and (wanted is None or len(wanted) == 1)
        if is_redirected and (url := await self._blobs.redirect_url(name, digest, pulled_by=client)):
            return web.Response(status=307, headers={"Location": url, "Docker-Content-Digest": digest})
        offset, length = _begin_and_length(wanted)
        if wanted is not None and (len(wanted) > 1 or wanted[0].needs_size):
            described = await self._blobs.stat(name, digest)
            parts = resolve_ranges(wanted, described.size)
            if len(parts) > 1 and not_modified(request, digest) is None:
                async with aclosing(self._blobs.open_parts(name, digest, parts, pulled_by=client)) as readers:
                    noted = _noting(request, readers)
                    return await send_parts(request, content_headers(digest) | _IMMUTABLE, parts, noted)
            offset, length = parts[0]
        async with self._blobs.open(name, digest, offset=offset, length=length, pulled_by=client) as reader:
            if wanted is not None and reader.length == 0:
                raise RangeInvalidError(reader.size)
            note_freshness(request, reader.freshness)
            if (unchanged := not_modified(request, digest, _CACHED)) is not None:
                return unchanged
            headers = content_headers(digest) | _IMMUTABLE
            if wanted is None:
                return await send_blob(request, reader, headers)
            headers["Content-Range"] = f"bytes {offset}-{offset + reader.length - 1}/{reader.size}"
            return await send_blob(request, reader, headers, status=206)

    async def delete(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Remove the repository's link to a blob."""
        name, digest = RepositoryName(target.name), Digest(target.reference)
        await self._blobs.unlink(name, digest, by=actor_of(request, self._urls))
        return web.Response(status=202)


async def _noting(request: web.Request, readers: AsyncIterable[BlobReader]) -> AsyncIterator[BlobReader]:
    """Yield the readers, and record the freshness of each before its content is sent."""
    async for reader in readers:
        note_freshness(request, reader.freshness)
        yield reader


def _begin_and_length(wanted: Sequence[ByteRange] | None) -> tuple[int, int | None]:
    """Return offset and length of a single range, without the blob's size; a length of None means up to the end."""
    if wanted is None or wanted[0].start is None:
        return 0, None
    start, end = wanted[0].start, wanted[0].end
    return start, None if end is None else end + 1 - start


def _wanted_ranges(request: web.Request, digest: Digest) -> Sequence[ByteRange] | None:
    if_range = request.headers.get("If-Range")
    if if_range is not None and not matches_etag(if_range, digest):
        return None
    return parse_ranges(request.headers.get("Range"))
