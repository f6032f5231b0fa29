"""This registry as the target of a copy: content is stored through the services that accept pushes."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from core.concurrency import closing
from core.errors import (
    BlobUnknownError,
    DigestMismatchError,
    ManifestUnknownError,
    NameUnknownError,
    ReadOnlyError,
    StorageCorruptError,
    StorageUnavailableError,
    UploadUnknownError,
)
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.events import Actor
from core.model.names import Reference, RepositoryName, Tag
from core.ports.registry_target import NewManifest, ReadFrom, RegistryTarget
from core.registry.facade import Registry
from core.registry.upload_state import UploadState
from core.typing import override

_CHECKPOINT_BYTES: Final = 64 * 1024 * 1024
"""Bytes between two checkpoints of an upload. After a kill, a longer blob continues from its last checkpoint."""
_PAGE: Final = 1_000


class StoreTarget(RegistryTarget):
    """Writes to the services of this process: events, catalog, policies and garbage collection see normal pushes.

    A blob that any repository has is linked, not sent. A blob longer than a checkpoint is received in an upload session
    whose id follows from its digest, so that a later process continues it. Sessions that nobody continues are purged
    like those of clients.

    Args:
        registry: the services.
        by: the mirror or command, for events and the audit log.
        transfer_id: the name of the copy. Copies with the same name must not run at once.
        require_writable: raises `ReadOnlyError` while nothing may be written.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        by: Actor,
        transfer_id: str,
        require_writable: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = "this registry"
        self._require_writable = require_writable
        self._registry = registry
        self._by = by
        self._transfer_id = transfer_id

    @override
    async def stop(self) -> None:
        """Remove finished sessions, and add repositories to the catalog that could not be added before."""
        await self._registry.uploads.sweep()
        await self._registry.catalog.flush_pending()

    @override
    async def resolve(self, name: RepositoryName, reference: Reference) -> Digest | None:
        return found.digest if (found := await self.read_manifest(name, reference)) else None

    @override
    async def has_blob(self, name: RepositoryName, digest: Digest) -> bool:
        try:
            await self._registry.blobs.stat(name, digest)
        except (BlobUnknownError, StorageCorruptError):
            return False
        return True

    @override
    async def mount(self, name: RepositoryName, digest: Digest, *, source: RepositoryName | None) -> bool:
        await self._check_writable()
        return await self._registry.blobs.mount(name, digest, source=None, by=self._by) is not None

    @override
    async def put_blob(self, name: RepositoryName, blob: Descriptor, read_from: ReadFrom) -> None:
        await self._check_writable()
        if blob.size <= _CHECKPOINT_BYTES:
            async with closing(read_from(0)) as pieces:
                await self._registry.uploads.put(name, blob.digest, pieces, by=self._by)
            return
        state = await self._session(name, blob)
        try:
            await self._receive(state, blob, read_from)
        except DigestMismatchError:
            await self._registry.uploads.cancel(name, state.upload_id)
            if not state.offset:
                raise
            # The data that an earlier process received may be at fault.
            await self._receive(await self._session(name, blob), blob, read_from)

    @override
    async def put_manifest(self, name: RepositoryName, manifest: NewManifest, tags: Sequence[Tag] = ()) -> bool:
        await self._check_writable()
        await self._registry.push_manifest(
            name, manifest.content, manifest.media_type, by=self._by, digest=manifest.digest, tags=tags
        )
        return True

    @override
    async def read_manifest(self, name: RepositoryName, reference: Reference) -> NewManifest | None:
        try:
            found = await self._registry.manifests.describe(name, reference)
        except (ManifestUnknownError, StorageCorruptError):
            # A push repairs damaged content.
            return None
        return NewManifest(content=found.content, media_type=found.media_type, digest=found.digest)

    @override
    async def tags(self, name: RepositoryName) -> AsyncIterator[Tag]:
        last, has_more = "", True
        while has_more:
            try:
                page = await self._registry.tags.page(name, n=_PAGE, last=last)
            except NameUnknownError:
                return
            for tag in page.items:
                yield tag
            last, has_more = (page.items[-1] if page.items else ""), page.has_more

    @override
    async def delete_tag(self, name: RepositoryName, tag: Tag) -> None:
        await self._check_writable()
        try:
            await self._registry.delete_manifest(name, tag, by=self._by)
        except ManifestUnknownError:
            return

    async def _check_writable(self) -> None:
        if self._require_writable is None:
            return
        try:
            await self._require_writable()
        except ReadOnlyError as error:
            # Ends the whole copy, which continues later; other errors of this kind concern one image.
            raise StorageUnavailableError(f"the registry is read-only: {error}") from None

    async def _session(self, name: RepositoryName, blob: Descriptor) -> UploadState:
        uploads = self._registry.uploads
        # A finished session with this id may still wait for its removal.
        await uploads.sweep()
        upload_id = _upload_id(self._transfer_id, name, blob.digest)
        try:
            state = await uploads.status(name, upload_id)
        except UploadUnknownError:
            return await uploads.start(name, algorithm=blob.digest.algorithm, upload_id=upload_id)
        if state.offset <= blob.size:
            return state
        await uploads.cancel(name, upload_id)
        return await uploads.start(name, algorithm=blob.digest.algorithm, upload_id=upload_id)

    async def _receive(self, state: UploadState, blob: Descriptor, read_from: ReadFrom) -> None:
        async with closing(read_from(state.offset)) as pieces:
            while state.offset < blob.size:
                state = await self._registry.uploads.append(state, _some(pieces, _CHECKPOINT_BYTES))
            # All pieces were read, so this appends nothing.
            await self._registry.uploads.complete(state, blob.digest, pieces, by=self._by)


def _upload_id(transfer_id: str, name: RepositoryName, digest: Digest) -> str:
    """Return the id of the session for a blob: a UUID, the same in each process that runs this copy."""
    text = hashlib.sha256(f"{transfer_id}\n{name}\n{digest}".encode()).hexdigest()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))


async def _some(pieces: AsyncIterator[bytes], count: int) -> AsyncIterator[bytes]:
    """Yield the next pieces, until they have `count` bytes or more."""
    async for piece in pieces:
        yield piece
        count -= len(piece)
        if count <= 0:
            return
