"""Blobs: `GET`, `HEAD`, `DELETE /v2/<name>/blobs/<digest>` (end-2, end-10)."""

from typing import Final

from aiohttp import web

from core.descriptor import Descriptor
from core.digest import Digest
from core.errors import RangeInvalidError
from core.events import EventAction
from core.media_types import OCTET_STREAM
from core.names import RepositoryName
from core.services.blobs import BlobService
from entrypoints.http.announcements import Announcements
from entrypoints.http.handlers.base import content_headers, not_modified
from entrypoints.http.keys import CALLER
from entrypoints.http.ranges import ByteRange, matches_etag, parse_range
from entrypoints.http.routes import Target
from entrypoints.http.sending import send_blob

_IMMUTABLE: Final = {"Accept-Ranges": "bytes", "Cache-Control": "max-age=31536000", "Content-Type": OCTET_STREAM}


class BlobHandlers:
    """Answers for blobs."""

    def __init__(self, blobs: BlobService, *, announce: Announcements, redirects: bool) -> None:
        self._blobs = blobs
        self._announce = announce
        self._redirects = redirects

    async def head(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Describe a blob; never a redirect, whose URL would be signed for another method."""
        name, digest = RepositoryName(target.name), Digest(target.reference)
        descriptor = await self._blobs.stat(name, digest)
        await self._announce.blob(request, EventAction.PULL, name, descriptor)
        if (unchanged := not_modified(request, digest)) is not None:
            return unchanged
        response = web.StreamResponse(headers=content_headers(digest) | _IMMUTABLE)
        response.content_length = descriptor.size
        return response

    async def get(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Send a blob or a part of it, or the way to it in the store."""
        name, digest = RepositoryName(target.name), Digest(target.reference)
        if self._redirects and (url := await self._blobs.redirect_url(name, digest)):
            if self._announce.wants_blob(EventAction.PULL):
                # Only an event needs to know how large it is.
                await self._announce.blob(request, EventAction.PULL, name, await self._blobs.stat(name, digest))
            return web.Response(status=307, headers={"Location": url, "Docker-Content-Digest": digest})
        wanted = _wanted_range(request, digest)
        offset, length = await self._locate(name, digest, wanted)
        async with self._blobs.open(name, digest, offset=offset, length=length) as reader:
            if wanted is not None and reader.length == 0:
                raise RangeInvalidError(reader.size)
            pulled = Descriptor(media_type=OCTET_STREAM, digest=digest, size=reader.size)
            if (unchanged := not_modified(request, digest)) is not None:
                await self._announce.blob(request, EventAction.PULL, name, pulled)
                return unchanged
            response = web.StreamResponse(headers=content_headers(digest) | _IMMUTABLE)
            if wanted is not None:
                response.set_status(206)
                last = offset + reader.length - 1
                response.headers["Content-Range"] = f"bytes {offset}-{last}/{reader.size}"
            response.content_length = reader.length
            await send_blob(request, response, reader)
            await self._announce.blob(request, EventAction.PULL, name, pulled)
            return response

    async def delete(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Remove the repository's link to a blob."""
        name, digest = RepositoryName(target.name), Digest(target.reference)
        await self._blobs.unlink(name, digest, by=request[CALLER].principal.name)
        await self._announce.blob_deleted(request, name, digest)
        return web.Response(status=202)

    async def _locate(self, name: RepositoryName, digest: Digest, wanted: ByteRange | None) -> tuple[int, int | None]:
        if wanted is None:
            return 0, None
        if wanted.start is None or wanted.needs_size:
            descriptor = await self._blobs.stat(name, digest)
            return wanted.resolve(descriptor.size)
        return wanted.start, None if wanted.end is None else wanted.end + 1 - wanted.start


def _wanted_range(request: web.Request, digest: Digest) -> ByteRange | None:
    if_range = request.headers.get("If-Range")
    if if_range is not None and not matches_etag(if_range, digest):
        return None
    return parse_range(request.headers.get("Range"))
