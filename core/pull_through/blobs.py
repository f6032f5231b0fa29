"""Blobs of cached repositories, which are fetched on demand."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

from core.errors import BlobUnknownError, ContentDamagedError, DeniedError, StorageUnavailableError, UpstreamAbsentError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.events import Actor
from core.model.freshness import CacheOutcome, Freshness
from core.model.media_types import OCTET_STREAM
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobReader
from core.pull_through.absences import Absences
from core.pull_through.claims import Claims
from core.pull_through.fetch import ContentStoredError
from core.pull_through.fetching import Fetcher
from core.pull_through.origins import Origin, Origins
from core.pull_through.storing import FetchedBlobStore
from core.registry.blobs import BlobService
from core.registry.parts import BlobParts
from core.typing import override

_HIT: Final = Freshness(outcome=CacheOutcome.HIT)
_ATTEMPTS: Final = 3


class CachedBlobs(BlobService):
    """Blobs of local repositories as `BlobService` has them; blobs of cached ones also from their upstreams.

    A blob of the store is readable in a cached repository only after the upstream served it, or a byte of it, for this
    repository; the registry then links the blob there. A manifest proves nothing: its author may know the digest of a
    private blob of another repository.

    In addition to the errors of the base class, the methods for reading may raise, for a cached repository:

    - `DeniedError`: the rules of the upstream do not allow pulls from this repository.
    - `UpstreamError`: the upstream failed. If it does not have the blob, this is `BlobUnknownError`.

    Args:
        parts: see the base.
        origins: the origins of cached repositories.
        fetcher: fetches blobs.
        store: links blobs of the store.
        claims: the sizes of the blobs that manifests of cached repositories refer to.
        absences: what the upstreams do not have.
    """

    def __init__(
        self,
        parts: BlobParts,
        *,
        origins: Origins,
        fetcher: Fetcher,
        store: FetchedBlobStore,
        claims: Claims,
        absences: Absences,
    ) -> None:
        super().__init__(parts)
        self._origins = origins
        self._fetcher = fetcher
        self._store = store
        self._claims = claims
        self._absences = absences

    @override
    async def stat(self, name: RepositoryName, digest: Digest, *, pulled_by: Actor | None = None) -> Descriptor:
        """Return the descriptor of a blob as the base class does.

        The body of a cold blob is not fetched: the size is that of the manifest, or is asked for at the upstream.
        """
        if (origin := self._origins.find(name)) is None:
            return await super().stat(name, digest, pulled_by=pulled_by)
        try:
            return await super().stat(name, digest, pulled_by=pulled_by)
        except (BlobUnknownError, ContentDamagedError):
            size = await self._cold_size(origin, name, digest)
        blob = _described(digest, size)
        await self._publish_pull(name, blob, pulled_by)
        return blob

    @override
    def open(
        self,
        name: RepositoryName,
        digest: Digest,
        *,
        offset: int = 0,
        length: int | None = None,
        pulled_by: Actor | None = None,
    ) -> AbstractAsyncContextManager[BlobReader]:
        if (origin := self._origins.find(name)) is None:
            return super().open(name, digest, offset=offset, length=length, pulled_by=pulled_by)
        return self._open_cached(origin, name, digest, offset=offset, length=length, pulled_by=pulled_by)

    @override
    def open_parts(
        self,
        name: RepositoryName,
        digest: Digest,
        parts: Sequence[tuple[int, int]],
        *,
        pulled_by: Actor | None = None,
    ) -> AsyncGenerator[BlobReader, None]:
        if (origin := self._origins.find(name)) is None:
            return super().open_parts(name, digest, parts, pulled_by=pulled_by)
        return self._open_cached_parts(origin, name, digest, parts, pulled_by=pulled_by)

    @override
    async def redirect_url(self, name: RepositoryName, digest: Digest, *, pulled_by: Actor | None = None) -> str | None:
        """Return a URL as the base class does; None for a cold blob."""
        if (origin := self._origins.find(name)) is None:
            return await super().redirect_url(name, digest, pulled_by=pulled_by)
        try:
            return await super().redirect_url(name, digest, pulled_by=pulled_by)
        except BlobUnknownError:
            if not await self._adopt(origin, name, digest):
                return None
        return await super().redirect_url(name, digest, pulled_by=pulled_by)

    @asynccontextmanager
    async def _open_cached(
        self,
        origin: Origin,
        name: RepositoryName,
        digest: Digest,
        *,
        offset: int,
        length: int | None,
        pulled_by: Actor | None,
    ) -> AsyncIterator[BlobReader]:
        async with AsyncExitStack() as stack:
            reader = await self._enter(stack, origin, name, digest, offset=offset, length=length)
            yield reader
            await self._publish_pull(name, _described(digest, reader.size), pulled_by)

    async def _open_cached_parts(
        self,
        origin: Origin,
        name: RepositoryName,
        digest: Digest,
        parts: Sequence[tuple[int, int]],
        *,
        pulled_by: Actor | None,
    ) -> AsyncGenerator[BlobReader, None]:
        total = 0
        for offset, length in parts:
            async with AsyncExitStack() as stack:
                reader = await self._enter(stack, origin, name, digest, offset=offset, length=length)
                yield reader
                total = reader.size
        await self._publish_pull(name, _described(digest, total), pulled_by)

    async def _enter(
        self,
        stack: AsyncExitStack,
        origin: Origin,
        name: RepositoryName,
        digest: Digest,
        *,
        offset: int,
        length: int | None,
    ) -> BlobReader:
        for _ in range(_ATTEMPTS):
            try:
                reader = await stack.enter_async_context(super().open(name, digest, offset=offset, length=length))
            except (BlobUnknownError, ContentDamagedError):
                if await self._adopt(origin, name, digest):
                    continue
            else:
                reader.freshness = _HIT
                return reader
            fetched = self._fetcher.open(name, origin, digest, offset=offset, length=length)
            try:
                return await stack.enter_async_context(fetched)
            except ContentStoredError:
                # Another fetch ended just now.
                continue
            except UpstreamAbsentError:
                raise self._absent(origin, name, digest) from None
        raise StorageUnavailableError(f"{digest} is removed from the store again and again")

    async def _cold_size(self, origin: Origin, name: RepositoryName, digest: Digest) -> int:
        self._require_possible(origin, name, digest)
        size = self._claims.size(name, digest)
        return await self._ask(origin, name, digest) if size is None else size

    async def _adopt(self, origin: Origin, name: RepositoryName, digest: Digest) -> bool:
        """Link a blob of the store into a cached repository; return False if the store does not have it.

        Raises:
            BlobUnknownError: the repository does not have the blob.
        """
        self._require_possible(origin, name, digest)
        if await self._store.size(digest) is None:
            return False
        await self._ask(origin, name, digest)
        return await self._store.link(name, digest)

    def _require_possible(self, origin: Origin, name: RepositoryName, digest: Digest) -> None:
        if not origin.is_allowed:
            raise DeniedError("the registry does not cache this repository", detail=name)
        if self._absences.has(name, digest):
            raise BlobUnknownError("blob unknown to registry", detail=digest)

    async def _ask(self, origin: Origin, name: RepositoryName, digest: Digest) -> int:
        """Ask the upstream for one byte of a blob, since some registries refuse `HEAD`; return the blob's size."""
        try:
            async with origin.upstream.open_blob(origin.name, digest, length=1) as reader:
                size = reader.size
        except UpstreamAbsentError:
            raise self._absent(origin, name, digest) from None
        self._claims.note(name, [_described(digest, size)])
        return size

    def _absent(self, origin: Origin, name: RepositoryName, digest: Digest) -> BlobUnknownError:
        self._absences.add(name, digest, seconds=origin.rules.absent_seconds)
        self._claims.forget(name, digest)
        return BlobUnknownError("blob unknown to registry", detail=digest)


def _described(digest: Digest, size: int) -> Descriptor:
    return Descriptor(media_type=OCTET_STREAM, digest=digest, size=size)
