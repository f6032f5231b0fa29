"""The operations of the registry record their changes: one object each, and none if no tag moves."""

from dataclasses import replace

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.model.events import Actor
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.store import layout, summary_keys
from core.store.manifest_cache import ManifestCache
from core.summaries import changes as changes_module
from core.summaries.changes import ChangeKind, ChangeLog, ChangeRecorder
from tests.support.content import image_manifest
from tests.support.core_services import NOW, CoreServices
from tests.support.counted_requests import CountedStorage

NAME = RepositoryName("team/app")
TAG = Tag("v1")
ALICE = Actor("alice")


@pytest.fixture
async def services():
    built = CoreServices(memory=ManifestCache())
    async with built.storage:
        await built.push_blob(NAME, b"{}")
        yield built


@pytest.fixture
def registry(services):
    return services.registry(InMemoryCatalogIndex())


async def recorded(services):
    log = ChangeLog(services.storage)
    found = [change for _, changes in await log.changes(await log.listing(), NAME) for change in changes]
    return [(change.kind, change.tag, change.by) for change in found]


async def test_a_push_by_tag_is_recorded(services, registry):
    await registry.push_manifest(NAME, image_manifest(), OCI_MANIFEST, by=ALICE, tags=[TAG])
    assert await recorded(services) == [(ChangeKind.PUSH, TAG, "alice")]


async def test_a_push_that_moves_no_tag_is_not_recorded(services, registry):
    await registry.push_manifest(NAME, image_manifest(), OCI_MANIFEST, by=ALICE)
    for _ in range(2):
        await registry.push_manifest(NAME, image_manifest(), OCI_MANIFEST, by=ALICE, tags=[TAG])
    assert await recorded(services) == [(ChangeKind.PUSH, TAG, "alice")]


async def test_a_repeated_push_is_recorded_once_if_the_first_one_may_not_be(services, registry):
    """A process that is killed after it moved the tag writes no record, and its client pushes again."""
    for tags in ([TAG], [TAG, Tag("v2")]):
        await registry.push_manifest(NAME, image_manifest(), OCI_MANIFEST, by=ALICE, tags=tags)
    await services.storage.delete_tree(summary_keys.CHANGES)
    another = services.registry(InMemoryCatalogIndex())
    for _ in range(2):
        await another.push_manifest(NAME, image_manifest(), OCI_MANIFEST, by=ALICE, tags=[TAG])
    assert await recorded(services) == [(ChangeKind.OTHER, TAG, "alice")]
    await registry.push_manifest(NAME, image_manifest(), OCI_MANIFEST, by=ALICE, tags=[TAG])
    assert len(await recorded(services)) == 1
    await registry.delete_manifest(NAME, TAG, by=ALICE)
    await services.manifests.put(NAME, image_manifest(), OCI_MANIFEST, tags=[TAG])
    await registry.push_manifest(NAME, image_manifest(), OCI_MANIFEST, by=ALICE, tags=[TAG])
    assert [kind for kind, _, _ in await recorded(services)] == [ChangeKind.OTHER, ChangeKind.DELETE, ChangeKind.OTHER]


async def test_the_number_of_recorded_tags_in_memory_is_bounded(services, registry, monkeypatch):
    monkeypatch.setattr(changes_module, "_RECORDED_MAX", 1)
    for tag in ("v1", "v2", "v2", "v1"):
        await registry.push_manifest(NAME, image_manifest(), OCI_MANIFEST, by=ALICE, tags=[Tag(tag)])
    assert [(kind, tag) for kind, tag, _ in await recorded(services)] == [
        (ChangeKind.PUSH, "v1"),
        (ChangeKind.PUSH, "v2"),
        (ChangeKind.OTHER, "v1"),
    ]


async def test_deletions_of_a_tag_and_of_a_repository_are_recorded(services, registry):
    await registry.push_manifest(NAME, image_manifest(), OCI_MANIFEST, by=ALICE, tags=[TAG, Tag("v2")])
    await registry.delete_manifest(NAME, TAG, by=ALICE)
    await registry.delete_repository(NAME, by=Actor("bob"))
    assert (await recorded(services))[2:] == [
        (ChangeKind.DELETE, TAG, "alice"),
        (ChangeKind.DELETE, Tag("v2"), "bob"),
    ]


async def test_an_eviction_is_recorded_and_the_catalog_follows(services, registry):
    await registry.push_manifest(NAME, image_manifest(), OCI_MANIFEST, by=ALICE)
    await services.storage.delete_tree(layout.repository(NAME))
    await registry.record_eviction(NAME)
    assert await recorded(services) == [(ChangeKind.OTHER, None, "eviction")]
    assert not (await registry.catalog.page(None, None)).items


@pytest.mark.parametrize("is_enabled", [True, False])
async def test_a_push_by_tag_costs_one_request_more(is_enabled):
    counts = []
    for enabled in (False, is_enabled):
        storage = CountedStorage(InMemoryBlobStorage(now=lambda: NOW))
        services = CoreServices(storage=storage)
        await services.push_blob(NAME, b"{}")
        changes = ChangeRecorder(storage, now=lambda: NOW, new_id=services.new_id, is_enabled=enabled)
        registry = replace(services.registry(InMemoryCatalogIndex()), changes=changes)
        storage.count()
        await registry.push_manifest(NAME, image_manifest(), OCI_MANIFEST, by=ALICE, tags=[TAG])
        counts.append(storage.count())
    assert counts[1] - counts[0] == int(is_enabled)
