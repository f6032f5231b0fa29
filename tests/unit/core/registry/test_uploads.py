"""Upload sessions: pieces, resumption, verification, and what stays in storage at each point."""

import hashlib
from dataclasses import replace

import pytest
from typing_extensions import override

from adapters.hashing.resumable import hasher_factory
from core.content_source import ContentSource
from core.errors import DigestMismatchError, StorageUnavailableError, UploadRangeError, UploadUnknownError
from core.model.digest import Digest, StandardHasher
from core.model.names import RepositoryName
from core.ports.staging import BlobWriter
from core.registry import uploads
from core.store import layout
from tests.support.core_services import CoreServices, chunks
from tests.support.streams import payload

NAME = RepositoryName("a/b")


@pytest.fixture(params=["resumable", "standard"])
async def services(request):
    built = CoreServices(new_hasher=hasher_factory() if request.param == "resumable" else StandardHasher)
    async with built.storage:
        yield built


async def test_session_begins_with_the_file_of_distribution(services):
    state = await services.uploads.start(NAME)
    key = layout.upload_started_at(NAME, state.upload_id)
    assert await services.storage.read(key) == b"2026-11-24T03:47:56Z"
    assert await services.uploads.status(NAME, state.upload_id) == state


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("announced", ["sha256", "sha512"])
async def test_pieces_become_a_blob(services, algorithm, announced):
    content = payload(300_000)
    state = await services.uploads.start(NAME, algorithm=announced)
    state = await services.uploads.append(state, chunks(content[:10], content[10:200_000]))
    assert state.offset == 200_000
    state = await services.uploads.append(state, chunks(content[200_000:250_000]))
    digest = Digest.of(content, algorithm)
    blob = await services.uploads.complete(state, digest, chunks(content[250_000:]))
    assert (blob.digest, blob.size) == (digest, len(content))
    assert await services.read_blob(NAME, digest) == content
    await services.uploads.sweep()
    assert await services.keys() == {layout.blob_data(digest), layout.layer_link(NAME, digest)}


async def test_finished_session_is_gone_before_it_is_swept(services):
    state = await services.uploads.append(await services.uploads.start(NAME), chunks(b"123"))
    await services.uploads.complete(state, Digest.of(b"123"), chunks())
    with pytest.raises(UploadUnknownError):
        await services.uploads.status(NAME, state.upload_id)
    with pytest.raises(UploadUnknownError):
        await services.uploads.append(state, chunks(b"4"))


async def test_failed_sweep_is_repeated(services, monkeypatch):
    state = await services.uploads.start(NAME)
    await services.uploads.complete(state, Digest.of(b""), chunks())

    async def fail(_self, *_prefixes):
        raise StorageUnavailableError("down")

    with monkeypatch.context() as patched:
        patched.setattr(type(services.storage), "delete_tree", fail)
        with pytest.raises(StorageUnavailableError):
            await services.uploads.sweep()
    await services.uploads.sweep()
    assert await services.keys(layout.uploads(NAME)) == set()


async def test_unknown_sessions_are_read_from_storage(services, monkeypatch):
    """The memory of sessions is bounded; a session that was evicted works all the same."""
    monkeypatch.setattr(uploads, "_REMEMBERED_SESSIONS_MAX", 1)
    first, second = await services.uploads.start(NAME), await services.uploads.start(NAME)
    assert services.untouched.take(first.upload_id)
    for begun in (first, second):
        state = await services.uploads.append(begun, chunks(b"123"))
        await services.uploads.complete(state, Digest.of(b"123"), chunks())
    await services.uploads.sweep()
    assert len(await services.keys(layout.uploads(NAME))) == 1


@pytest.mark.parametrize("keeps_state", [True, False])
async def test_last_put_without_bytes_does_not_read_the_blob(services, monkeypatch, keeps_state):
    """Some clients keep only the path of `Location`; the process that received the bytes remembers their digest."""
    content = payload(100_000)
    state = await services.uploads.append(await services.uploads.start(NAME), chunks(content))
    assert state.digest == Digest.of(content)
    if not keeps_state:
        state = await services.uploads.status(NAME, state.upload_id)

    def fail(_self):
        pytest.fail("the blob was read again")

    async with services.storage.open_writer("/probe") as writer:
        kind = type(writer)
        await writer.discard()
    assert issubclass(kind, BlobWriter)
    monkeypatch.setattr(kind, "content", fail)
    await services.uploads.complete(state, Digest.of(content), chunks())
    assert await services.read_blob(NAME, Digest.of(content)) == content


