"""Blobs as a repository sees them: only those that it links."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from core import layout
from core.collection.guard import CollectionGuard, Need
from core.damage import DamageWatch
from core.descriptor import Descriptor
from core.digest import Digest
from core.errors import BlobUnknownError, ContentDamagedError, DeniedError, ObjectNotFoundError
from core.immutable_images import ImmutableImages
from core.links import Links
from core.media_types import OCTET_STREAM
from core.names import RepositoryName
from core.ports.blob_storage import BlobReader, BlobStorage
from core.ports.descriptor_cache import DescriptorCache
from core.trash import Trash
from core.trash_entry import RemovedLink, TrashKind


class BlobService:
    """Reads, mounts and unlinks blobs; one per process.

    Args:
        storage: where blobs are.
        links: likewise.
        cache: what pulls believe; it may tell what others proved.
        guard: keeps apart from collection, and knows what this process proved.
        trash: is told of links that are removed.
        damage: knows which data is damaged.
        immutable_images: refuse the removal of what they need.
    """

    def __init__(
        self,
        storage: BlobStorage,
        links: Links,
        cache: DescriptorCache,
        *,
        guard: CollectionGuard,
        trash: Trash,
        damage: DamageWatch,
        immutable_images: ImmutableImages,
    ) -> None:
        self._storage = storage
        self._links = links
        self._cache = cache
        self._guard = guard
        self._trash = trash
        self._damage = damage
        self._immutable_images = immutable_images

    async def stat(self, name: RepositoryName, digest: Digest) -> Descriptor:
        """Describe a blob. Two storage requests, or none for one that was proven to be there lately.

        Link and data are both looked at, since one may be there without the other.

        Raises:
            BlobUnknownError: the repository does not link it, or its data is gone.
            ContentDamagedError: its data is known to be damaged.
        """
        await self._guard.rely_on(digest)
        size = None if self._damage.is_suspected(digest) else await self._guard.recall(name, digest)
        if size is None:
            target = await self._linked(name, digest)
            try:
                stat = await self._storage.stat(layout.blob_data(target))
            except ObjectNotFoundError:
                raise BlobUnknownError("blob unknown to registry", detail=digest) from None
            if await self._damage.is_damaged(target, stat):
                raise ContentDamagedError(digest)
            size = stat.size
            if target == digest:
                await self._guard.remember(name, digest, size)
        return Descriptor(media_type=OCTET_STREAM, digest=digest, size=size)

    @asynccontextmanager
    async def open(
        self, name: RepositoryName, digest: Digest, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[BlobReader]:
        """Open a blob for reading from `offset` on, at most `length` bytes. Two storage requests.

        Raises:
            BlobUnknownError: on entering the block: not linked, or its data is gone.
            RangeInvalidError: on entering the block: `offset` lies beyond the end.
            ContentDamagedError: on entering the block, or before the last piece: its data is damaged.
        """
        self._guard.touch(digest)
        target, size = await self._target(name, digest)
        async with self._opened(name, digest, target, size, offset=offset, length=length) as reader:
            yield reader

    async def open_parts(
        self, name: RepositoryName, digest: Digest, parts: Sequence[tuple[int, int]]
    ) -> AsyncGenerator[BlobReader, None]:
        """Yield a reader for each part (offset, length), open until the next one. One storage request each, and one.

        Raises:
            BlobUnknownError: not linked, or its data is gone.
            RangeInvalidError: an offset lies beyond the end.
            ContentDamagedError: its data is known to be damaged.
        """
        self._guard.touch(digest)
        target, size = await self._target(name, digest)
        for offset, length in parts:
            async with self._opened(name, digest, target, size, offset=offset, length=length) as reader:
                yield reader

    async def redirect_url(self, name: RepositoryName, digest: Digest) -> str | None:
        """Return a URL in the store at which a client may `GET` the blob, or None where the store has none.

        None also for a blob whose data is known to be damaged: then `open` decides.

        Raises:
            BlobUnknownError: the repository does not link it.
        """
        target, _ = await self._target(name, digest)
        if self._damage.is_suspected(target):
            return None
        return await self._storage.redirect_url(layout.blob_data(target), method="GET")

    async def mount(self, name: RepositoryName, digest: Digest, *, source: RepositoryName | None) -> Descriptor | None:
        """Link a blob that `source`, or any repository where it is None, holds already.

        Idempotent. Returns the blob, which the client then need not send (end-11), or None if it did not work.
        """
        ticket = await self._guard.ticket()
        target = digest if source is None else await self._links.read(layout.layer_link(source, digest))
        if target is None:
            return None
        try:
            stat = await self._storage.stat(layout.blob_data(target))
        except ObjectNotFoundError:
            return None
        if await self._damage.is_damaged(target, stat):
            return None
        link = layout.layer_link(name, digest)
        await self._links.write(link, target)
        if await self._guard.confirm(ticket, [Need(link, digest), Need(link, target)]):
            return None
        if target == digest:
            await self._guard.remember(name, digest, stat.size)
        return Descriptor(media_type=OCTET_STREAM, digest=digest, size=stat.size)

    async def unlink(self, name: RepositoryName, digest: Digest, *, by: str = "") -> None:
        """Remove the repository's link; the data stays for other repositories and for garbage collection.

        It is recorded in the trash first, with who asks (`by`), for one storage request more.

        Raises:
            BlobUnknownError: the repository does not link it.
            DeniedError: an immutable tag needs it.
        """
        await self._cache.forget(name, digest)
        target = await self._linked(name, digest)
        await self._immutable_images.require_unneeded(name, digest)
        link = RemovedLink(layout.layer_link(name, digest), target)
        await self._trash.record(self._trash.new_entry(TrashKind.BLOB_LINK, repository=name, by=by), links=[link])
        await self._links.delete(link.key)
        try:
            # Once more, for a push of an immutable tag that came in between.
            await self._immutable_images.require_unneeded(name, digest)
        except DeniedError:
            await self._links.write(link.key, target)
            raise
        # Again, for a request that looked while the link was still there.
        await self._cache.forget(name, digest)

    @asynccontextmanager
    async def _opened(
        self, name: RepositoryName, digest: Digest, target: Digest, size: int | None, *, offset: int, length: int | None
    ) -> AsyncIterator[BlobReader]:
        opening = self._storage.open_reader(layout.blob_data(target), offset=offset, length=length)
        async with AsyncExitStack() as stack:
            try:
                reader = await self._damage.checked(await stack.enter_async_context(opening), target, size=size)
            except ObjectNotFoundError:
                await self._cache.forget(name, digest)
                raise BlobUnknownError("blob unknown to registry", detail=digest) from None
            yield reader

    async def _target(self, name: RepositoryName, digest: Digest) -> tuple[Digest, int | None]:
        """Return what to read: as a cache has it, which may be wrong, for then there is nothing to read.

        Beside it stands the size, where the cache has it.
        """
        if (size := await self._cache.get(name, digest)) is not None:
            return digest, size
        return await self._linked(name, digest), None

    async def _linked(self, name: RepositoryName, digest: Digest) -> Digest:
        """Return what storage says: whoever is told that a blob is there may rely on it and not send it again."""
        # Distribution stores a sha512 push under sha256 and links the one digest to the other.
        target = await self._links.read(layout.layer_link(name, digest))
        if target is None:
            raise BlobUnknownError("blob unknown to registry", detail=digest)
        return target
