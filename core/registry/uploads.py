"""Upload sessions: blobs arrive in chunks, are verified, and only then become visible.

In storage a session consists of `startedat` and the staged `data` (see `core.store.layout`). Between requests the
client holds the session's state (`core.registry.upload_state`), so any replica can receive the next chunk.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar

from core.collection.guard import CollectionGuard, Need
from core.concurrency import await_thread
from core.content_source import Beside, ContentSource, Offload
from core.errors import (
    DigestMismatchError,
    ObjectBusyError,
    ObjectNotFoundError,
    StorageUnavailableError,
    UploadRangeError,
    UploadUnknownError,
)
from core.model.descriptor import Descriptor
from core.model.digest import CANONICAL, Digest, Hasher, HasherFactory
from core.model.events import UNNAMED, Actor, EventAction
from core.model.media_types import OCTET_STREAM
from core.model.names import RepositoryName
from core.ports.staging import BlobWriter, StagingStorage
from core.ports.untouched_sessions import UntouchedSessions
from core.registry.publisher import Publisher
from core.registry.upload_state import UploadState, is_upload_id
from core.store import layout
from core.store.damage import DamageWatch
from core.store.hashing import append, append_now_and_hash, digest_of
from core.store.links import link_object
from core.store.objects import find

_REMEMBERED_SESSIONS_MAX: Final = 10_000
"""Maximum number of unfinished and of finished sessions kept.

