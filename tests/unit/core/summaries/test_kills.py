"""A process is killed before each change that an operation makes to storage: the next lists are right.

Of the next process, and of another process that listed the tags before. Neither needs the record of the change.
"""

from contextlib import suppress

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.listing import ListingCatalogIndex
from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.errors import NameUnknownError, StorageUnavailableError
from core.model.digest import Digest
from core.model.events import Actor
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.store import summary_keys
from core.store.manifest_cache import ManifestCache
from core.summaries import search
from core.summaries.changes import ChangeLog
from core.summaries.folding import SummaryFolding
from core.summaries.query import parse_query
from core.summaries.search import Search
from core.summaries.views import WALK_SECONDS, WALKED_OBJECTS_MAX
from tests.support.content import image_manifest
from tests.support.core_services import NOW, CoreServices, counting_ids
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.invariants import tags_of

NAME = RepositoryName("team/app")
BY = Actor(name="alice")
OLD = image_manifest(b"{}", [b"old layer"])
NEW = image_manifest(b"{}", [b"new layer"])


async def push(services, image, *tags):
    for content in (b"{}", b"old layer", b"new layer"):
        await services.push_blob(NAME, content)
    registry = services.registry(InMemoryCatalogIndex())
    await registry.push_manifest(NAME, image, OCI_MANIFEST, by=BY, tags=[Tag(tag) for tag in tags])


async def push_another_image(services):
    await push(services, NEW, "new")


async def move_a_tag(services):
    await push(services, NEW, "v1")


async def push_again(services):
    await push(services, OLD, "v1")


async def delete_a_tag(services):
    await services.registry(InMemoryCatalogIndex()).delete_manifest(NAME, Tag("v1"), by=BY)


async def delete_an_image(services):
    await services.registry(InMemoryCatalogIndex()).delete_manifest(NAME, Digest.of(OLD), by=BY)


async def delete_the_repository(services):
    await services.registry(InMemoryCatalogIndex()).delete_repository(NAME, by=BY)


OPERATIONS = [push_another_image, move_a_tag, push_again, delete_a_tag, delete_an_image, delete_the_repository]


async def stored_tags(storage):
    """Return the targets of the tags without summaries: each tag is read."""
    services = CoreServices(storage=storage)
    return {tag: await services.tag_links.resolve(NAME, tag) for tag in await tags_of(services, NAME)}


async def listed_tags(summaries):
    try:
        view = await summaries.view(NAME)
    except NameUnknownError:
        return {}
    return {tag: state.digest for tag, state in view.tags.items()}


async def sizes(summaries):
    found = await summaries.describe(NAME, list((await listed_tags(summaries)).values()))
    return {digest: summary.size for digest, summary in found.items()}


def another_registry(storage, number, clock=lambda: 0.0):
    ids = counting_ids(first=1000 * number)
    services = CoreServices(storage=storage, new_id=ids, clock=clock, memory=ManifestCache())
    return services.registry(ListingCatalogIndex(storage))


def another_process(storage, number, clock=lambda: 0.0):
    return another_registry(storage, number, clock).summaries


async def run(operation, *, stop_after=None):
    """Return a store after an operation, a process that listed the tags before, and the number of changes."""
    inner = InMemoryBlobStorage(now=lambda: NOW)
    storage = FaultyBlobStorage(inner, splits_trees=True)
    services = CoreServices(storage=storage)
    await push(services, OLD, "v1", "v2")
    warm = another_process(inner, 1)
    assert await listed_tags(warm) == dict.fromkeys(("v1", "v2"), Digest.of(OLD))
    await sizes(warm)
    before = len(storage.mutations)
    if stop_after is None:
        await operation(services)
    else:
        storage.stop_after(stop_after)
        # The record of the change comes last, and its failure fails no operation.
        with suppress(StorageUnavailableError):
            await operation(services)
    return inner, warm, len(storage.mutations) - before


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
async def test_kill_at_any_point_leaves_right_lists(operation):
    _, _, total = await run(operation)
    for number in range(total):
        store, warm, done = await run(operation, stop_after=number)
        assert done == number
        expected = {tag: digest for tag, digest in (await stored_tags(store)).items() if digest is not None}
        cold = another_process(store, 2)
        for summaries in (warm, cold):
            assert await listed_tags(summaries) == expected, f"killed before change {number}"
        assert await sizes(warm) == await sizes(cold)


async def found(registry, text):
    names = registry.repository_lists.reader(sees=None)
    return [hit.tag for hit in (await Search(registry.summaries).page(parse_query(text), names=names)).hits]


async def test_push_that_is_repeated_after_a_kill_is_found_by_searches(monkeypatch):
    monkeypatch.setattr(search, "UNHINTED_MAX", 0)
    inner = InMemoryBlobStorage(now=lambda: NOW)
    storage = FaultyBlobStorage(inner)
    services = CoreServices(storage=storage)
    await push(services, OLD, "v1")
    log = ChangeLog(inner)
    registries = [another_registry(inner, number) for number in (1, 2)]
    folding = SummaryFolding(inner, log=log, summaries=registries[0].summaries, offload=services.offload)
    await folding.rebuild(NOW)
    await inner.delete_tree(summary_keys.CHANGES)
    assert await found(registries[1], "tag:killed") == []
    before = len(storage.mutations)
    await push(services, OLD, "counted")
    storage.stop_after(len(storage.mutations) - before - 1)
    await push(services, OLD, "killed")
    await inner.delete_tree(summary_keys.CHANGES)
    assert Tag("killed") in await listed_tags(registries[1].summaries)
    # The replica has the manifest in memory, so it finds out that the tag need not move.
    await registries[0].manifests.get(NAME, Digest.of(OLD))
    pushed = await registries[0].push_manifest(NAME, OLD, OCI_MANIFEST, by=BY, tags=[Tag("killed")])
    assert pushed.moved == []
    assert await found(registries[1], "tag:killed") == ["killed"]


async def test_lost_record_of_a_large_repository_is_noticed_within_a_minute():
    """A process reads all tags of a large repository once a minute, and else only those that a record names."""
    inner = InMemoryBlobStorage(now=lambda: NOW)
    storage = FaultyBlobStorage(inner)
    services = CoreServices(storage=storage)
    await push(services, OLD, "v1")
    for number in range(WALKED_OBJECTS_MAX // 2 + 1):
        await services.tag_links.point(NAME, Tag(f"t{number}"), Digest.of(OLD))
    seconds = [0.0]
    warm = another_process(inner, 1, clock=lambda: seconds[0])
    await listed_tags(warm)
    await push(services, NEW, "recorded")
    assert (await listed_tags(warm))[Tag("recorded")] == Digest.of(NEW)
    before = len(storage.mutations)
    await push(services, NEW, "counted")
    storage.stop_after(len(storage.mutations) - before - 1)
    await push(services, NEW, "unrecorded")
    assert "_summaries" not in storage.mutations[-1]
    seconds[0] += WALK_SECONDS
    assert (await listed_tags(warm))[Tag("unrecorded")] == Digest.of(NEW)
