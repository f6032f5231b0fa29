"""Damaged content in real storages: a pull that passes through this process finds it, and a push heals it."""

from contextlib import asynccontextmanager

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from core.errors import ContentDamagedError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from tests.support.core_services import CoreServices
from tests.support.scs_server import FakeScsServer
from tests.support.scs_storage import scs_storage
from tests.support.streams import payload

NAME = RepositoryName("a")


@asynccontextmanager
async def folder(path):
    async with FilesystemBlobStorage(str(path)) as storage:
        yield storage


@asynccontextmanager
async def scs(_path):
    async with FakeScsServer() as server, scs_storage(server) as storage:
        yield storage


@pytest.fixture(params=[folder, scs], ids=lambda open_storage: open_storage.__name__)
async def services(request, tmp_path):
    async with request.param(tmp_path) as storage:
        yield CoreServices(storage=storage)


@pytest.mark.parametrize("size", [100, 100_000, 3_000_000])
async def test_damage_is_found_and_healed(services, size):
    content = payload(size)
    digest = await services.push_blob(NAME, content)
    assert await services.read_blob(NAME, digest) == content
    other = CoreServices(storage=services.storage)
    for damaged in (content[:-1] + bytes([content[-1] ^ 1]), content[:-1], content + b"x"):
        await services.storage.write(layout.blob_data(digest), damaged)
        for each in (services, other):
            with pytest.raises(ContentDamagedError):
                await each.read_blob(NAME, digest)
            with pytest.raises(ContentDamagedError):
                await each.blobs.stat(NAME, digest)
        await services.push_blob(NAME, content)
        for each in (services, other):
            assert (await each.blobs.stat(NAME, digest)).size == size
            assert await each.read_blob(NAME, digest) == content
        assert layout.damage_record(digest) not in await services.keys()


async def test_damage_is_recorded_for_other_processes(services):
    content = payload(1000)
    digest = await services.push_blob(NAME, content)
    await services.storage.write(layout.blob_data(digest), content[::-1])
    other = CoreServices(storage=services.storage)
    assert (await other.blobs.stat(NAME, digest)).size == 1000
    with pytest.raises(ContentDamagedError):
        await services.read_blob(NAME, digest)
    await other.damage.poll()
    with pytest.raises(ContentDamagedError):
        await other.blobs.stat(NAME, digest)
    assert await other.blobs.redirect_url(NAME, Digest.of(content)) is None