async def test_remembered_digest_is_that_of_the_staged_bytes(services):
    """Another replica may have appended since, and sessions of two repositories may have one id."""
    state = await services.uploads.append(await services.uploads.start(NAME), chunks(b"123"))
    other = await services.uploads.start(RepositoryName("c/d"), upload_id=state.upload_id)
    assert (await services.uploads.status(other.name, other.upload_id)).digest is None
    async with services.storage.open_writer(layout.upload_data(NAME, state.upload_id), resume=True) as writer:
        await writer.write(b"456")
    resumed = await services.uploads.status(NAME, state.upload_id)
    assert (resumed.offset, resumed.digest) == (6, None)
    with pytest.raises(DigestMismatchError):
        await services.uploads.complete(resumed, Digest.of(b"123"), chunks())
    await services.uploads.complete(resumed, Digest.of(b"123456"), chunks())


async def test_state_carries_the_resumable_hash():
    services = CoreServices(new_hasher=hasher_factory())
    content = payload(50_000)
    state = await services.uploads.append(await services.uploads.start(NAME), chunks(content[:20_000]))
    assert state.hash_state is not None
    state = await services.uploads.append(state, chunks(content[20_000:]))
    assert state.digest == Digest.of(content)


async def test_foreign_hash_state_causes_a_new_hash(services):
    content = payload(50_000)
    state = await services.uploads.append(await services.uploads.start(NAME), chunks(content[:20_000]))
    state = replace(state, hash_state=b"of some other library", digest=None)
    state = await services.uploads.append(state, chunks(content[20_000:]))
    assert state.digest is None
    await services.uploads.complete(state, Digest.of(content), chunks())
    assert await services.read_blob(NAME, Digest.of(content)) == content


class DirectContent(ContentSource):
    """Yields all pieces in blocking reads, if they are asked for first."""

    def __init__(self, *pieces):
        self._pieces = list(pieces)
        self.received = 0

    @override
    async def __aiter__(self):
        while self._pieces:
            yield self._pieces.pop(0)

    @override
    async def blocking_reads(self, make_room):
        while self._pieces:
            assert await make_room(sum(map(len, self._pieces))) > 0
            yield iter([memoryview(self._pieces.pop(0))])
            self.received += 1


@pytest.mark.parametrize("hash_state", [None, b"of some other library"])
async def test_content_is_received_directly_where_its_hash_is_not_known(services, hash_state):
    """A session that another replica began, which has not read those bytes: they are read when it is completed."""
    content = payload(50_000)
    state = await services.uploads.append(await services.uploads.start(NAME), chunks(content[:10_000]))
    source = DirectContent(content[10_000:20_000], content[20_000:30_000], content[30_000:])
    state = await services.uploads.append(replace(state, hash_state=hash_state, digest=None), source)
    assert source.received == 3
    assert (state.offset, state.digest, state.hash_state) == (50_000, None, None)
    with pytest.raises(DigestMismatchError):
        await services.uploads.complete(state, Digest.of(content[10_000:]), chunks())
    await services.uploads.complete(state, Digest.of(content), chunks())
    assert await services.read_blob(NAME, Digest.of(content)) == content


async def test_content_is_hashed_while_it_is_received_directly(services):
    content = payload(50_000)
    source = DirectContent(content[:10], content[10:20_000], content[20_000:])
    state = await services.uploads.append(await services.uploads.start(NAME), source)
    assert source.received == 3
    assert (state.offset, state.digest) == (50_000, Digest.of(content))


async def test_empty_blob_is_a_blob(services):
    state = await services.uploads.start(NAME)
    await services.uploads.complete(state, Digest.of(b""), chunks())
    assert await services.read_blob(NAME, Digest.of(b"")) == b""


async def test_wrong_digest_is_refused_and_can_be_corrected(services):
    state = await services.uploads.append(await services.uploads.start(NAME), chunks(b"bytes"))
    with pytest.raises(DigestMismatchError):
        await services.uploads.complete(state, Digest.of(b"other"), chunks())
    assert layout.blob_data(Digest.of(b"other")) not in await services.keys()
    await services.uploads.complete(state, Digest.of(b"bytes"), chunks())
    assert await services.read_blob(NAME, Digest.of(b"bytes")) == b"bytes"


