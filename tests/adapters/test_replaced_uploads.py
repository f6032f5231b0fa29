"""A token of an upload is valid only for the bytes that it was given for: replaced bytes never get its digest.

Two replicas each use their own record of a session, and a client may send to both. Without a check, a client with the
right to push into one repository could store other content under a digest that all repositories share.

Memory and folders show each replica the staged bytes, so they refuse the second request for an offset. An object store
does not: it accepts both, and completing the upload finds that the bytes are others.
"""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import DigestMismatchError, ObjectNotFoundError, UploadRangeError, UploadUnknownError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from tests.support.core_services import NOW, CoreServices, chunks, counting_ids
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.scs_server import FakeScsServer
from tests.support.scs_storage import scs_storage
from tests.support.streams import payload, read_stream

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

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


@asynccontextmanager
async def replicas_on(open_pair, path):
    new_id = counting_ids()
    async with open_pair(path) as storages:
        yield [CoreServices(storage=storage, new_id=new_id) for storage in storages]


@pytest.fixture(params=[memory, folder], ids=lambda open_pair: open_pair.__name__)
async def on_one_store(request, tmp_path):
    """Two replicas that see each other's staged bytes at once."""
    async with replicas_on(request.param, tmp_path) as replicas:
        yield replicas


@pytest.fixture
async def on_scs(tmp_path):
    async with replicas_on(scs, tmp_path) as replicas:
        yield replicas


@pytest.fixture(params=list(SIZES.values()), ids=list(SIZES))
def contents(request):
    """The content of the token, and the content that is staged in its place."""
    return payload(request.param, 1), payload(request.param, 2)


def pieces(content):
    return chunks(*(content[start : start + 250_000] for start in range(0, len(content), 250_000)))


async def require_stored(services, state, content):
    """Complete an upload, and require its content at its digest."""
    blob = await services.uploads.complete(state, Digest.of(content), chunks())
    assert await read_stream(services.storage, layout.blob_data(blob.digest)) == content


async def require_absent(services, content):
    with pytest.raises(ObjectNotFoundError):
        await services.storage.stat(layout.blob_data(Digest.of(content)))


async def require_refused(services, state, content):
    """Require that an upload cannot be completed, because other bytes are staged."""
    with pytest.raises(DigestMismatchError):
        await services.uploads.complete(state, Digest.of(content), chunks())
    await require_absent(services, content)


async def test_second_request_for_an_offset_is_refused(on_one_store, contents):
    first, second = on_one_store
    pushed, other = contents
    begun = await first.uploads.start(NAME)
    state = await second.uploads.append(begun, pieces(pushed))
    with pytest.raises(UploadRangeError):
        await first.uploads.append(begun, pieces(other))
    await require_stored(second, state, pushed)
    await require_absent(second, other)


async def test_second_request_for_an_offset_makes_the_token_of_the_first_invalid_on_scs(on_scs, contents):
    """The replica that began the session has not seen the first request, and does not read the staged bytes."""
    first, second = on_scs
    pushed, other = contents
    begun = await first.uploads.start(NAME)
    state = await second.uploads.append(begun, pieces(pushed))
    replaced = await first.uploads.append(begun, pieces(other))
    await require_refused(second, state, pushed)
    assert replaced.offset == len(other)


async def test_request_after_a_cancellation_is_refused(on_one_store, contents):
    first, second = on_one_store
    pushed, other = contents
    begun = await first.uploads.start(NAME)
    state = await second.uploads.append(begun, pieces(pushed))
    await second.uploads.cancel(NAME, begun.upload_id)
    with pytest.raises(UploadUnknownError):
        await first.uploads.append(begun, pieces(other))
    with pytest.raises(UploadUnknownError):
        await second.uploads.complete(state, Digest.of(pushed), chunks())
    for content in contents:
        await require_absent(second, content)


async def test_request_after_a_cancellation_makes_no_token_valid_on_scs(on_scs, contents):
    first, second = on_scs
    pushed, other = contents
    begun = await first.uploads.start(NAME)
    state = await second.uploads.append(begun, pieces(pushed))
    await second.uploads.cancel(NAME, begun.upload_id)
    await first.uploads.append(begun, pieces(other))
    await require_refused(second, state, pushed)


async def send_during_another_request(first, second, begun, contents):
    """Send the second content while the first request is under way; return the results of both."""
    pushed, other = contents
    results = {}

    async def attempt(name, services, content):
        try:
            results[name] = await services.uploads.append(begun, content)
        except UploadRangeError as error:
            results[name] = error

    async def slow():
        yield other[:50_000]
        await attempt("pushed", second, pieces(pushed))
        yield other[50_000:]

    await attempt("other", first, slow())
    return results["pushed"], results["other"]


async def test_one_of_two_requests_at_once_is_refused(on_one_store, contents):
    """Both found nothing staged when they began."""
    first, second = on_one_store
    begun = await first.uploads.start(NAME)
    results = await send_during_another_request(first, second, begun, contents)
    [(state, stored)] = [each for each in zip(results, contents, strict=True) if not isinstance(each[0], Exception)]
    await require_stored(second, state, stored)
    [refused] = [content for content in contents if content is not stored]
    await require_absent(second, refused)


async def test_older_request_makes_the_token_of_a_newer_one_invalid_on_scs(on_scs, contents):
    """Both found nothing staged when they began, and the older one ended last."""
    first, second = on_scs
    begun = await first.uploads.start(NAME)
    state, older = await send_during_another_request(first, second, begun, contents)
    await require_refused(second, state, contents[0])
    assert older.offset == len(contents[1])


@pytest.fixture(params=[memory, folder, scs], ids=lambda open_pair: open_pair.__name__)
async def replicas(request, tmp_path):
    async with replicas_on(request.param, tmp_path) as replicas:
        yield replicas


async def test_unchanged_bytes_are_stored_without_reading_them(replicas, contents):
    first, second = replicas
    pushed, _ = contents
    begun = await first.uploads.start(NAME)
    state = await first.uploads.append(begun, pieces(pushed))
    storage = FaultyBlobStorage(second.storage)
    blob = await CoreServices(storage=storage).uploads.complete(state, Digest.of(pushed), chunks())
    assert not [each for each in storage.operations if each.startswith(("content ", "open_reader "))]
    assert blob.size == len(pushed)
    assert await read_stream(second.storage, layout.blob_data(blob.digest)) == pushed
