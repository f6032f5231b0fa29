"""Storing of blobs that come from an upstream, while clients read them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from collections.abc import Set as AbstractSet

from core.collection.guard import CollectionGuard, Need
from core.errors import StorageError, StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.staging import BlobWriter, StagingStorage
from core.pull_through.admission import Admission
from core.store import layout
from core.store.damage import DamageWatch
from core.store.links import Links, link_object
from core.store.objects import find

_logger = logging.getLogger(__name__)


class FetchedBlobStore:
    """Stores fetched blobs, and links them into cached repositories, like a push but without events. One per process.

    Args:
        storage: the store.
        links: the links of the store.
        guard: protects content from garbage collection.
        damage: the known damage.
        new_id: creates names for staged bytes.
        admission: decides whether there is room.
        is_read_only: whether the store accepts no writes at the moment. Blobs are then passed on, and not stored.
    """

    def __init__(
        self,
        storage: StagingStorage,
        links: Links,
        *,
        guard: CollectionGuard,
        damage: DamageWatch,
        new_id: Callable[[], str],
        admission: Admission,
        is_read_only: Callable[[], bool] = lambda: False,
    ) -> None:
        self._storage = storage
        self._links = links
        self._guard = guard
        self._damage = damage
        self._new_id = new_id
        self._admission = admission
        self._is_read_only = is_read_only

    async def size(self, digest: Digest) -> int | None:
        """Return the size of a blob that the store has intact, for any repository; else None. One storage request.

        None for every blob while the store accepts no writes, because no link can be added then.
        """
        if self._is_read_only():
            return None
        stat = await find(self._storage, layout.blob_data(digest))
        return None if stat is None or await self._damage.is_damaged(digest, stat) else stat.size

    async def link(self, name: RepositoryName, digest: Digest) -> bool:
        """Link a blob of the store into a repository; return False if the store does not have it. Two requests."""
        ticket = await self._guard.ticket()
        if (size := await self.size(digest)) is None:
            return False
        link = layout.layer_link(name, digest)
        await self._links.write(link, digest)
        if await self._guard.confirm(ticket, [Need(link, digest)]):
            return False
        await self._guard.remember(name, digest, size)
        return True

    async def store(
        self,
        digest: Digest,
        size: int,
        pieces: AsyncIterator[bytes],
        *,
        stage: RepositoryName,
        names: AbstractSet[RepositoryName],
        verified: asyncio.Event,
    ) -> bool:
        """Stage all pieces, and, when they are verified, make the blob readable in all repositories in `names`.

        The data is stored before the links. If this raises or is cancelled, the staged bytes are discarded.

        Args:
            digest: the digest.
            size: the number of bytes.
            pieces: the whole content.
            stage: the repository in which the bytes are staged.
            names: the repositories that the upstream served the blob for; read when the blob is verified.
            verified: set when the content was found to match the digest; never set otherwise.

        Returns:
            False if the store accepts no writes at the moment, or has no room.

        Raises:
            StorageError: the store failed.
        """
        if self._is_read_only() or not await self._admission.make_room(size):
            return False
        upload_id = self._new_id()
        async with self._storage.open_writer(layout.upload_data(stage, upload_id), is_first=True) as writer:
            try:
                async for piece in pieces:
                    await writer.write(piece)
                await verified.wait()
                await self._commit(writer, sorted(names), digest, size)
            except BaseException:
                await writer.discard()
                raise
        await self._clear(layout.upload(stage, upload_id))
        return True

    async def _clear(self, session: str) -> None:
        try:
            await self._storage.delete_tree(session)
        except StorageError as error:
            # An empty folder, or an object that a purge of old uploads removes.
            _logger.warning("remains of a stored blob not removed: %s", error, extra={"key": session})

    async def _commit(self, writer: BlobWriter, names: Sequence[RepositoryName], digest: Digest, size: int) -> None:
        needs = [Need(layout.layer_link(name, digest), digest) for name in names]
        ticket = await self._guard.ticket()
        await writer.commit(layout.blob_data(digest), then=[link_object(need.link, digest) for need in needs])
        if await self._guard.confirm(ticket, needs):
            raise StorageUnavailableError(f"{digest} was removed while it was stored")
        await self._damage.prove(digest, size)
        for name in names:
            await self._guard.remember(name, digest, size)