async def test_stale_state_is_refused_with_the_true_offset(services):
    begun = await services.uploads.start(NAME)
    await services.uploads.append(begun, chunks(b"12345"))
    with pytest.raises(UploadRangeError) as caught:
        await services.uploads.append(begun, chunks(b"12345"))
    assert caught.value.offset == 5


async def test_busy_session_is_refused_with_its_offset(services):
    state = await services.uploads.append(await services.uploads.start(NAME), chunks(b"123"))
    async with services.storage.open_writer(layout.upload_data(NAME, state.upload_id), resume=True):
        with pytest.raises(UploadRangeError) as caught:
            await services.uploads.append(state, chunks(b"4"))
    assert caught.value.offset == 3


async def test_cut_connection_keeps_what_arrived(services):
    class CutError(Exception):
        pass

    async def cut():
        yield payload(100_000)
        raise CutError

    state = await services.uploads.start(NAME)
    with pytest.raises(CutError):
        await services.uploads.append(state, cut())
    resumed = await services.uploads.status(NAME, state.upload_id)
    assert resumed.offset == 100_000
    await services.uploads.complete(resumed, Digest.of(payload(100_000) + b"rest"), chunks(b"rest"))


@pytest.mark.parametrize("upload_id", ["00000000-0000-4000-8000-00000000ffff", "x", "..", ""])
async def test_unknown_session_is_unknown(services, upload_id):
    state = replace(await services.uploads.start(NAME), upload_id=upload_id)
    for operation in (
        services.uploads.status(NAME, upload_id),
        services.uploads.cancel(NAME, upload_id),
        services.uploads.append(state, chunks(b"x")),
        services.uploads.complete(state, Digest.of(b"x"), chunks(b"x")),
    ):
        with pytest.raises(UploadUnknownError):
            await operation


async def test_session_cancelled_during_its_last_piece_is_gone(services):
    begun = await services.uploads.start(NAME)

    async def pieces():
        yield b"first"
        await services.uploads.cancel(NAME, begun.upload_id)

    with pytest.raises(UploadUnknownError):
        await services.uploads.complete(begun, Digest.of(b"first"), pieces())
    assert await services.keys() == set()


async def test_cancelled_session_is_gone(services):
    begun = await services.uploads.start(NAME)
    await services.uploads.append(begun, chunks(b"123"))
    await services.uploads.cancel(NAME, begun.upload_id)
    with pytest.raises(UploadUnknownError):
        await services.uploads.append(begun, chunks(b"123"))
    assert await services.keys() == set()


async def test_failed_put_leaves_nothing(services):
    with pytest.raises(DigestMismatchError):
        await services.uploads.put(NAME, Digest.of(b"a"), chunks(b"b"))
    assert await services.keys() == set()


async def test_same_blob_twice_succeeds_and_heals(services):
    digest = await services.push_blob(NAME, b"right")
    await services.storage.write(layout.blob_data(digest), b"wrong")
    await services.push_blob(NAME, b"right")
    assert await services.read_blob(NAME, digest) == b"right"


async def test_failing_hash_thread_does_not_lose_the_error(services, monkeypatch):
    """Both sides of a chunk, hashing and writing, are waited for."""

    async def fail(_self, _chunk):
        raise StorageUnavailableError("disk full")

    async with services.storage.open_writer("/probe") as writer:
        monkeypatch.setattr(type(writer), "write", fail)
        await writer.discard()
    with pytest.raises(StorageUnavailableError, match="disk full"):
        await services.uploads.append(await services.uploads.start(NAME), chunks(payload(100_000)))


async def test_hashing_agrees_with_hashlib(services):
    content = payload(70_000) + payload(10, seed=1)
    state = await services.uploads.append(
        await services.uploads.start(NAME), chunks(content[:70_000], content[70_000:])
    )
    assert state.digest == "sha256:" + hashlib.sha256(content).hexdigest()


async def test_sweep_without_finished_sessions_makes_no_request(services):
    await services.uploads.sweep()
    assert await services.keys() == set()
