"""An upload that goes on after a power cut: staged bytes have their length and other content."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.blob_storage.filesystem.writer import read_boot_id
from adapters.hashing.resumable import hasher_factory
from core.errors import BlobUnknownError, DigestMismatchError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from tests.support.core_services import CoreServices, chunks, counting_ids
from tests.support.scs_server import FakeScsServer
from tests.support.scs_storage import scs_storage
from tests.support.streams import payload, read_stream

NAME = RepositoryName("a")
CONTENT = payload(600_000, 1)
DIGEST = Digest.of(CONTENT)
HALF = len(CONTENT) // 2


@asynccontextmanager
async def folder(path):
    async with (
        FilesystemBlobStorage(str(path), boot_id="before") as one,
        FilesystemBlobStorage(str(path), boot_id="after") as other,
    ):

        async def lose(key):
            file = path / key.lstrip("/")
            file.write_bytes(bytes(file.stat().st_size))

        yield one, other, lose


@asynccontextmanager
async def scs(_path):
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(FakeScsServer())
        one, other = [await stack.enter_async_context(scs_storage(server)) for _ in range(2)]

        async def lose(key):
            await other.write(key, bytes((await other.stat(key)).size))

        yield one, other, lose


@pytest.fixture(params=[folder, scs], ids=lambda open_pair: open_pair.__name__)
async def machine(request, tmp_path):
    """Services before the cut, services after it, and what turns staged bytes into zeros."""
    new_id = counting_ids()
    async with request.param(tmp_path) as (one, other, lose):
        # The hasher of the server: its state travels in the token.
        new_hasher = hasher_factory()
        before, after = (CoreServices(storage=each, new_id=new_id, new_hasher=new_hasher) for each in (one, other))
        yield before, after, lose


async def finish_without_bytes(uploads, state):
    return await uploads.complete(state, DIGEST, chunks())


async def append_and_finish(uploads, state):
    state = await uploads.append(state, chunks(CONTENT[state.offset :]))
    return await uploads.complete(state, DIGEST, chunks())


async def append_nothing_and_finish(uploads, state):
    state = await uploads.append(state, chunks())
    return await uploads.complete(state, DIGEST, chunks(CONTENT[state.offset :]))


async def finish_with_the_rest(uploads, state):
    return await uploads.complete(state, DIGEST, chunks(CONTENT[state.offset :]))


WAYS = [
    (finish_without_bytes, len(CONTENT)),
    (append_and_finish, HALF),
    (append_nothing_and_finish, HALF),
    (finish_with_the_rest, HALF),
]


@pytest.mark.parametrize(("way", "staged"), WAYS, ids=[way.__name__ for way, _ in WAYS])
async def test_lost_bytes_are_not_stored_under_their_digest(machine, way, staged):
    before, after, lose = machine
    begun = await before.uploads.start(NAME)
    state = await before.uploads.append(begun, chunks(CONTENT[:staged]))
    await lose(layout.upload_data(NAME, begun.upload_id))
    with pytest.raises(DigestMismatchError):
        await way(after.uploads, state)
    with pytest.raises(BlobUnknownError):
        await after.blobs.stat(NAME, DIGEST)


@pytest.mark.parametrize(("way", "staged"), WAYS, ids=[way.__name__ for way, _ in WAYS])
async def test_bytes_that_survived_are_stored(machine, way, staged):
    before, after, _ = machine
    begun = await before.uploads.start(NAME)
    state = await before.uploads.append(begun, chunks(CONTENT[:staged]))
    assert (await way(after.uploads, state)).size == len(CONTENT)
    assert await read_stream(after.storage, layout.blob_data(DIGEST)) == CONTENT


def test_boot_id_is_that_of_the_kernel(tmp_path):
    file = tmp_path / "boot_id"
    file.write_text("c0ffee\n", encoding="ascii")
    assert read_boot_id(str(file)) == "c0ffee"
    assert read_boot_id() == read_boot_id()


def test_unknown_boot_id_is_different_each_time(tmp_path):
    missing = str(tmp_path / "missing")
    assert read_boot_id(missing) != read_boot_id(missing)
    (tmp_path / "empty").touch()
    assert read_boot_id(str(tmp_path / "empty"))
