"""Summaries of manifests: built within a budget, kept in bounded memory, stored for other processes."""

import asyncio
import json

import pytest

from core.errors import StorageUnavailableError
from core.model.digest import Digest
from core.model.media_types import DOCKER_SCHEMA1
from core.model.names import RepositoryName
from core.ports.blob_storage import SMALL_OBJECT_BYTES_MAX
from core.store import layout, summary_keys
from core.summaries import details
from core.summaries.stored import decode_summaries
from tests.support.content import image_index, image_manifest
from tests.support.counted_requests import CountedStorage
from tests.support.summaries import NAME, SummarizedStore

OTHER = RepositoryName("other")


@pytest.fixture
def service(store):
    return store.service()


@pytest.fixture
def stores_at_once(monkeypatch):
    monkeypatch.setattr(details, "_STORED_AFTER", 1)


def reads(store):
    """Return the number of reads since the last call."""
    count = len(store.storage.reads())
    store.storage.operations.clear()
    store.storage.count()
    return count


async def test_an_image_is_read_once(store, service):
    image = await store.put_image("web")
    found = await service.describe(NAME, [image, image])
    assert found[image].labels == {"l": "web"}
    store.storage.count()
    assert (await service.describe(NAME, [image]))[image] is found[image]
    assert store.storage.count() == 0


async def test_an_index_is_read_with_its_children_which_then_are_known(store, service):
    await store.put_blob(b"{}")
    images = [image_manifest(b"{}", [layer]) for layer in (b"one", b"two")]
    children = [await store.put(image) for image in images]
    index = await store.put_index(images)
    found = await service.describe(NAME, [index])
    assert found[index].is_complete
    assert set(children) <= set(found[index].contents)
    store.storage.count()
    assert set(await service.describe(NAME, children)) == set(children)
    assert store.storage.count() == 0


async def test_an_index_does_not_describe_images_of_other_repositories(store, service):
    hidden = image_manifest(b"{}", [b"secret"])
    await store.put(hidden, name=OTHER)
    index = await store.put_index([hidden])
    found = (await service.describe(NAME, [index]))[index]
    assert not found.is_complete
    assert set(found.contents) == {index}


async def test_manifests_within_each_other_are_read_to_a_limited_depth(store, service):
    content = image_manifest()
    for _ in range(6):
        await store.put(content)
        content = image_index([content], media_type="application/vnd.oci.image.index.v1+json")
    top = await store.put(content)
    found = await service.describe(NAME, [top])
    assert not found[top].is_complete
    assert len(found[top].contents) == 4


async def test_the_work_of_a_call_is_bounded_and_the_next_call_continues(store, service):
    images = [await store.put_image(str(number)) for number in range(10)]
    known = [len(await service.describe(NAME, images, built_max=4)) for _ in range(3)]
    assert known == [4, 8, 10]


async def test_the_budget_covers_the_children_of_an_index(store, service):
    await store.put_blob(b"{}")
    images = [image_manifest(b"{}", [b"%d" % number]) for number in range(10)]
    for image in images:
        await store.put(image)
    index = await store.put_index(images)
    calls = 0
    while not await service.describe(NAME, [index], built_max=4):
        calls += 1
    assert calls == 3
    assert (await service.describe(NAME, [index]))[index].is_complete


async def test_a_manifest_that_cannot_be_read_is_tried_again_after_a_minute(store, service):
    content = image_manifest()
    digest = Digest.of(content)
    assert await service.describe(NAME, [digest]) == {}
    await store.put(content)
    store.storage.count()
    assert await service.describe(NAME, [digest]) == {}
    assert store.storage.count() == 0
    store.time.pass_seconds(details.RETRY_SECONDS)
    assert set(await service.describe(NAME, [digest])) == {digest}


async def test_an_incomplete_index_is_tried_again_after_ten_minutes(store, service):
    await store.put_blob(b"{}")
    image = image_manifest()
    index = await store.put_index([image])
    assert not (await service.describe(NAME, [index]))[index].is_complete
    await store.put(image)
    store.time.pass_seconds(details.COMPLETION_SECONDS)
    assert (await service.describe(NAME, [index]))[index].is_complete


async def test_the_memory_of_tries_is_bounded(store, service, monkeypatch):
    monkeypatch.setattr(details, "_TRIED_MAX", 2)
    missing = [Digest.of(b"%d" % number) for number in range(3)]
    await service.describe(NAME, missing)
    reads(store)
    await service.describe(NAME, missing)
    assert reads(store) == 2


async def test_damaged_content_and_content_that_is_no_manifest_have_no_summary(store, service):
    damaged, text = await store.put_image(), await store.put(b"text")
    await store.storage.inner.write(layout.blob_data(damaged), b"damaged")
    large = await store.put(b" " * (4 * 1024 * 1024 + 1))
    assert await service.describe(NAME, [damaged, text, large]) == {}


