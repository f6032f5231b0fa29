"""Manifests: `/v2/<name>/manifests/<reference>` (end-3, end-7, end-9)."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from aiohttp import web

from core.errors import TagInvalidError
from core.model.digest import Digest
from core.model.manifest import PUSHED_MANIFEST_BYTES_MAX
from core.model.names import RepositoryName, Tag, parse_reference
from core.registry.facade import Registry
from entrypoints.http.actors import actor_of
from entrypoints.http.connection.streaming import read_body
from entrypoints.http.handlers.base import content_headers, not_modified
from entrypoints.http.middleware.cache_status import note_freshness
from entrypoints.http.ranges import matches_etag
from entrypoints.http.routes import Target
from entrypoints.http.urls import UrlBuilder

TAGS_PER_PUSH_MAX: Final = 100
"""Maximum number of tags per push; more than the ten that end-7b requires, and a bound on the writes of one request."""


class ManifestHandlers:
    """Handlers for manifests.

    Args:
        registry: the domain.
        urls: builds the URLs in responses.
        bytes_max: maximum size of a pushed manifest.
    """

    def __init__(self, registry: Registry, *, urls: UrlBuilder, bytes_max: int = PUSHED_MANIFEST_BYTES_MAX) -> None:
        self._registry = registry
        self._urls = urls
        self._bytes_max = bytes_max

    async def get(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Send a manifest with its exact bytes and stored type, regardless of the `Accept` header."""
        name, reference = RepositoryName(target.name), parse_reference(target.reference)
        held = request.headers.get("If-None-Match")
        manifest = await self._registry.pull_manifest(
            name,
            reference,
            by=actor_of(request, self._urls),
            describes=request.method == "HEAD",
            is_held=partial(matches_etag, held) if held else None,
        )
        note_freshness(request, manifest.freshness)
        if (unchanged := not_modified(request, manifest.digest)) is not None:
            return unchanged
        headers = content_headers(manifest.digest) | {"Content-Type": manifest.media_type}
        return web.Response(body=manifest.content, headers=headers)

    async def put(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Store a manifest."""
        name, reference = RepositoryName(target.name), parse_reference(target.reference)
        is_digest = isinstance(reference, Digest)
        content = await read_body(request, limit=self._bytes_max)
        pushed = await self._registry.push_manifest(
            name,
            content,
            request.headers.get("Content-Type", ""),
            by=actor_of(request, self._urls),
            digest=reference if isinstance(reference, Digest) else None,
            tags=_tag_parameters(request) if is_digest else [Tag(reference)],
        )
        response = web.Response(
            status=201,
            headers={
                "Location": self._urls.manifest(request, name, pushed.digest),
                "Docker-Content-Digest": pushed.digest,
            },
        )
        if pushed.subject is not None:
            response.headers["OCI-Subject"] = pushed.subject
        if is_digest:
            for tag in pushed.tags:
                response.headers.add("OCI-Tag", tag)
        return response

    async def delete(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Delete a tag, or a manifest with its tags."""
        name, reference = RepositoryName(target.name), parse_reference(target.reference)
        await self._registry.delete_manifest(name, reference, by=actor_of(request, self._urls))
        return web.Response(status=202)


def _tag_parameters(request: web.Request) -> Sequence[Tag]:
    tags = list(dict.fromkeys(Tag(value) for value in request.query.getall("tag", [])))
    if len(tags) > TAGS_PER_PUSH_MAX:
        raise TagInvalidError(f"at most {TAGS_PER_PUSH_MAX} tags with one push")
    return tags
