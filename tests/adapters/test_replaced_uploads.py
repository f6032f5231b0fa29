"""A token speaks of the bytes that it was given for: others that were staged in their place are never taken for them.

Two replicas each believe what they know of a session, and a client may send to both. Whoever may push into one
repository could otherwise store, under a digest that all repositories share, something else than its content.
"""

from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import DigestMismatchError, ObjectNotFoundError, RegistryError, UploadRangeError, UploadUnknownError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from tests.support.core_services import NOW, CoreServices, chunks, counting_ids
from tests.support.scs_server import FakeScsServer
from tests.support.scs_storage import scs_storage
from tests.support.streams import payload, read_stream

NAME = RepositoryName("a")
SIZES = {"held in memory": 100_000, "longer than that": 600_000, "in parts": 17 * 1024 * 1024}


@asynccontextmanager
async def memory(_path):
    storage = InMemoryBlobStorage(now=lambda: NOW)
    yield storage, storage


@asynccontextmanager
async def folder(path):
    async with FilesystemBlobStorage(str(path)) as one, FilesystemBlobStorage(str(path)) as other:
        yield one, other


@asynccontextmanager
async def scs(_path):
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(FakeScsServer())
        yield [await stack.enter_async_context(scs_storage(server)) for _ in range(2)]


@pytest.fixture(params=[memory, folder, scs], ids=lambda open_pair: open_pair.__name__)
async def replicas(request, tmp_path):
    new_id = counting_ids()
    async with request.param(tmp_path) as storages:
        yield [CoreServices(storage=storage, new_id=new_id) for storage in storages]


@pytest.fixture(params=list(SIZES.values()), ids=list(SIZES))
def contents(request):
    """What the token is given for, and what is staged in its place."""
    return payload(request.param, 1), payload(request.param, 2)


def pieces(content):
    return chunks(*(content[start : start + 250_000] for start in range(0, len(content), 250_000)))


async def require_unharmed(services, digest, state, pushed):
    """Nothing else is readable under the digest; what is, is its content."""
    with suppress(DigestMismatchError, UploadRangeError, UploadUnknownError, ObjectNotFoundError):
        await services.uploads.complete(state, digest, chunks())
    with suppress(ObjectNotFoundError):
        assert await read_stream(services.storage, layout.blob_data(digest)) == pushed


async def test_bytes_replaced_before_the_commit_are_not_stored(replicas, contents):
    """It has heard nothing of the session since, and need not look what is there."""
    first, second = replicas
    pushed, other = contents
    begun = await first.uploads.start(NAME)
    state = await second.uploads.append(begun, pieces(pushed))
    with suppress(UploadRangeError):
        await first.uploads.append(begun, pieces(other))
    await require_unharmed(second, Digest.of(pushed), state, pushed)


async def test_bytes_staged_after_a_cancellation_are_not_stored(replicas, contents):
    first, second = replicas
    pushed, other = contents
    begun = await first.uploads.start(NAME)
    state = await second.uploads.append(begun, pieces(pushed))
    await second.uploads.cancel(NAME, begun.upload_id)
    with suppress(UploadUnknownError):
        await first.uploads.append(begun, pieces(other))
    await require_unharmed(second, Digest.of(pushed), state, pushed)


async def test_bytes_of_an_older_request_are_not_stored(replicas, contents):
    """Both found nothing when they looked."""
    first, second = replicas
    pushed, other = contents
    begun = await first.uploads.start(NAME)
    states = []

    async def slow():
        yield other[:50_000]
        with suppress(UploadRangeError):
            states.append(await second.uploads.append(begun, pieces(pushed)))
        yield other[50_000:]

    with suppress(UploadRangeError, RegistryError):
        await first.uploads.append(begun, slow())
    for state in states:
        await require_unharmed(second, Digest.of(pushed), state, pushed)


async def test_unchanged_bytes_are_stored_without_reading_them(replicas, contents, monkeypatch):
    first, second = replicas
    pushed, _ = contents
    begun = await first.uploads.start(NAME)
    state = await first.uploads.append(begun, pieces(pushed))

    async def read(*_arguments):
        raise AssertionError("the blob is read again")

    monkeypatch.setattr(second.uploads, "_reread", read)
    blob = await second.uploads.complete(state, Digest.of(pushed), chunks())
    assert blob.size == len(pushed)
    assert await read_stream(second.storage, layout.blob_data(blob.digest)) == pushed