async def test_schema_1_and_foreign_manifests_have_a_summary(store, service):
    layer = Digest.of(b"layer")
    await store.storage.inner.write(layout.blob_data(layer), b"layer")
    layers = [{"blobSum": layer}, {"blobSum": layer}, {"blobSum": Digest.of(b"gone")}]
    schema1 = json.dumps({"schemaVersion": 1, "fsLayers": layers}).encode()
    old = await store.put(schema1)
    foreign = await store.put(b'{"mediaType": "application/vnd.example.config+json"}')
    found = await service.describe(NAME, [old, foreign])
    assert (found[old].media_type, found[old].size) == (DOCKER_SCHEMA1, len(schema1) + len(b"layer"))
    assert found[foreign].media_type == "application/vnd.example.config+json"


async def test_an_artifact_has_no_config_to_read_and_a_large_config_is_not_read(store, service):
    artifact = json.loads(image_manifest(b"{}"))
    artifact["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"
    large = b" " * (1024 * 1024 + 1)
    await store.put_blob(large)
    digests = [await store.put(content) for content in (json.dumps(artifact).encode(), image_manifest(large))]
    found = await service.describe(NAME, digests)
    assert [(dict(found[digest].labels), found[digest].is_complete) for digest in digests] == [({}, True)] * 2


async def test_an_image_without_its_config_is_tried_again_after_ten_minutes(store, service):
    # The pull-through cache stores a manifest before its blobs.
    config = b'{"os": "linux", "architecture": "amd64"}'
    image = await store.put(image_manifest(config))
    await store.storage.inner.write(layout.layer_link(NAME, Digest.of(config)), Digest.of(config).encode())
    assert not (await service.describe(NAME, [image]))[image].is_complete
    await store.put_blob(config)
    store.time.pass_seconds(details.COMPLETION_SECONDS)
    [platform] = (await service.describe(NAME, [image]))[image].platforms
    assert platform.text == "linux/amd64"


async def test_an_image_does_not_describe_the_config_of_another_repository(store, service):
    secret = json.dumps({"config": {"Labels": {"secret": "yes"}}}).encode()
    await store.put_blob(secret, name=OTHER)
    image = await store.put(image_manifest(secret))
    assert (await service.describe(NAME, [image]))[image].labels == {}


async def test_large_manifests_are_processed_in_a_thread(store, service):
    image = await store.put_image("large", annotations={"a": "x" * 70_000})
    assert (await service.describe(NAME, [image]))[image].labels == {"l": "large"}


@pytest.mark.usefixtures("stores_at_once")
class TestStored:
    """Summaries that one process stored."""

    async def test_another_process_reads_one_object_for_all(self, store, service):
        images = [await store.put_image(str(number)) for number in range(20)]
        first = await service.describe(NAME, images)
        reads(store)
        assert await store.service().describe(NAME, images) == first
        assert reads(store) == 1

    async def test_they_are_read_later_if_the_store_fails(self, store, service):
        images = [await store.put_image(str(number)) for number in range(20)]
        await service.describe(NAME, images)
        other = store.service()
        store.storage.fail_at(1)
        with pytest.raises(StorageUnavailableError):
            await other.describe(NAME, images)
        reads(store)
        assert len(await other.describe(NAME, images)) == 20
        assert reads(store) == 1

    async def test_a_running_process_reads_what_another_process_built(self, store, service):
        await service.describe(NAME, [await store.put_image()])
        images = [await store.put_image(str(number)) for number in range(20)]
        await store.service().describe(NAME, images)
        store.time.pass_seconds(100)
        reads(store)
        assert len(await service.describe(NAME, images)) == 20
        assert reads(store) == 1

    async def test_what_was_incomplete_is_tried_again_later(self, store, service):
        await store.put_blob(b"{}")
        image = image_manifest()
        index = await store.put_index([image])
        await service.describe(NAME, [index])
        await store.put(image)
        other = store.service()
        assert not (await other.describe(NAME, [index]))[index].is_complete
        store.time.pass_seconds(details.COMPLETION_SECONDS)
        assert (await other.describe(NAME, [index]))[index].is_complete

    async def test_nothing_is_stored_while_the_registry_is_read_only(self, store, service):
        store.may_store = False
        await service.describe(NAME, [await store.put_image()])
        assert store.storage.mutations == []

    async def test_a_failing_store_does_not_fail_the_answer(self, store, service, caplog):
        image = await store.put_image()
        # Read: the stored summaries, the manifest, the link of the config, the config.
        store.storage.fail_at(5)
        assert set(await service.describe(NAME, [image])) == {image}
        assert "summaries not stored" in caplog.text

    @pytest.mark.parametrize("content", [b"", b"9\n", b"1\nx", b" " * (16 * 1024 * 1024 + 1)], ids=range(4))
    async def test_damaged_summaries_are_ignored_and_replaced(self, store, service, content, caplog):
        image = await store.put_image()
        await store.storage.inner.write(summary_keys.manifest_summaries(NAME), content)
        found = await service.describe(NAME, [image])
        assert "stored summaries ignored" in caplog.text
        assert decode_summaries(await store.storage.read(summary_keys.manifest_summaries(NAME))) == found


async def test_a_failing_store_fails_the_call_and_is_asked_again(store, service):
    image = await store.put_image()
    store.storage.fail_at(2)
    with pytest.raises(StorageUnavailableError):
        await service.describe(NAME, [image])
    assert set(await service.describe(NAME, [image])) == {image}


async def test_refreshing_stores_what_the_tags_need_and_nothing_else(store, service):
    image = image_manifest(b"{}", [b"layer"])
    child = await store.put(image)
    index = await store.put_index([image])
    subject = {"mediaType": "a/b", "digest": child, "size": len(image)}
    signature = await store.put(image_manifest(b"{}", [b"signature"], subject=subject))
    replaced = await store.put_image("replaced")
    await store.tag("v1", index)
    await service.describe(NAME, [signature, replaced])
    await service.refresh(NAME)
    stored = decode_summaries(await store.storage.read(summary_keys.manifest_summaries(NAME)))
    assert set(stored) == {index, child, signature}
    mutations = len(store.storage.mutations)
    await service.refresh(NAME)
    assert len(store.storage.mutations) == mutations, "nothing new is to be stored"


async def test_refreshing_stores_nothing_for_an_unknown_repository_or_in_read_only_mode(store, service):
    assert await service.refresh(NAME) is None
    await store.point("v1", await store.put_image())
    store.may_store = False
    assert (await service.refresh(NAME)).tags == 1
    assert store.storage.mutations == []


async def test_the_memory_of_all_repositories_is_bounded(store, service, monkeypatch):
    monkeypatch.setattr(details, "BYTES_MAX", 10_000)
    image, other = await store.put_image(), await store.put_image("x" * 5_000, name=OTHER)
    await service.describe(NAME, [image])
    await service.describe(OTHER, [other])
    reads(store)
    assert set(await service.describe(NAME, [image])) == {image}
    assert reads(store) > 0


async def test_summaries_that_do_not_fit_into_memory_are_unknown(store, service, monkeypatch):
    monkeypatch.setattr(details, "BYTES_MAX", 5_000)
    image, large = await store.put_image(), await store.put_image("x" * 5_000)
    assert set(await service.describe(NAME, [image, large])) == {image}


class HeldStorage(CountedStorage):
    """Holds back the read of one object until it is released."""

    def __init__(self, inner):
        super().__init__(inner)
        self.held, self.is_reached, self.released = "", asyncio.Event(), asyncio.Event()

    async def read(self, key, *, limit=SMALL_OBJECT_BYTES_MAX):
        if key == self.held:
            self.is_reached.set()
            await self.released.wait()
        return await super().read(key, limit=limit)


async def test_a_repository_that_leaves_the_memory_during_a_call_is_still_described(storage, time, monkeypatch):
    monkeypatch.setattr(details, "BYTES_MAX", 7_000)
    held = HeldStorage(storage)
    store = SummarizedStore(held, time)
    service = store.service()
    images = [await store.put_image(str(number)) for number in range(2)]
    other = await store.put_image("x" * 3_000, name=OTHER)
    held.held = layout.blob_data(images[1])
    call = asyncio.create_task(service.describe(NAME, images))
    await held.is_reached.wait()
    await service.describe(OTHER, [other])
    held.released.set()
    assert set(await call) == set(images)


async def test_the_summary_of_a_repository_counts_shared_content_once(store, service):
    one = await store.put(image_manifest(b"{}", [b"shared", b"1"]))
    two = await store.put(image_manifest(b"{}", [b"shared", b"2"]))
    await store.tag("v1", one)
    await store.tag("v2", two)
    await store.point("latest", two)
    found = await service.repository(NAME)
    manifests = len(image_manifest(b"{}", [b"shared", b"1"])) + len(image_manifest(b"{}", [b"shared", b"2"]))
    assert (found.tags, found.size) == (3, manifests + len(b"{}shared12"))
    assert found.pushed_at == store.time.now()
    assert found.is_complete
    assert await service.repository(NAME) is found


async def test_the_summary_of_a_repository_says_if_it_is_incomplete(store, service):
    for number in range(3):
        await store.point(f"v{number}", await store.put_image(str(number)))
    assert not (await service.repository(NAME, built_max=2)).is_complete
    assert (await service.repository(NAME)).is_complete


async def test_the_summary_of_a_repository_without_tags(store, service):
    await store.put_image()
    found = await service.repository(NAME)
    assert (found.tags, found.size, found.pushed_at, found.is_complete) == (0, 0, None, True)


async def test_the_number_of_remembered_repositories_is_bounded(store, service, monkeypatch):
    monkeypatch.setattr("core.summaries.service._TOTALS_MAX", 1)
    await store.put_image()
    await store.put_image(name=OTHER)
    first = await service.repository(NAME)
    await service.repository(OTHER)
    assert await service.repository(NAME) is not first
