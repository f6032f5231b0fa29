"""Blobs of a repository: only blobs that the repository links are visible."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import Final

from core.collection.guard import Need
from core.errors import BlobUnknownError, ContentDamagedError, DeniedError, ObjectNotFoundError, ObjectTooLargeError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.events import UNNAMED, Actor, EventAction
from core.model.media_types import OCTET_STREAM
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobReader
from core.registry.parts import BlobParts
from core.registry.shared_reads import ContentReader, SharedReads
from core.store import layout
from core.store.links import RemovedLink
from core.store.objects import find
from core.trash.entry import TrashKind
from core.typing import override

_Entered = tuple[BlobReader, AbstractAsyncContextManager[BlobReader]]
"""The reader of a blob, and the block to leave after its use."""

SHARED_BYTES_MAX: Final = 64 * 1024
"""Maximum size of a blob that callers read together, in memory. Configurations of images are smaller."""


class _OpenBlob(AbstractAsyncContextManager[BlobReader]):
    """Opens a blob on entry, and leaves its block on exit.

    A class, not nested generators: each of these takes a small pull 2 µs, a fiftieth of its processor time.

    Args:
        enter: opens the blob.
        finish: called at the end of a block that raised nothing, before the blob is closed.
    """

    def __init__(
        self,
        enter: Callable[[], Awaitable[_Entered]],
        finish: Callable[[BlobReader], Awaitable[None]] | None = None,
    ) -> None:
        self._enter = enter
        self._finish = finish

    @override
    async def __aenter__(self) -> BlobReader:
        self._reader, self._block = await self._enter()
        return self._reader

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._finish is not None:
            try:
                await self._finish(self._reader)
            except BaseException as failure:
                await self._block.__aexit__(type(failure), failure, failure.__traceback__)
                raise
        await self._block.__aexit__(kind, error, trace)


class BlobService:
    """Reads, mounts and unlinks blobs; one per process.

    The methods for reading take the actor in `pulled_by` if a client receives the blob. They then publish a pull. The
    others raise `StorageUnavailableError` if their event cannot be recorded; the change stands (see `EventSink.emit`).

    Args:
        parts: the parts of the service.
    """

    def __init__(self, parts: BlobParts) -> None:
        self._storage = parts.storage
        self._links = parts.links
        self._cache = parts.cache
        self._guard = parts.guard
        self._trash = parts.trash
        self._damage = parts.damage
        self._immutable_images = parts.immutable_images
        self._publisher = parts.publisher
        self._redirector = parts.redirector
        self._small = SharedReads(self._read_small) if parts.shares_reads else None

    async def stat(self, name: RepositoryName, digest: Digest, *, pulled_by: Actor | None = None) -> Descriptor:
        """Return the descriptor of a blob. Two storage requests, or none if the blob was recently verified.

        Both link and data are checked, since either can exist without the other.

        Raises:
            BlobUnknownError: the repository does not link the blob, or its data is gone.
            ContentDamagedError: the data is known to be damaged.
        """
        await self._guard.rely_on(digest, name)
        size = None if self._damage.is_suspected(digest) else await self._guard.recall(name, digest)
        if size is None:
            target = await self._linked(name, digest)
            stat = await find(self._storage, layout.blob_data(target))
            if stat is None:
                raise BlobUnknownError("blob unknown to registry", detail=digest)
            if await self._damage.is_damaged(target, stat):
                raise ContentDamagedError(digest)
            size = stat.size
            if target == digest:
                await self._guard.remember(name, digest, size)
        blob = _described(digest, size)
        await self._publish_pull(name, blob, pulled_by)
        return blob

    def open(
        self,
        name: RepositoryName,
        digest: Digest,
        *,
        offset: int = 0,
        length: int | None = None,
        pulled_by: Actor | None = None,
    ) -> AbstractAsyncContextManager[BlobReader]:
        """Open a blob for reading `length` bytes at most, starting at `offset`. Two storage requests.

        A blob of which the size is cached costs one. Callers that open the same small blob at the same time share it.
        A pull is published at the end of the block, unless the block raises.

        All errors are raised on entering the block, except that damage may be detected just before the last chunk.

        Raises:
            BlobUnknownError: the repository does not link the blob, or its data is gone.
            RangeInvalidError: `offset` is beyond the end.
            ContentDamagedError: the data is damaged.
        """
        return _OpenBlob(
            partial(self._find, name, digest, offset, length),
            lambda reader: self._publish_pull(name, _described(digest, reader.size), pulled_by),
        )

    async def open_parts(
        self,
        name: RepositoryName,
        digest: Digest,
        parts: Sequence[tuple[int, int]],
        *,
        pulled_by: Actor | None = None,
    ) -> AsyncGenerator[BlobReader, None]:
        """Yield a reader for each part (offset, length), open until the next one. One request per part plus one.

        A pull is published after the last part.

        Raises:
            BlobUnknownError: the repository does not link the blob, or its data is gone.
            RangeInvalidError: an offset is beyond the end.
            ContentDamagedError: the data is known to be damaged.
        """
        self._guard.touch(digest, name)
        target, size = await self._target(name, digest)
        total = 0
        for offset, length in parts:
            async with _OpenBlob(
                partial(self._opened, name, digest, target, size, offset=offset, length=length)
            ) as reader:
                yield reader
                total = reader.size
        await self._publish_pull(name, _described(digest, total), pulled_by)

    @property
    def has_redirector(self) -> bool:
        """Whether the URLs of pulls may depend on the client."""
        return self._redirector is not None

    async def redirect_url(self, name: RepositoryName, digest: Digest, *, pulled_by: Actor | None = None) -> str | None:
        """Return a URL at which `pulled_by` may `GET` the blob, or None if neither redirector nor store has one.

        Also None for a blob that is suspected of damage; `open` then checks it. Two storage requests, or none if the
        blob was recently verified, or if there is no redirector and the store has no URLs.

        Raises:
            BlobUnknownError: the repository does not link the blob, or its data is gone.
        """
        url = None
        if self._redirector is None:
            # Ask before reading the link: a folder has no URLs, and every pull from it would read the link twice.
            url = await self._storage.redirect_url(layout.blob_data(digest), method="GET")
            if url is None:
                return None
        target, size = await self._target(name, digest)
        if self._damage.is_suspected(target):
            return None
        if self._redirector is not None:
            url = await self._redirector.url(layout.blob_data(target), by=pulled_by or UNNAMED)
        elif target != digest:
            url = await self._storage.redirect_url(layout.blob_data(target), method="GET")
        if url is None:
            return None
        size = await self._found_size(name, digest, target) if size is None else size
        await self._publish_pull(name, _described(digest, size), pulled_by)
        return url

    async def mount(
        self, name: RepositoryName, digest: Digest, *, source: RepositoryName | None, by: Actor = UNNAMED
    ) -> Descriptor | None:
        """Link a blob that `source` links, or, if `source` is None, any blob in the store.

        Idempotent. Returns the descriptor of the blob, which the client then need not send (end-11), or None if the
        mount failed.
        """
        ticket = await self._guard.ticket()
        target = digest if source is None else await self._links.read(layout.layer_link(source, digest))
        if target is None:
            return None
        stat = await find(self._storage, layout.blob_data(target))
        if stat is None or await self._damage.is_damaged(target, stat):
            return None
        link = layout.layer_link(name, digest)
        await self._links.write(link, target)
        if await self._guard.confirm(ticket, [Need(link, digest), Need(link, target)]):
            return None
        if target == digest:
            await self._guard.remember(name, digest, stat.size)
        blob = _described(digest, stat.size)
        if self._publisher.wants(EventAction.MOUNT):
            await self._publisher.publish_blob(EventAction.MOUNT, name, blob, by, source=source)
        return blob

    async def unlink(self, name: RepositoryName, digest: Digest, *, by: Actor = UNNAMED) -> None:
        """Remove the repository's link; the data stays for other repositories and for garbage collection.

        The removal is first recorded in the trash with the name of `by`, which costs one more storage request.

        Raises:
            BlobUnknownError: the repository does not link the blob.
            DeniedError: an immutable tag requires the blob.
        """
        await self._cache.forget(name, digest)
        target = await self._linked(name, digest)
        await self._immutable_images.require_unneeded(name, digest)
        link = RemovedLink(layout.layer_link(name, digest), target)
        entry = self._trash.new_entry(TrashKind.BLOB_LINK, repository=name, by=by.name)
        await self._trash.record(entry, links=[link], keys=[link.key])
        try:
            # Check again: an immutable tag may have been pushed in between.
            await self._immutable_images.require_unneeded(name, digest)
        except DeniedError:
            await self._links.write(link.key, target)
            raise
        # Again, for a request that cached the blob while the link still existed.
        await self._cache.forget(name, digest)
        await self._publisher.publish_deletes(name, by, digest=digest)

    async def _find(self, name: RepositoryName, digest: Digest, offset: int, length: int | None) -> _Entered:
        self._guard.touch(digest, name)
        target, size = await self._target(name, digest)
        is_whole = offset == 0 and length is None
        content = await self._read_together(name, digest, size) if size is not None and is_whole else None
        if content is not None:
            reader = ContentReader(content)
            return reader, nullcontext(reader)
        return await self._opened(name, digest, target, size, offset=offset, length=length)

    async def _opened(
        self, name: RepositoryName, digest: Digest, target: Digest, size: int | None, *, offset: int, length: int | None
    ) -> _Entered:
        block = self._storage.open_reader(layout.blob_data(target), offset=offset, length=length)
        try:
            opened = await block.__aenter__()
            try:
                reader = await self._damage.checked(opened, target, size=size)
                if size is None and target == digest:
                    # Link and data were just read.
                    await self._guard.remember(name, digest, reader.size)
            except BaseException as error:
                await block.__aexit__(type(error), error, error.__traceback__)
                raise
        except ObjectNotFoundError:
            await self._cache.forget(name, digest)
            raise BlobUnknownError("blob unknown to registry", detail=digest) from None
        return reader, block

    async def _publish_pull(self, name: RepositoryName, blob: Descriptor, pulled_by: Actor | None) -> None:
        if pulled_by is not None and self._publisher.wants(EventAction.PULL):
            await self._publisher.publish_blob(EventAction.PULL, name, blob, pulled_by)

    async def _found_size(self, name: RepositoryName, digest: Digest, target: Digest) -> int:
        """Return the size of the data of a linked blob, read from storage. One storage request."""
        stat = await find(self._storage, layout.blob_data(target))
        if stat is None:
            raise BlobUnknownError("blob unknown to registry", detail=digest)
        if target == digest:
            await self._guard.remember(name, digest, stat.size)
        return stat.size

    async def _read_together(self, name: RepositoryName, digest: Digest, size: int) -> bytes | None:
        """Return a blob whose size is cached; None if it is not read in memory."""
        if self._small is None or size > SHARED_BYTES_MAX:
            return None
        return await self._small.get((name, digest, size))

    async def _read_small(self, wanted: tuple[RepositoryName, Digest, int]) -> bytes | None:
        name, digest, size = wanted
        try:
            content = await self._storage.read(layout.blob_data(digest), limit=SHARED_BYTES_MAX)
        except ObjectNotFoundError:
            await self._cache.forget(name, digest)
            raise BlobUnknownError("blob unknown to registry", detail=digest) from None
        except ObjectTooLargeError:
            return None
        reader = await self._damage.checked(ContentReader(content), digest, size=size)
        # An entry of another process may be wrong.
        return bytes(await reader.read()) if reader.size == size else None

    async def _target(self, name: RepositoryName, digest: Digest) -> tuple[Digest, int | None]:
        """Return the digest to read, and the size if it is cached.

        The cache may be outdated. This is harmless, because a removed blob has no data to read.
        """
        if (size := await self._cache.get(name, digest)) is not None:
            return digest, size
        return await self._linked(name, digest), None

    async def _linked(self, name: RepositoryName, digest: Digest) -> Digest:
        """Return the target of a link, read from storage.

        No cache is used: a client that learns that a blob exists does not send it, so the answer must be current.
        """
        # Distribution stores a blob pushed by sha512 under its sha256, and links the sha512 digest to the sha256 one.
        target = await self._links.read(layout.layer_link(name, digest))
        if target is None:
            raise BlobUnknownError("blob unknown to registry", detail=digest)
        return target


def _described(digest: Digest, size: int) -> Descriptor:
    return Descriptor(media_type=OCTET_STREAM, digest=digest, size=size)