A dropped one costs another read of its bytes, or stays until the purge.
"""

T = TypeVar("T")


class UploadService:
    """Receives blobs, and publishes a push for each; one per process.

    Two concurrent sessions for the same blob both succeed. A push whose event cannot be recorded stands, but raises
    `StorageUnavailableError` (see `EventSink.emit`).
    """

    def __init__(
        self,
        storage: StagingStorage,
        *,
        guard: CollectionGuard,
        damage: DamageWatch,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        new_hasher: HasherFactory,
        offload: Offload,
        beside: Beside,
        publisher: Publisher,
        untouched: UntouchedSessions,
    ) -> None:
        self._storage = storage
        self._guard = guard
        self._damage = damage
        self._now = now
        self._new_id = new_id
        self._new_hasher = new_hasher
        self._offload = offload
        self._beside = beside
        self._publisher = publisher
        self._untouched = untouched
        self._appended: dict[str, UploadState] = {}
        """For clients that drop the query of `Location`, and with it the digest of the bytes up to now."""
        self._finished: dict[str, str] = {}

    async def start(
        self, name: RepositoryName, *, algorithm: str = CANONICAL, upload_id: str | None = None
    ) -> UploadState:
        """Start a session. One storage request.

        Args:
            name: the repository that will link the blob.
            algorithm: the algorithm of the digest to expect; another one at the end costs a second read of the blob.
            upload_id: the id of a session that later processes must find again; None for a new one.
        """
        upload_id = upload_id or self._new_id()
        started_at = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        # A power cut may lose a session that was just started. No data is lost: its client starts another session.
        await self._storage.write(layout.upload_started_at(name, upload_id), started_at.encode(), durable=False)
        self._untouched.add(upload_id)
        return UploadState(name=name, upload_id=upload_id, offset=0, started_at=started_at, algorithm=algorithm)

    async def status(self, name: RepositoryName, upload_id: str) -> UploadState:
        """Return the actual state of a session, also after a crash or an interrupted connection.

        Raises:
            UploadUnknownError: the session never existed, or is finished, cancelled or purged.
        """
        if not is_upload_id(upload_id) or upload_id in self._finished:
            raise _unknown(upload_id)
        try:
            started_at = await self._storage.read(layout.upload_started_at(name, upload_id), limit=64)
        except ObjectNotFoundError:
            raise _unknown(upload_id) from None
        size = await self._storage.staged_size(layout.upload_data(name, upload_id))
        state = UploadState(
            name=name, upload_id=upload_id, offset=size, started_at=started_at.decode("ascii", "replace")
        )
        appended = self._appended.get(upload_id)
        if appended is None or (appended.name, appended.offset) != (name, size):
            return state
        # The next request compares the stamp with that of the staged bytes, as for a state that a client held.
        return replace(
            state,
            algorithm=appended.algorithm,
            digest=appended.digest,
            hash_state=appended.hash_state,
            stamp=appended.stamp,
        )

    async def append(self, state: UploadState, chunks: AsyncIterable[bytes]) -> UploadState:
        """Append a chunk to the session and return the new state.

        If `chunks` raises (an interrupted connection), the bytes received up to then are kept, and `status` returns
        their number.

        Raises:
            UploadRangeError: the session's offset is not `state.offset`, or another request is writing to the session.
        """
        async with self._writer(state) as writer:
            hasher = self._hasher(state, writer)
            await self._absorb(writer, hasher, chunks)
            offset = writer.size
        appended = replace(
            state,
            offset=offset,
            digest=hasher.digest() if hasher else None,
            hash_state=hasher.export_state() if hasher else None,
            stamp=writer.stamp,
        )
        _remember(self._appended, state.upload_id, value=appended)
        return appended

    async def complete(
        self, state: UploadState, digest: Digest, chunks: AsyncIterable[bytes], *, by: Actor = UNNAMED
    ) -> Descriptor:
        """Append the last chunk, verify the digest, and make the blob readable in the repository.

        The data is stored before the link, and the link before the session is removed. Even if the process is killed,
        no unverified content is ever readable, and the client can send the blob again. The bytes replace those of an
        earlier push of the same blob. This repairs a damaged blob and shows garbage collection that the blob is in use.

        Raises:
            DigestMismatchError: the blob does not become visible; the session stays, so that the digest can be
                corrected.
            UploadRangeError: as for `append`.
        """
        async with self._writer(state) as writer:
            size = await self._verify(writer, state, digest, chunks)
            blob = await self._commit(writer, state.name, digest, size)
        self._appended.pop(state.upload_id, None)
        _remember(self._finished, state.upload_id, value=layout.upload(state.name, state.upload_id))
        return await self._published(state.name, blob, by)

    async def put(
        self, name: RepositoryName, digest: Digest, chunks: AsyncIterable[bytes], *, by: Actor = UNNAMED
    ) -> Descriptor:
        """Receive a whole blob in one request (end-4b), without a session that could be resumed.

        Raises:
            DigestMismatchError: the blob does not become visible, and its bytes are discarded.
        """
        upload_id = self._new_id()
        hasher = self._new_hasher(digest.algorithm, None)
        async with self._storage.open_writer(layout.upload_data(name, upload_id), is_first=True) as writer:
            try:
                await self._absorb(writer, hasher, chunks)
                _require(digest, hasher.digest())
                blob = await self._commit(writer, name, digest, writer.size)
            except BaseException:
                await writer.discard()
                raise
        _remember(self._finished, upload_id, value=layout.upload(name, upload_id))
        return await self._published(name, blob, by)

    async def cancel(self, name: RepositoryName, upload_id: str) -> None:
        """Cancel a session and remove its bytes.

        Raises:
            UploadUnknownError: the session does not exist.
        """
        await self.status(name, upload_id)
        self._untouched.take(upload_id)
        self._appended.pop(upload_id, None)
        await self._storage.delete_tree(layout.upload(name, upload_id))

    async def sweep(self) -> None:
        """Remove the stored objects of finished sessions; called about every second, and before the process ends.

        This work is not part of a push, and covers many sessions at once: an object store needs two requests for all
        sessions of one push. A session that remains after a kill, or returns after a power cut, is harmless, because it
        holds no bytes; it is purged by age.
        """
        finished = dict(self._finished)
        if finished:
            await self._storage.clear(*finished.values())
        for upload_id in finished:
            self._finished.pop(upload_id, None)

    async def _published(self, name: RepositoryName, blob: Descriptor, by: Actor) -> Descriptor:
        if self._publisher.wants(EventAction.PUSH):
            await self._publisher.publish_blob(EventAction.PUSH, name, blob, by)
        return blob

    async def _commit(self, writer: BlobWriter, name: RepositoryName, digest: Digest, size: int) -> Descriptor:
        link = layout.layer_link(name, digest)
        ticket = await self._guard.ticket()
        await writer.commit(layout.blob_data(digest), then=[link_object(link, digest)])
        if await self._guard.confirm(ticket, [Need(link, digest)]):
            raise StorageUnavailableError(f"{digest} was removed during the push; push it again")
        await self._damage.prove(digest, size)
        await self._guard.remember(name, digest, size)
        return Descriptor(media_type=OCTET_STREAM, digest=digest, size=size)

    @asynccontextmanager
    async def _writer(self, state: UploadState) -> AsyncIterator[BlobWriter]:
        upload_id = state.upload_id
        if not is_upload_id(upload_id) or upload_id in self._finished:
            raise _unknown(upload_id)
        key = layout.upload_data(state.name, upload_id)
        # An untouched session is empty, so its first chunk costs no check of the stage.
        is_untouched = self._untouched.take(upload_id) and state.offset == 0
        started_at = layout.upload_started_at(state.name, upload_id)
        try:
            async with self._storage.open_writer(
                key, resume=not is_untouched, is_first=is_untouched, witness=started_at
            ) as writer:
                if writer.size == 0 and not is_untouched:
                    await self._require_session(state, writer)
                if writer.size != state.offset:
                    raise UploadRangeError(writer.size)
                yield writer
        except ObjectBusyError as error:
            raise UploadRangeError(await self._storage.staged_size(key)) from error
        except ObjectNotFoundError:
            # Cancelled or purged during the request.
            raise _unknown(upload_id) from None

    async def _require_session(self, state: UploadState, writer: BlobWriter) -> None:
        # An empty stage may belong to a finished or cancelled session, whose token still has a valid signature.
        if not await find(self._storage, layout.upload_started_at(state.name, state.upload_id)):
            # Opening may have created a stage that no request will ever use.
            await writer.discard()
            raise _unknown(state.upload_id)

    def _hasher(self, state: UploadState, writer: BlobWriter) -> Hasher | None:
        """Return a hasher of all bytes up to now, or None if this would require reading them again."""
        if state.offset == 0:
            return self._new_hasher(state.algorithm, None)
        if state.hash_state is None or not _is_of(state, writer):
            return None
        try:
            return self._new_hasher(state.algorithm, state.hash_state)
        except ValueError:
            # The state was exported by a replica with another library.
            return None

    async def _verify(
        self, writer: BlobWriter, state: UploadState, digest: Digest, chunks: AsyncIterable[bytes]
    ) -> int:
        hasher, is_same = self._hasher(state, writer), _is_of(state, writer)
        await self._absorb(writer, hasher, chunks)
        size = writer.size
        known = state.digest if is_same and size == state.offset else None
        if hasher is not None and hasher.algorithm == digest.algorithm:
            actual = hasher.digest()
        elif known is not None and known.algorithm == digest.algorithm:
            actual = known
        else:
            hasher = self._new_hasher(digest.algorithm, None)
            actual = await digest_of(writer.content(), hasher, self._offload)
        _require(digest, actual)
        return size

    async def _absorb(self, writer: BlobWriter, hasher: Hasher | None, chunks: AsyncIterable[bytes]) -> None:
        append_now = writer.append_now

        async def read_in_threads() -> None:
            if append_now is not None and isinstance(chunks, ContentSource):
                async with aclosing(chunks.blocking_reads(writer.make_room)) as reads:
                    async for pieces in reads:
                        await await_thread(self._offload(append_now_and_hash, pieces, append_now, hasher, self._beside))

        # Large bodies are read in threads, if store and connection support it; those of unknown length later.
        await read_in_threads()
        async for chunk in chunks:
            await append(writer, hasher, chunk, self._offload)
            await read_in_threads()


def _is_of(state: UploadState, writer: BlobWriter) -> bool:
    """Whether a token describes the staged bytes; another replica may have staged other bytes since."""
    return writer.stamp == state.stamp


def _remember(sessions: dict[str, T], upload_id: str, *, value: T) -> None:
    sessions[upload_id] = value
    if len(sessions) > _REMEMBERED_SESSIONS_MAX:
        del sessions[next(iter(sessions))]


def _require(expected: Digest, actual: Digest) -> None:
    if actual != expected:
        raise DigestMismatchError(
            "provided digest did not match uploaded content", detail={"expected": expected, "actual": actual}
        )


def _unknown(upload_id: str) -> UploadUnknownError:
    return UploadUnknownError("blob upload unknown to registry", detail={"uuid": upload_id[:64]})
