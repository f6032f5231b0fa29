"""A copy is killed before each single change of the target, and the source changes before each single read.

The target is always sound: each listed tag can be pulled. The next copy completes a killed one, and a last pass over a
source at rest makes both trees equal.
"""

import pytest

from adapters.blob_storage import memory as memory_storage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.errors import StorageUnavailableError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import hashing, layout
from core.transfer import blobs
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.core_services import CoreServices
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.invariants import broken_invariants
from tests.support.transfers import CopyRun, memory, registry_tree

APP, OTHER = RepositoryName("team/app"), RepositoryName("team/other")
OCI = media_types.OCI_MANIFEST
LARGE = bytes(range(256)) * 12
OLD, NEW = image_manifest(b"{}", [b"old", LARGE]), image_manifest(b"{}", [b"new", LARGE])


@pytest.fixture(autouse=True)
def _small_checkpoints(monkeypatch):
    """Copy the large blob in three pieces with checkpoints; it is a thousandth of the size that this normally takes."""
    monkeypatch.setattr(blobs, "CHECKPOINT_BYTES", 1024)
    monkeypatch.setattr(blobs, "SMALL_BYTES_MAX", 1024)
    monkeypatch.setattr(hashing, "_INLINE_BYTES_MAX", 64)
    monkeypatch.setattr(memory_storage, "PIECE_BYTES", 1024)


async def push(services, name, manifest, layer, tag):
    for content in (b"{}", layer, LARGE):
        await services.push_blob(name, content)
    await services.manifests.put(name, manifest, OCI, tags=[tag])


async def filled():
    services = CoreServices(storage=memory())
    await push(services, APP, OLD, b"old", Tag("moving"))
    await push(services, APP, OLD, b"old", Tag("going"))
    await push(services, OTHER, OLD, b"old", Tag("v1"))
    return services


async def change(services):
    """Change the source: push an image, an index over it and a referrer, move a tag, delete others."""
    await push(services, APP, NEW, b"new", Tag("moving"))
    index = image_index([NEW])
    await services.manifests.put(APP, index, media_types.OCI_INDEX, tags=[Tag("multi")])
    signature = image_manifest(b"{}", subject=descriptor(NEW, OCI), artifactType="a/b")
    await services.manifests.put(APP, signature, OCI, digest=Digest.of(signature))
    await services.manifests.delete(APP, Tag("going"))
    await services.manifests.delete(OTHER, Digest.of(OLD))


async def links_of(storage):
    return {key: content for key, content in (await registry_tree(storage)).items() if layout.BLOBS not in key}


@pytest.mark.parametrize("at_once", [1, 4])
async def test_kill_before_any_change_leaves_a_sound_target(at_once):
    services = await filled()
    first = memory()
    await CopyRun(services.storage, first).once()
    await change(services)
    kills = 0
    while True:
        target = FaultyBlobStorage(memory(), splits_trees=True)
        run = CopyRun(services.storage, target)
        for key, content in (await registry_tree(first)).items():
            await target.inner.write(key, content)
        target.stop_after(kills)
        try:
            await run.once(follows_deletions=True, blobs_at_once=at_once)
        except StorageUnavailableError:
            ended = False
        else:
            ended = True
        target.heal()
        assert await broken_invariants(CoreServices(storage=target), APP, OTHER) == [], f"killed before {kills}"
        await run.once(follows_deletions=True)
        assert await links_of(target) == await links_of(services.storage)
        assert {key async for key, _ in target.walk(layout.TRANSFERS)} == set()
        if ended:
            break
        kills += 1
    assert kills > 20


class ChangingStorage(FaultyBlobStorage):
    """Lets something happen before one of its operations."""

    def __init__(self, inner, number, happen):
        super().__init__(inner)
        self._left = number
        self._happen = happen

    @property
    def has_happened(self):
        return self._left < 0

    async def _wait_and_count(self, operation, key):
        self._left -= 1
        if self._left == -1:
            await self._happen()
        await super()._wait_and_count(operation, key)


async def test_source_may_change_before_any_read():
    number = 0
    while True:
        services = await filled()
        source = ChangingStorage(services.storage, number, lambda services=services: change(services))
        run = CopyRun(source, memory())
        await run.once(follows_deletions=True)
        assert run.problems == [], f"changed before read {number}"
        target = CoreServices(storage=run.target)
        assert await broken_invariants(target, APP, OTHER) == [], f"changed before read {number}"
        if not source.has_happened:
            break
        await run.once(follows_deletions=True)
        assert await links_of(run.target) == await links_of(services.storage)
        number += 1
    assert number > 30


async def test_blob_whose_storage_fails_once_is_tried_again():
    services = await filled()
    source = FaultyBlobStorage(services.storage)
    await CopyRun(source, memory()).once()
    opening = next(number for number, each in enumerate(source.operations, 1) if each.startswith("open_reader"))
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    source = FaultyBlobStorage(services.storage)
    source.fail_at(opening)
    run = CopyRun(source, memory())
    await run.once(sleep=sleep)
    assert pauses == [1.0]
    assert await registry_tree(run.target) == await registry_tree(services.storage)


class KilledError(Exception):
    """The process ends here."""


class KillingIndex(InMemoryCatalogIndex):
    """Ends the process at its second change, which a copy makes when the first repository is whole."""

    changes = 0

    async def add(self, name):
        self._change()
        return await super().add(name)

    async def remove(self, name):
        self._change()
        await super().remove(name)

    def _change(self):
        self.changes += 1
        if self.changes == 2:
            raise KilledError


async def test_kill_before_the_catalog_has_a_repository_leaves_no_name_out():
    services = CoreServices(storage=memory())
    await push(services, APP, OLD, b"old", Tag("v1"))
    run = CopyRun(services.storage, memory(), index=KillingIndex())
    with pytest.raises(KilledError):
        await run.once()
    assert (await run.once()).changes == 0
    assert await run.names() == [APP]


async def test_kill_at_any_point_leaves_no_repository_out_of_the_catalog():
    services = await filled()
    kills = 0
    while True:
        target = FaultyBlobStorage(memory())
        run = CopyRun(services.storage, target)
        target.stop_after(kills)
        try:
            await run.once()
        except StorageUnavailableError:
            ended = False
        else:
            ended = True
        target.heal()
        await run.once()
        assert await run.names() == [APP, OTHER], f"killed before {kills}"
        if ended:
            break
        kills += 1
    assert kills > 10
