"""An upstream registry in memory, which counts the questions and fails on demand."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from typing_extensions import override

from core.errors import RangeInvalidError, UpstreamAbsentError, UpstreamError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import read_if_manifest
from core.model.names import Reference, Tag
from core.ports.blob_storage import BlobReader
from core.ports.upstream import Upstream, UpstreamManifest, UpstreamTag

_PIECE_BYTES = 64 * 1024


class InMemoryUpstream(Upstream):
    """Holds repositories in dictionaries, which the owner fills."""

    def __init__(self, name: str = "upstream.example") -> None:
        self.name = name
        self.asked: Counter[str] = Counter()
        """Number of calls by method; `open_blob` counts openings."""
        self.failure: UpstreamError | None = None
        """Raised by every call while it is set."""
        self.breaks_after: int | None = None
        """Number of bytes after which the next reader of a blob fails with `failure_of_blob`; then None again."""
        self.failure_of_blob: UpstreamError | None = None
        self.has_catalog = True
        """Whether the upstream lists its repositories."""
        self.gate: Callable[[], Awaitable[object]] | None = None
        """If set, awaited before each piece of a blob."""
        self._manifests: dict[tuple[str, Digest], UpstreamManifest] = {}
        self._tags: dict[tuple[str, Tag], Digest] = {}
        self._blobs: dict[tuple[str, Digest], bytes] = {}

    def add_blob(self, name: str, content: bytes) -> Digest:
        """Add a blob to a repository; return its digest."""
        digest = Digest.of(content)
        self._blobs[name, digest] = content
        return digest

    def replace_blob(self, name: str, digest: Digest, content: bytes) -> None:
        """Let a repository answer with content that need not match the digest."""
        self._blobs[name, digest] = content

    def add_manifest(self, name: str, content: bytes, media_type: str, *tags: str) -> Digest:
        """Add a manifest to a repository, and point tags at it; return its digest."""
        digest = Digest.of(content)
        self._manifests[name, digest] = UpstreamManifest(content=content, media_type=media_type, digest=digest)
        for tag in tags:
            self._tags[name, Tag(tag)] = digest
        return digest

    def manifests(self) -> list[tuple[str, Digest]]:
        """Return the repository and the digest of each manifest, in the order in which they were added."""
        return list(self._manifests)

    def remove_tag(self, name: str, tag: str) -> None:
        """Remove a tag."""
        del self._tags[name, Tag(tag)]

    @override
    async def resolve(self, name: str, tag: Tag, *, etag: str | None = None) -> UpstreamTag | None:
        self._ask("resolve")
        manifest = self._manifest(name, tag)
        if etag == manifest.digest:
            return None
        return UpstreamTag(digest=manifest.digest, media_type=manifest.media_type, etag=manifest.digest)

    @override
    async def manifest(self, name: str, reference: Reference) -> UpstreamManifest:
        self._ask("manifest")
        return self._manifest(name, reference)

    @override
    @asynccontextmanager
    async def open_blob(
        self, name: str, digest: Digest, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[BlobReader]:
        self._ask("open_blob")
        content = self._blobs.get((name, digest))
        if content is None:
            raise self._absent(digest)
        if offset > len(content):
            raise RangeInvalidError(len(content))
        end = len(content) if length is None else min(len(content), offset + length)
        breaks_after, self.breaks_after = self.breaks_after, None
        yield _Reader(self, content, offset, end, breaks_after)

    @override
    async def tags(self, name: str, *, after: str = "") -> AsyncIterator[Tag]:
        self._ask("tags")
        tags = sorted(tag for held, tag in self._tags if held == name)
        if not tags:
            raise self._absent(name)
        for tag in tags:
            if tag > after:
                yield tag

    @override
    async def referrers(
        self, name: str, subject: Digest, *, artifact_type: str | None = None
    ) -> AsyncIterator[Descriptor]:
        self._ask("referrers")
        for (held, digest), stored in list(self._manifests.items()):
            manifest = read_if_manifest(stored.content)
            if held != name or manifest is None or manifest.subject is None or manifest.subject.digest != subject:
                continue
            described = manifest.describe(digest)
            if artifact_type in {None, described.artifact_type}:
                yield described

    @override
    async def repositories(self, *, after: str = "") -> AsyncIterator[str]:
        self._ask("repositories")
        if not self.has_catalog:
            raise self._absent("a catalog")
        for name in sorted({name for name, _ in self._manifests}):
            if name > after:
                yield name

    @override
    async def check(self) -> None:
        self._ask("check")

    def _ask(self, method: str) -> None:
        self.asked[method] += 1
        if self.failure is not None:
            raise self.failure

    def _manifest(self, name: str, reference: Reference) -> UpstreamManifest:
        digest = reference if isinstance(reference, Digest) else self._tags.get((name, reference))
        manifest = self._manifests.get((name, digest)) if digest is not None else None
        if manifest is None:
            raise self._absent(reference)
        return manifest

    def _absent(self, what: str) -> UpstreamAbsentError:
        return UpstreamAbsentError(f"{self.name} does not have {what}")


class _Reader(BlobReader):
    def __init__(
        self, upstream: InMemoryUpstream, content: bytes, offset: int, end: int, breaks_after: int | None
    ) -> None:
        self.size = len(content)
        self.length = end - offset
        self.offset = offset
        self._upstream = upstream
        self._content = content[offset:end]
        self._breaks_after = breaks_after

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), _PIECE_BYTES):
            if self._upstream.gate is not None:
                await self._upstream.gate()
            piece = self._content[start : start + _PIECE_BYTES]
            if self._breaks_after is not None and start + len(piece) > self._breaks_after:
                yield piece[: self._breaks_after - start]
                raise self._upstream.failure_of_blob or UpstreamError("the connection broke")
            yield piece
