"""Upload sessions: `/v2/<name>/blobs/uploads/…` (end-4, end-5, end-6, end-11, end-13, end-14)."""

from dataclasses import replace

from aiohttp import web

from core.errors import DigestInvalidError, NameInvalidError, UploadInvalidError
from core.model.digest import CANONICAL, Digest, require_algorithm
from core.model.names import RepositoryName
from core.registry.facade import Registry
from core.registry.upload_state import UploadState, UploadStateCodec
from entrypoints.http.actors import actor_of
from entrypoints.http.connection.streaming import RequestBody
from entrypoints.http.errors import format_upload_range
from entrypoints.http.keys import CALLER, UPLOAD_LOCATION
from entrypoints.http.ranges import check_chunk_range
from entrypoints.http.routes import Target
from entrypoints.http.urls import UrlBuilder


class UploadHandlers:
    """Handlers for upload sessions."""

    def __init__(self, registry: Registry, *, codec: UploadStateCodec, urls: UrlBuilder) -> None:
        self._blobs = registry.blobs
        self._uploads = registry.uploads
        self._codec = codec
        self._urls = urls

    async def post(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Mount a blob, store a complete one, or begin a session, depending on the query."""
        name = RepositoryName(target.name)
        if "mount" in request.query and (mounted := await self._mount(name, request)) is not None:
            return self._created(request, name, mounted)
        if "digest" in request.query:
            digest = Digest(request.query["digest"])
            # Clients may give the digest and send the bytes later; without a body, only the empty blob is complete.
            if request.body_exists or digest == Digest.of(b"", digest.algorithm):
                await self._uploads.put(name, digest, RequestBody(request), by=actor_of(request, self._urls))
                return self._created(request, name, digest)
        algorithm = require_algorithm(request.query.get("digest-algorithm", CANONICAL))
        return self._accepted(request, await self._uploads.start(name, algorithm=algorithm), status=202)

    async def get(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Return the state of a session."""
        state = await self._uploads.status(RepositoryName(target.name), target.reference)
        return self._accepted(request, state, status=204)

    async def patch(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Append a chunk to a session."""
        state = await self._state(request, target)
        check_chunk_range(
            request.headers.get("Content-Range"), offset=state.offset, content_length=request.content_length
        )
        return self._accepted(
            request, await self._uploads.append(state, RequestBody(request, offset=state.offset)), status=202
        )

    async def put(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Append the last chunk, which may be empty, and complete the session."""
        if "digest" not in request.query:
            raise DigestInvalidError("digest missing")
        digest = Digest(request.query["digest"])
        state = await self._state(request, target)
        check_chunk_range(
            request.headers.get("Content-Range"), offset=state.offset, content_length=request.content_length
        )
        body = RequestBody(request, offset=state.offset)
        blob = await self._uploads.complete(state, digest, body, by=actor_of(request, self._urls))
        return self._created(request, state.name, blob.digest)

    async def delete(self, _request: web.Request, target: Target) -> web.StreamResponse:
        """Cancel a session."""
        await self._uploads.cancel(RepositoryName(target.name), target.reference)
        return web.Response(status=204, headers={"Docker-Upload-UUID": target.reference})

    async def _mount(self, name: RepositoryName, request: web.Request) -> Digest | None:
        # If a mount fails for any reason, the client gets a session instead (end-11).
        try:
            digest = Digest(request.query["mount"])
            source = RepositoryName(request.query["from"]) if request.query.get("from") else None
        except (DigestInvalidError, NameInvalidError):
            return None
        if source is None and not request[CALLER].pulls_everything:
            # The blob may exist only in repositories that the caller must not read.
            return None
        blob = await self._blobs.mount(name, digest, source=source, by=actor_of(request, self._urls))
        return None if blob is None else digest

    async def _state(self, request: web.Request, target: Target) -> UploadState:
        name = RepositoryName(target.name)
        request[UPLOAD_LOCATION] = self._urls.upload(request, name, target.reference)
        token = request.query.get("_state")
        if token is None:
            # The plain session URL, as in a 416 response: the offset is read from the store.
            return await self._uploads.status(name, target.reference)
        try:
            return self._codec.decode(token, name=name, upload_id=target.reference)
        except UploadInvalidError:
            # If the session is gone, report that rather than the invalid signature.
            await self._uploads.status(name, target.reference)
            raise

    def _accepted(self, request: web.Request, state: UploadState, *, status: int) -> web.Response:
        caller = request[CALLER]
        if caller.may_push and caller.principal.has_credentials:
            state = replace(state, granted_to=caller.principal.name)
        location = self._urls.upload(request, state.name, state.upload_id, self._codec.encode(state))
        headers = {
            "Location": location,
            "Range": format_upload_range(state.offset),
            "Docker-Upload-UUID": state.upload_id,
        }
        return web.Response(status=status, headers=headers)

    def _created(self, request: web.Request, name: RepositoryName, digest: Digest) -> web.Response:
        location = self._urls.blob(request, name, digest)
        return web.Response(status=201, headers={"Location": location, "Docker-Content-Digest": digest})
