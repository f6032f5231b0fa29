"""The content of repeated pulls, which is read from the registry for each pull, by the calls that handlers make."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web
from typing_extensions import override

from core.model.digest import Digest
from core.model.events import Actor
from core.model.media_types import SCHEMA1
from core.model.names import Reference, RepositoryName, parse_reference
from core.registry.blobs import BlobService
from core.registry.facade import Registry
from entrypoints.http.routes import Resource, Target

_OK: Final = 200
_REDIRECT: Final = 307


@dataclass(slots=True)
class Content:
    """The parts of an answer that were read."""

    body: bytes | bytearray = b""
    location: bytes | None = None
    """The URL of a redirect; None for the content itself."""


class Source(ABC):
    """The origin of the content of one pull."""

    @abstractmethod
    async def read(self, by: Actor) -> Content | None:
        """Return the content, or None if the head of the response would not be that of the earlier pull."""


@dataclass(slots=True)
class _Manifest(Source):
    registry: Registry
    name: RepositoryName
    reference: Reference
    is_head: bool
    described: tuple[str, str, int]
    """Digest, media type and size."""

    @override
    async def read(self, by: Actor) -> Content | None:
        manifest = await self.registry.pull_manifest(self.name, self.reference, by=by, describes=self.is_head)
        content = manifest.content
        if (manifest.digest, manifest.media_type, len(content)) != self.described or manifest.freshness is not None:
            return None
        return Content() if self.is_head else Content(content)


@dataclass(slots=True)
class _Blob(Source):
    blobs: BlobService
    name: RepositoryName
    digest: Digest


@dataclass(slots=True)
class _BlobDescription(_Blob):
    size: int | None

    @override
    async def read(self, by: Actor) -> Content | None:
        blob = await self.blobs.stat(self.name, self.digest, pulled_by=by)
        return Content() if blob.size == self.size else None


@dataclass(slots=True)
class _SmallBlob(_Blob):
    size: int
    redirects: bool

    @override
    async def read(self, by: Actor) -> Content | None:
        if self.redirects and await self.blobs.redirect_url(self.name, self.digest, pulled_by=by):
            return None
        async with self.blobs.open(self.name, self.digest, pulled_by=by) as reader:
            if reader.length != self.size or reader.freshness is not None:
                return None
            return Content(await reader.read())


@dataclass(slots=True)
class _Redirection(_Blob):
    @override
    async def read(self, by: Actor) -> Content | None:
        url = await self.blobs.redirect_url(self.name, self.digest, pulled_by=by)
        return Content(location=url.encode()) if url else None


def source_of(
    registry: Registry, target: Target, method: str, response: web.StreamResponse, *, redirects: bool
) -> Source | None:
    """Return the origin of the content of a response, or None if repetitions of the pull may need more than that.

    Args:
        registry: the domain.
        target: target of the request, whose response was sent.
        method: `GET` or `HEAD`.
        response: the response.
        redirects: whether clients may be redirected to the store.
    """
    if target.resource is Resource.MANIFEST and response.status == _OK:
        return _manifest_of(registry, target, method, response)
    if target.resource is Resource.BLOB:
        return _blob_of(registry.blobs, target, method, response, redirects=redirects)
    return None


def _manifest_of(registry: Registry, target: Target, method: str, response: web.StreamResponse) -> Source | None:
    media_type = response.headers[hdrs.CONTENT_TYPE]
    content = response.body if isinstance(response, web.Response) else None
    if not isinstance(content, bytes) or media_type in SCHEMA1:
        return None
    return _Manifest(
        registry,
        RepositoryName(target.name),
        parse_reference(target.reference),
        is_head=method == hdrs.METH_HEAD,
        described=(response.headers["Docker-Content-Digest"], media_type, len(content)),
    )


def _blob_of(
    blobs: BlobService, target: Target, method: str, response: web.StreamResponse, *, redirects: bool
) -> Source | None:
    name, digest = RepositoryName(target.name), Digest(target.reference)
    if method == hdrs.METH_HEAD:
        return _BlobDescription(blobs, name, digest, response.content_length) if response.status == _OK else None
    if redirects and blobs.has_redirector:
        # The URL may depend on the client.
        return None
    if response.status == _REDIRECT:
        return _Redirection(blobs, name, digest)
    content = response.body if isinstance(response, web.Response) else None
    if response.status != _OK or not isinstance(content, bytes | bytearray):
        return None
    return _SmallBlob(blobs, name, digest, len(content), redirects)
