"""Repairs of a verification.

A repair never changes sound data. It moves damaged data to the trash and records removed links there. After a removal,
the repairer checks the store again: if a concurrent push wrote the removed object, the object is restored.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from core.concurrency import closing
from core.errors import StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.links import Links, RemovedLink
from core.trash.entry import TrashKind
from core.trash.store import Trash
from core.verification.findings import Outcome
from core.verification.reading import StoreReader

REPAIRED_BY: Final = "registry verify"
"""The author of repairs, in the trash and in records."""
_COPIES_TRIED_MAX = 3

Announce = Callable[[Sequence[Digest]], Awaitable[None]]
"""Announces to all servers that these blobs are gone. May return before the servers have seen the announcement."""


async def _never() -> bool:
    return False


class Repairer:
    """Performs repairs, one at a time. One instance per verification."""

    def __init__(
        self, storage: BlobStorage, links: Links, reader: StoreReader, trash: Trash, *, announce: Announce
    ) -> None:
        self._storage = storage
        self._links = links
        self._reader = reader
        self._trash = trash
        self._announce = announce

    async def set_aside(self, digest: Digest) -> Outcome | None:
        """Quarantine damaged data so that the next push restores the blob, or replace it with a copy from the trash.

        The moved data is read once more. If a push replaced the data at that moment, the data is moved back and the
        result is None. While the data is being read, clients find that the blob does not exist, and push it again.
        """
        if not await self._move_away(digest):
            return None
        if await self.restore(digest):
            return Outcome.RESTORED
        await self._announce([digest])
        return Outcome.QUARANTINED

    async def restore(self, digest: Digest) -> bool:
        """Restore a sound copy of a blob from the quarantine or the trash. Return False if there is none."""
        if await self._quarantined(digest):
            return True
        key = layout.blob_data(digest)
        for _ in range(_COPIES_TRIED_MAX):
            if not await self._trash.holds_blob(digest) or not await self._trash.return_blob(digest):
                return False
            state = await self._reader.data(key, digest.algorithm)
            if state is not None and state.digest == digest:
                return True
            # The copy was damaged too, or a push has written the blob since.
            if not await self._move_away(digest):
                state = await self._reader.data(key, digest.algorithm)
                return state is not None and state.digest == digest
        return False

    async def rebuild_link(self, key: str, target: Digest) -> Outcome:
        """Write a link whose target was found sound."""
        await self._links.write(key, target)
        return Outcome.REBUILT

    async def remove_link(
        self, key: str, target: Digest | None, *, is_wanted: Callable[[], Awaitable[bool]] = _never
    ) -> Outcome | None:
        """Remove a link without a valid target. If `is_wanted` returns True afterwards, restore it and return None."""
        if target is not None:
            await self._record([RemovedLink(key, target)], f"link without a valid target: {key}")
        await self._storage.delete([key])
        if target is not None and await is_wanted():
            await self._links.write(key, target)
            return None
        return Outcome.REMOVED

    async def set_manifest_aside(
        self, name: RepositoryName, digest: Digest, *, is_whole: Callable[[], Awaitable[bool]]
    ) -> Outcome | None:
        """Unlink an incomplete manifest, since some clients only push manifests that do not exist.

        The tags stay, so one push restores all of them. Returns None if a push was faster.
        """
        link, record = layout.revision_link(name, digest), layout.incomplete_link(name, digest)
        await self._links.write(record, digest)
        await self._storage.delete([link])
        # A push checks the references of a manifest before it links the manifest.
        if await is_whole():
            await self.return_manifest(name, digest)
            return None
        return Outcome.NEEDS_PUSH

    async def return_manifest(self, name: RepositoryName, digest: Digest) -> Outcome:
        """Link a manifest again that was set aside."""
        await self._links.write(layout.revision_link(name, digest), digest)
        await self._links.delete(layout.incomplete_link(name, digest))
        return Outcome.REBUILT

    async def point_tag(self, name: RepositoryName, tag: Tag, digest: Digest) -> Outcome | None:
        """Point a tag without a target to a manifest. Return None if a push was faster."""
        key = layout.tag_current_link(name, tag)
        if not await self._storage.create(key, digest.encode("ascii")):
            if await self._links.read(key) is not None:
                return None
            await self._links.write(key, digest)
        return Outcome.REBUILT

    async def remove_tag(self, links: Sequence[RemovedLink], prefix: str) -> Outcome:
        """Record a tag and its history in the trash, then remove them."""
        await self._record(links, f"tag without a manifest: {prefix}")
        await self._storage.delete_tree(prefix)
        return Outcome.LOST

    async def remove_empty_tag(self, prefix: str) -> Outcome:
        """Remove the empty folder of a tag. A concurrent push is not affected."""
        await self._storage.prune([prefix], below=layout.REPOSITORIES)
        return Outcome.LOST

    async def _record(self, links: Sequence[RemovedLink], reason: str) -> None:
        if self._trash.is_on:
            await self._trash.record(
                self._trash.new_entry(TrashKind.QUARANTINE, by=REPAIRED_BY, reason=reason), links=links
            )

    async def _quarantined(self, digest: Digest) -> bool:
        """Move back a quarantined copy that is sound: a verification was killed before it read the copy again."""
        folder, _, name = layout.quarantined_copy(digest, "").rpartition("/")
        async with closing(self._storage.list_children(folder, after=name)) as copies:
            async for copy in copies:
                if not copy.startswith(name):
                    break
                state = await self._reader.data(f"{folder}/{copy}", digest.algorithm)
                if state is not None and state.digest == digest:
                    await self._storage.move(f"{folder}/{copy}", layout.blob_data(digest))
                    return True
        return False

    async def _move_away(self, digest: Digest) -> bool:
        """Move a blob's data to the quarantine. Return False if the data is gone or not proven damaged."""
        entry = self._trash.new_entry(
            TrashKind.QUARANTINE, by=REPAIRED_BY, reason=f"data does not match the digest {digest}"
        )
        await self._trash.record(entry, blobs=[digest])
        is_moved = await self._trash.quarantine_blob(digest, entry)
        if is_moved and await self._is_certainly_damaged(layout.quarantined_copy(digest, entry.id), digest):
            return True
        if is_moved:
            await self._storage.move(layout.quarantined_copy(digest, entry.id), layout.blob_data(digest))
        await self._trash.discard(entry.id)
        return False

    async def _is_certainly_damaged(self, key: str, digest: Digest) -> bool:
        """Whether an object was read to its end and is not the blob. A store that fails proves nothing."""
        try:
            state = await self._reader.data(key, digest.algorithm)
        except StorageUnavailableError:
            return False
        return state is not None and state.digest not in {None, digest}
