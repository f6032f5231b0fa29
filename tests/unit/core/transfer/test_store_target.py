"""This registry as the target of a copy: pushes, resumed uploads, damage, deletions and kills."""

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.errors import ContentDamagedError, DigestMismatchError, UpstreamUnavailableError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.events import Actor
from core.model.media_types import OCTET_STREAM
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.transfer import store_target
from core.transfer.store_target import StoreTarget
from tests.support.core_services import NOW, CoreServices, chunks
from tests.support.image_copies import NAME, CopyPasses
from tests.support.invariants import broken_invariants

LAYER = bytes(range(256)) * 4
OTHER = RepositoryName("other")


@pytest.fixture
def storage():
    return InMemoryBlobStorage(now=lambda: NOW)


@pytest.fixture
def services(storage):
    return CoreServices(storage=storage)


@pytest.fixture
def index():
    return InMemoryCatalogIndex()


@pytest.fixture
def target(services, index):
    return StoreTarget(services.registry(index), by=Actor("mirror"), transfer_id="m")


@pytest.fixture
def passes(target):
    return CopyPasses(target)


@pytest.fixture
def small_checkpoints(monkeypatch):
    monkeypatch.setattr(store_target, "_CHECKPOINT_BYTES", 256)


def blob(content=LAYER):
    return Descriptor(media_type=OCTET_STREAM, digest=Digest.of(content), size=len(content))


class Reading:
    """Yields a content in pieces of 100 bytes, up to a position where the connection breaks."""

    def __init__(self, content=LAYER, *, breaks_at=None):
        self.content = content
        self.breaks_at = breaks_at
        self.offsets = []

    async def __call__(self, offset):
        self.offsets.append(offset)
        while offset < len(self.content):
            if self.breaks_at is not None and offset >= self.breaks_at:
                raise UpstreamUnavailableError("the connection broke")
            yield self.content[offset : offset + 100]
            offset += 100


async def test_a_mirrored_image_is_stored_like_a_push(passes, target, services, index):
    # Arrange
    image = passes.add_image("v1")
    signature = passes.add_referrer(image)

    # Act
    async with target:
        problems = await passes.run()

    # Assert
    assert not problems
    assert await services.manifests.resolve(NAME, Tag("v1")) == image
    assert [each.digest for each in (await services.referrers.page(NAME, image)).items] == [signature]
    assert (await index.page(after="", limit=10)).items == (NAME,)
    assert not await broken_invariants(services, NAME)


async def test_an_unchanged_tag_writes_nothing(passes, storage):
    # Arrange
    passes.add_image("v1")
    await passes.run()
    before = {key: await storage.read(key) async for key, _ in storage.walk("/")}

    # Act
    await passes.run()

    # Assert
    assert {key: await storage.read(key) async for key, _ in storage.walk("/")} == before
    assert passes.upstream.asked == {"tags": 1, "resolve": 1}


async def test_a_blob_of_another_repository_is_linked(passes, services):
    # Arrange
    passes.add_image("v1")
    for content in (b"{}", b"layer"):
        await services.push_blob(OTHER, content)

    # Act
    await passes.run()

    # Assert
    assert "open_blob" not in passes.upstream.asked
    assert passes.progress.blobs_present == 2


async def test_a_deleted_tag_goes_to_the_trash(passes, services, storage):
    # Arrange
    passes.add_image("v1", "v2")
    await passes.run()
    passes.upstream.remove_tag("library/app", "v2")

    # Act
    await passes.run(follows_deletions=True)

    # Assert
    assert [tag async for tag in passes.target.tags(NAME)] == ["v1"]
    assert [entry.by async for entry in services.trash.entries()] == ["mirror"]


async def test_tags_are_listed_in_pages(target, passes, monkeypatch):
    # Arrange
    monkeypatch.setattr(store_target, "_PAGE", 1)
    passes.add_image("v1", "v2", "v3")
    await passes.run()

    # Act and assert
    assert [tag async for tag in target.tags(NAME)] == ["v1", "v2", "v3"]
    assert [tag async for tag in target.tags(OTHER)] == []
    await target.delete_tag(NAME, Tag("unknown"))


async def test_a_damaged_blob_is_sent_again(passes, target, storage, services):
    # Arrange
    passes.add_image("v1", layers=[b"layer"])
    await passes.run()
    key = layout.blob_data(Digest.of(b"layer"))
    await storage.write(key, b"cut")
    with pytest.raises(ContentDamagedError):
        await services.read_blob(NAME, Digest.of(b"layer"))
    await services.damage.poll()

    # Act
    await passes.run()

    # Assert
    assert await services.read_blob(NAME, Digest.of(b"layer")) == b"layer"
    assert await target.resolve(NAME, Tag("v1")) is not None


async def test_a_long_blob_continues_after_the_connection_broke(target, services, small_checkpoints):
    # Arrange
    first, second = Reading(breaks_at=700), Reading()

    # Act
    with pytest.raises(UpstreamUnavailableError):
        await target.put_blob(NAME, blob(), first)
    # Another process.
    await StoreTarget(services.registry(InMemoryCatalogIndex()), by=Actor("mirror"), transfer_id="m").put_blob(
        NAME, blob(), second
    )

    # Assert
    assert second.offsets == [700]
    assert await services.read_blob(NAME, blob().digest) == LAYER


async def test_a_long_blob_can_be_sent_twice_by_one_process(target, services, storage, small_checkpoints):
    # Arrange
    await target.put_blob(NAME, blob(), Reading())
    await storage.delete_tree(layout.ROOT)

    # Act
    await target.put_blob(NAME, blob(), Reading())

    # Assert
    assert await services.read_blob(NAME, blob().digest) == LAYER


async def test_staged_bytes_that_are_wrong_are_sent_again(target, services, small_checkpoints):
    # Arrange
    with pytest.raises(UpstreamUnavailableError):
        await target.put_blob(NAME, blob(), Reading(bytes(1024), breaks_at=700))
    reading = Reading()

    # Act
    await target.put_blob(NAME, blob(), reading)

    # Assert
    assert reading.offsets == [700, 0]
    assert await services.read_blob(NAME, blob().digest) == LAYER


async def test_wrong_bytes_are_refused_and_removed(target, storage, small_checkpoints):
    # Act
    with pytest.raises(DigestMismatchError):
        await target.put_blob(NAME, blob(), Reading(bytes(1024)))

    # Assert
    assert [key async for key, _ in storage.walk("/")] == []


async def test_too_many_staged_bytes_are_discarded(target, services, small_checkpoints):
    # Arrange
    with pytest.raises(UpstreamUnavailableError):
        await target.put_blob(NAME, blob(), Reading(breaks_at=700))
    upload_id = await session_id(services)
    state = await services.uploads.status(NAME, upload_id)
    await services.uploads.append(state, chunks(bytes(1024)))
    reading = Reading()

    # Act
    await target.put_blob(NAME, blob(), reading)

    # Assert
    assert reading.offsets == [0]
    assert await services.read_blob(NAME, blob().digest) == LAYER


async def session_id(services):
    async for key, _ in services.storage.walk("/"):
        if key.endswith("/startedat"):
            return key.split("/")[-2]
    raise AssertionError
