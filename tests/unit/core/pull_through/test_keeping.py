"""Storing of manifests from an upstream: order of writes, protection, limits, and what is refused."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.upstream.memory import InMemoryUpstream
from core.collection.guard import CollectionGuard, Expand, Need
from core.collection.pins import Pins
from core.collection.rounds import Rounds
from core.errors import (
    ManifestUnknownError,
    ReadOnlyError,
    StorageFullError,
    StorageUnavailableError,
    UpstreamUnavailableError,
)
from core.model import media_types
from core.model.digest import Digest
from core.model.freshness import CacheOutcome
from core.model.names import Reference, RepositoryName, Tag
from core.ports.upstream import UPSTREAM_MANIFEST_BYTES_MAX, UpstreamManifest
from core.pull_through.rules import UpstreamRules
from core.store import layout
from core.typing import override
from tests.support.cached_services import NAME, REMOTE, CachedServices, add_image
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.simulated_time import SimulatedTime

TAG = Tag("3.20")


async def test_tree_is_that_of_a_push(cache: CachedServices, upstream: InMemoryUpstream):
    subject = image_manifest(b"subject")
    content = add_image(upstream, "3.20", subject=descriptor(subject, media_types.OCI_MANIFEST))
    await cache.manifests.get(NAME, TAG)
    digest = Digest.of(content)
    assert await cache.keys(layout.repository(NAME)) == {
        layout.revision_link(NAME, digest),
        layout.referrer_link(NAME, Digest.of(subject), digest),
        layout.tag_current_link(NAME, TAG),
        layout.tag_index_link(NAME, TAG, digest),
        layout.upstream_tag(NAME, TAG),
    }
    assert await cache.storage.read(layout.blob_data(digest)) == content


async def test_order_of_writes_lets_no_reader_see_a_link_before_its_target(
    time: SimulatedTime, upstream: InMemoryUpstream
):
    storage = FaultyBlobStorage(InMemoryBlobStorage(now=time.now))
    cache = CachedServices(time, upstream, storage=storage)
    subject = Digest.of(b"subject")
    content = add_image(upstream, "3.20", subject={"mediaType": media_types.OCI_MANIFEST, "digest": subject, "size": 7})
    await cache.manifests.get(NAME, TAG)
    digest = Digest.of(content)
    expected = [
        layout.blob_data(digest),
        layout.referrer_link(NAME, subject, digest),
        layout.revision_link(NAME, digest),
        layout.tag_current_link(NAME, TAG),
        layout.tag_index_link(NAME, TAG, digest),
        layout.upstream_tag(NAME, TAG),
    ]
    assert [entry.partition(" ")[2] for entry in storage.mutations] == expected


async def test_manifest_links_no_blob_of_the_store(cache: CachedServices, upstream: InMemoryUpstream):
    """The upstream may name a blob of a private repository whose digest it knows."""
    private = RepositoryName("team/app")
    for content in (b"{}", b"private"):
        await cache.push_blob(private, content)
    add_image(upstream, "3.20", layer=b"private")
    await cache.manifests.get(NAME, TAG)
    assert await cache.keys(layout.layers(NAME)) == set()


async def test_index_and_schema_1_are_stored(cache: CachedServices, upstream: InMemoryUpstream):
    layer = await cache.push_blob(RepositoryName("team/app"), b"layer")
    old = json.dumps({"schemaVersion": 1, "fsLayers": [{"blobSum": layer}]}).encode()
    index = image_index([image_manifest()])
    for content, media_type in ((old, media_types.DOCKER_SCHEMA1), (index, media_types.OCI_INDEX)):
        digest = upstream.add_manifest(REMOTE, content, media_type)
        for process in (cache, cache.restarted()):
            manifest = await process.manifests.get(NAME, digest)
            assert (manifest.content, manifest.media_type) == (content, media_type)


async def test_manifest_of_a_foreign_type_is_stored(cache: CachedServices, upstream: InMemoryUpstream):
    content = json.dumps({"mediaType": "application/x-own", "schemaVersion": 2}).encode()
    digest = upstream.add_manifest(REMOTE, content, "application/x-own")
    for process in (cache, cache.restarted()):
        assert (await process.manifests.get(NAME, digest)).media_type == "application/x-own"


async def test_large_manifest_is_stored_and_read_again(cache: CachedServices, upstream: InMemoryUpstream):
    content = image_manifest(annotations={"x": "y" * (5 * 1024 * 1024)})
    digest = upstream.add_manifest(REMOTE, content, media_types.OCI_MANIFEST)
    for process in (cache, cache.restarted()):
        assert (await process.manifests.get(NAME, digest)).content == content
    assert upstream.asked["manifest"] == 1


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"<html>Sign in</html>", "text/html"),
        (b'{"schemaVersion": 2}', media_types.OCI_MANIFEST),
        (b"[" * 300_001, media_types.OCI_MANIFEST),
        (b" " * (UPSTREAM_MANIFEST_BYTES_MAX + 1), media_types.OCI_MANIFEST),
        (image_index([]), media_types.DOCKER_MANIFEST),
        (image_manifest(), media_types.OCI_INDEX),
    ],
)
async def test_unusable_content_is_refused_and_not_stored(
    cache: CachedServices, upstream: InMemoryUpstream, content: bytes, media_type: str
):
    upstream.add_manifest(REMOTE, content, media_type, "3.20")
    with pytest.raises(UpstreamUnavailableError):
        await cache.manifests.get(NAME, TAG)
    assert await cache.keys() == set()


@pytest.mark.parametrize("announced", ["application/json", media_types.DOCKER_MANIFEST])
async def test_content_decides_on_the_media_type_of_an_image(
    cache: CachedServices, upstream: InMemoryUpstream, announced: str
):
    upstream.add_manifest(REMOTE, image_manifest(), announced, "3.20")
    assert (await cache.manifests.get(NAME, TAG)).media_type == media_types.OCI_MANIFEST


class LyingUpstream(InMemoryUpstream):
    """Sends other bytes than those that were asked for."""

    @override
    async def manifest(self, name: str, reference: Reference) -> UpstreamManifest:
        found = await super().manifest(name, reference)
        return UpstreamManifest(content=found.content + b" ", media_type=found.media_type, digest=found.digest)


async def test_other_bytes_than_those_of_the_digest_are_not_served(time: SimulatedTime):
    upstream = LyingUpstream("docker.io")
    cache = CachedServices(time, upstream)
    content = add_image(upstream, "3.20")
    for reference in (TAG, Digest.of(content)):
        with pytest.raises(UpstreamUnavailableError):
            await cache.manifests.get(NAME, reference)
    assert await cache.keys() == set()


async def _refuse(_size: int) -> bool:
    return False


async def _read_only() -> None:
    raise ReadOnlyError("moving to another store")


@pytest.mark.parametrize("wiring", [{"admits": _refuse}, {"require_writable": _read_only}])
async def test_manifest_without_room_is_passed_on(
    time: SimulatedTime, upstream: InMemoryUpstream, wiring: dict[str, Any]
):
    cache = CachedServices(time, upstream, **wiring)
    content = add_image(upstream, "3.20")
    for pulls in (1, 2):
        manifest = await cache.manifests.get(NAME, TAG)
        assert (manifest.content, manifest.freshness and manifest.freshness.outcome) == (content, CacheOutcome.MISS)
        assert upstream.asked == {"resolve": pulls, "manifest": pulls}
    assert await cache.keys() == set()


async def test_read_only_registry_checks_stored_tags_without_a_write(cache: CachedServices, upstream: InMemoryUpstream):
    add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    cache.time.pass_seconds(60)
    before = {key: await cache.storage.read(key) for key in await cache.keys()}
    process = cache.restarted(require_writable=_read_only)
    for _ in range(3):
        await process.manifests.get(NAME, TAG)
    assert upstream.asked == {"resolve": 2, "manifest": 1}
    upstream.remove_tag(REMOTE, "3.20")
    cache.time.pass_seconds(60)
    with pytest.raises(ManifestUnknownError):
        await process.manifests.get(NAME, TAG)
    assert {key: await cache.storage.read(key) for key in await cache.keys()} == before


async def test_tag_that_cannot_be_moved_is_checked_again(cache: CachedServices, upstream: InMemoryUpstream):
    old = add_image(upstream, "3.20", "old")
    for tag in ("3.20", "old"):
        await cache.manifests.get(NAME, Tag(tag))
    new = add_image(upstream, "new", layer=b"new")
    await cache.manifests.get(NAME, Tag("new"))
    upstream.add_manifest(REMOTE, new, media_types.OCI_MANIFEST, "3.20")
    cache.time.pass_seconds(60)
    process = cache.restarted(require_writable=_read_only)
    for asked in (4, 5):
        assert (await process.manifests.get(NAME, TAG)).content == new
        assert upstream.asked["resolve"] == asked
    assert (await cache.manifests.get(NAME, Digest.of(old))).content == old


class FullStorage(FaultyBlobStorage):
    """Accepts no writes."""

    @override
    async def write(self, key: str, content: bytes, *, durable: bool = True) -> None:
        raise StorageFullError("no space")


async def test_pulls_succeed_while_the_store_is_full(time: SimulatedTime, upstream: InMemoryUpstream):
    cache = CachedServices(time, upstream, storage=FullStorage(InMemoryBlobStorage(now=time.now)))
    content = add_image(upstream, "3.20")
    assert (await cache.manifests.get(NAME, TAG)).content == content
    assert await cache.keys() == set()


class LosingGuard(CollectionGuard):
    """Reports that a collection removed everything that was just stored."""

    @override
    async def confirm(
        self, ticket: float, references: Sequence[Need], *, expand: Expand | None = None
    ) -> Sequence[Digest]:
        await super().confirm(ticket, references, expand=expand)
        return [each.digest for each in references]


async def test_manifest_that_a_collection_took_is_passed_on(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    guard = LosingGuard(
        rounds=Rounds(InMemoryBlobStorage(now=time.now)),
        pins=Pins(InMemoryBlobStorage(now=time.now)),
        links=cache.links,
        trash=cache.trash,
        cache=cache.cache,
        clock=time.clock,
        sleep=time.sleep,
    )
    content = add_image(upstream, "3.20")
    assert (await cache.restarted(guard=guard).manifests.get(NAME, TAG)).content == content


async def test_moves_of_a_tag_are_reported(time: SimulatedTime, upstream: InMemoryUpstream):
    moves: list[object] = []

    async def moved(*move: object) -> None:
        moves.append(move)

    cache = CachedServices(time, upstream, moved=moved)
    contents = []
    for layer in (b"1", b"1", b"2"):
        contents.append(add_image(upstream, "3.20", layer=layer))
        await cache.manifests.get(NAME, TAG)
        time.pass_seconds(10_000)
    assert moves == [(NAME, TAG, Digest.of(content)) for content in contents[1:]]


async def test_catalog_is_informed_if_it_lists_the_repository(time: SimulatedTime, upstream: InMemoryUpstream):
    announced: list[RepositoryName] = []

    async def announce(name: RepositoryName) -> None:
        announced.append(name)

    for catalog in (False, True):
        rules = UpstreamRules(prefix="docker.io", catalog=catalog)
        cache = CachedServices(time, upstream, rules=rules, announce=announce)
        add_image(upstream, "3.20")
        for _ in range(3):
            await cache.manifests.get(NAME, TAG)
    assert announced == [NAME]


async def test_broken_store_is_no_absence(time: SimulatedTime, upstream: InMemoryUpstream):
    storage = FaultyBlobStorage(InMemoryBlobStorage(now=time.now))
    cache = CachedServices(time, upstream, storage=storage)
    add_image(upstream, "3.20")
    storage.error_rate = 1.0
    for reference in (TAG, Digest.of(b"x")):
        with pytest.raises(StorageUnavailableError):
            await cache.manifests.get(NAME, reference)
    assert not upstream.asked
