"""Pulls by tag that remember targets: the requests, and what another replica or program may change meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import ManifestUnknownError, StorageUnavailableError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import SMALL_OBJECT_BYTES_MAX, ObjectStat
from core.registry.manifests import ManifestService
from core.registry.target_memory import TRUST_SECONDS, TargetMemory
from core.store import layout
from core.store.manifest_cache import ManifestCache
from tests.support.content import image_manifest
from tests.support.core_services import NOW, CoreServices
from tests.support.counted_requests import CountedStorage

NAME = RepositoryName("a/b")
LATEST = Tag("latest")
CURRENT = layout.tag_current_link(NAME, LATEST)
OTHER = image_manifest(b"{}", [b"other"])


class WatchedStorage(CountedStorage):
    """Counts requests; records how many run at once, and calls a function while one runs."""

    before: dict[str, Callable[[], Awaitable[object]]]
    """Functions by key: the next request for the key calls its function before it looks at the object."""

    def __init__(self) -> None:
        super().__init__(InMemoryBlobStorage(now=lambda: NOW))
        self.before = {}
        self.running = 0
        self.most_running = 0

    @override
    async def read(self, key: str, *, limit: int = SMALL_OBJECT_BYTES_MAX) -> bytes:
        await self._begin(key)
        return await super().read(key, limit=limit)

    @override
    async def stat(self, key: str) -> ObjectStat:
        await self._begin(key)
        return await super().stat(key)

    async def _begin(self, key: str) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.running -= 1
        if (act := self.before.pop(key, None)) is not None:
            await act()


class Replicas:
    """A process that pulls, and another one on the same store that pushes and deletes."""

    def __init__(self) -> None:
        self.storage = WatchedStorage()
        pulling = CoreServices(storage=self.storage, memory=ManifestCache())
        self.seconds = 0.0
        self.targets = TargetMemory(lambda: self.seconds, entries_max=2)
        self.pulling = ManifestService(replace(pulling.manifest_parts, targets=self.targets))
        self.other = CoreServices(storage=self.storage.inner)

    async def push(self, content: bytes) -> Digest:
        return (await self.other.manifests.put(NAME, content, media_types.OCI_MANIFEST, tags=[LATEST])).digest

    async def pull(self) -> Digest:
        """Pull by tag, counting from zero."""
        self.storage.count()
        self.storage.most_running = 0
        return (await self.pulling.get(NAME, LATEST)).digest


@pytest.fixture
async def replicas() -> Replicas:
    replicas = Replicas()
    for blob in (b"{}", b"other"):
        await replicas.other.push_blob(NAME, blob)
    await replicas.push(image_manifest(b"{}"))
    await replicas.pull()
    return replicas


async def test_known_tag_costs_one_request(replicas: Replicas) -> None:
    digest = Digest.of(image_manifest(b"{}"))
    for _ in range(3):
        assert await replicas.pull() == digest
        assert replicas.storage.count() == 1


async def test_both_links_are_read_at_once_when_trust_has_ended(replicas: Replicas) -> None:
    digest = Digest.of(image_manifest(b"{}"))
    for _ in range(3):
        replicas.seconds += TRUST_SECONDS
        assert await replicas.pull() == digest
        assert (replicas.storage.count(), replicas.storage.most_running) == (2, 2)
        assert await replicas.pull() == digest
        assert replicas.storage.count() == 1


async def test_trust_does_not_grow_with_pulls(replicas: Replicas) -> None:
    """Pulls at half of the time would otherwise hide for ever that another program removed the link."""
    await replicas.storage.inner.delete([layout.revision_link(NAME, Digest.of(image_manifest(b"{}")))])
    replicas.seconds += TRUST_SECONDS / 2
    await replicas.pull()
    replicas.seconds += TRUST_SECONDS / 2
    with pytest.raises(ManifestUnknownError):
        await replicas.pull()


async def test_links_are_read_one_after_the_other_in_a_folder(replicas: Replicas) -> None:
    pulling = CoreServices(storage=replicas.storage, memory=ManifestCache()).manifests
    await pulling.get(NAME, LATEST)
    replicas.storage.count()
    replicas.storage.most_running = 0
    await pulling.get(NAME, LATEST)
    assert (replicas.storage.count(), replicas.storage.most_running) == (2, 1)


async def test_tag_moved_by_another_replica_counts_at_once(replicas: Replicas) -> None:
    moved = await replicas.push(OTHER)
    assert await replicas.pull() == moved
    # The link of the tag, then the revision and the content of the new manifest.
    assert replicas.storage.count() == 3
    assert await replicas.pull() == moved
    assert replicas.storage.count() == 1


async def test_deletion_by_another_replica_counts_at_once(replicas: Replicas) -> None:
    for reference in (LATEST, Digest.of(image_manifest(b"{}"))):
        await replicas.push(image_manifest(b"{}"))
        await replicas.pull()
        await replicas.other.manifests.delete(NAME, reference)
        for _ in range(2):
            with pytest.raises(ManifestUnknownError):
                await replicas.pull()


async def test_revision_whose_link_is_gone_is_not_served_when_trust_has_ended(replicas: Replicas) -> None:
    replicas.seconds += TRUST_SECONDS
    await replicas.storage.inner.delete([layout.revision_link(NAME, Digest.of(image_manifest(b"{}")))])
    for _ in range(2):
        with pytest.raises(ManifestUnknownError):
            await replicas.pull()


@pytest.mark.parametrize("content", [b"", b"sha256:abc"])
async def test_torn_tag_is_not_served(replicas: Replicas, content: bytes) -> None:
    await replicas.storage.inner.write(CURRENT, content)
    with pytest.raises(ManifestUnknownError):
        await replicas.pull()


async def test_tag_moved_during_the_request_is_served_with_its_new_manifest(replicas: Replicas) -> None:
    replicas.storage.before[CURRENT] = lambda: replicas.push(OTHER)
    assert await replicas.pull() == Digest.of(OTHER)


async def test_manifest_pushed_again_during_the_request_is_served(replicas: Replicas) -> None:
    """The push writes both links after the link of the revision was looked for."""
    replicas.seconds += TRUST_SECONDS
    digest = Digest.of(image_manifest(b"{}"))
    await replicas.other.manifests.delete(NAME, digest)

    async def push_late() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        await replicas.push(image_manifest(b"{}"))

    replicas.storage.before[CURRENT] = push_late
    assert await replicas.pull() == digest
    assert replicas.storage.count() == 3


@pytest.mark.parametrize("key", [CURRENT, layout.revision_link(NAME, Digest.of(image_manifest(b"{}")))])
async def test_failure_of_either_link_is_the_answer(replicas: Replicas, key: str) -> None:
    async def fail() -> None:
        raise StorageUnavailableError("down")

    replicas.seconds += TRUST_SECONDS

    replicas.storage.before[key] = fail
    with pytest.raises(StorageUnavailableError, match="down"):
        await replicas.pull()
    assert await replicas.pull() == Digest.of(image_manifest(b"{}"))


async def test_last_targets_are_bounded(replicas: Replicas) -> None:
    content, others = image_manifest(b"{}"), [Tag("v2"), Tag("v3")]
    await replicas.other.manifests.put(NAME, content, media_types.OCI_MANIFEST, tags=others)
    for tag in others:
        await replicas.pulling.get(NAME, tag)
    await replicas.pull()
    assert replicas.storage.count() == 2
    await replicas.pull()
    assert replicas.storage.count() == 1


async def test_digest_resolves_to_itself():
    digest = Digest.of(b"content")
    assert await CoreServices().manifests.resolve(RepositoryName("a"), digest) == digest
