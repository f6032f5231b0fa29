"""Storage requests of whole registry operations, counted on SCS under the real services.

docs/performance.md shows the measured numbers. The limits are equal to them or slightly higher.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from adapters.blob_storage.s3.options import MIB
from adapters.catalog_index.listing import ListingCatalogIndex
from adapters.descriptor_cache.memory import InMemoryDescriptorCache
from adapters.hashing.resumable import hasher_factory
from core.errors import BlobUnknownError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.registry.catalog import CatalogService
from core.retention.rules import RetentionRule
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices, chunks
from tests.support.scs_storage import scs_storage
from tests.support.streams import payload

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

NAME = RepositoryName("team/app")
LAYERS = [payload(40_000, 1), payload(300_000, 2), payload(2 * MIB, 3)]
CONFIG = b'{"architecture":"amd64"}'
MANIFEST = image_manifest(CONFIG, LAYERS)
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Registry(CoreServices):
    """The services, used as a client's requests use them."""

    async def push_chunked(self, content: bytes) -> None:
        """HEAD, POST, PATCH, PUT."""
        digest = Digest.of(content)
        try:
            await self.blobs.stat(NAME, digest)
        except BlobUnknownError:
            state = await self.uploads.start(NAME)
            pieces = (content[start : start + MIB] for start in range(0, len(content), MIB))
            state = await self.uploads.append(state, chunks(*pieces))
            await self.uploads.complete(state, digest, chunks())

    async def push_image(self, *tags: str) -> None:
        """As docker does: each blob is asked for, the manifest is not."""
        for blob in (*LAYERS, CONFIG):
            await self.push_chunked(blob)
        await self.manifests.put(NAME, MANIFEST, MEDIA_TYPE, tags=[Tag(tag) for tag in tags])
        await self.uploads.sweep()


@pytest.fixture
async def registry(server):
    async with scs_storage(server, chunk_bytes=10 * MIB, parts_in_flight=3) as storage:
        cache = InMemoryDescriptorCache(now=lambda: datetime.now(UTC))
        yield Registry(storage=storage, cache=cache, new_hasher=hasher_factory(), retention_rules=[])


async def test_push_of_image_takes_32_at_most(server, registry):
    await registry.push_image("latest")
    assert len(server.log) <= 32
    assert not any("_uploads" in key for key in server.leftovers())


async def test_push_of_an_existing_image_takes_four_at_most(server, registry):
    """Clients that ask for the manifest as well find all of an image that was pushed lately."""
    await registry.push_image("latest")
    server.log.clear()
    for blob in (*LAYERS, CONFIG):
        await registry.push_chunked(blob)
    await registry.manifests.get(NAME, Tag("latest"))
    assert len(server.log) <= 4


@pytest.mark.parametrize("size", [3_000, 32 * MIB])
async def test_first_chunk_at_another_process_of_the_server_costs_no_search(server, registry, size):
    async with scs_storage(server, chunk_bytes=10 * MIB, parts_in_flight=3) as storage:
        cache = InMemoryDescriptorCache(now=lambda: datetime.now(UTC))
        other = Registry(storage=storage, cache=cache, new_hasher=hasher_factory(), untouched=registry.untouched)
        content = payload(size)
        state = await registry.uploads.start(NAME)
        server.log.clear()
        state = await other.uploads.append(state, chunks(content))
        assert server.counts == {"put_object": 1}
        await registry.uploads.complete(state, Digest.of(content), chunks())
        assert (await other.blobs.stat(NAME, Digest.of(content))).size == size


async def test_push_of_32_mib_takes_ten_at_most(server, registry):
    await registry.push_chunked(payload(32 * MIB))
    await registry.uploads.sweep()
    assert len(server.log) <= 10


async def test_pull_of_manifest_takes_three(server, registry):
    """The tag, the revision, the bytes."""
    await registry.push_image("latest")
    server.log.clear()
    await registry.manifests.get(NAME, Tag("latest"))
    assert server.counts == {"get_object": 2, "head_object": 1}


async def test_tags_of_manifest_take_twenty_at_most(server, registry):
    await registry.push_image(*(f"v1.{number}" for number in range(51)))
    server.log.clear()
    page = await registry.tags.page(NAME, n=None, last="")
    assert len(page.items) == 51
    assert len(server.log) == 1
    server.log.clear()
    await registry.manifests.delete(NAME, Digest.of(MANIFEST))
    # One of them records what goes in the trash.
    assert len(server.log) <= 8


async def test_delete_of_tag_takes_four(server, registry):
    """The target of the tag, the record in the trash, a listing and the removal."""
    await registry.push_image("latest")
    server.log.clear()
    await registry.manifests.delete(NAME, Tag("latest"))
    assert len(server.log) == 4


async def test_retention_of_fifty_tags_reads_none_of_them(server, registry):
    """A listing of the repositories, two of the one, its time, the clock; then a check of each tag."""
    for number in range(2):
        await registry.push_chunked(CONFIG)
        manifest = image_manifest(CONFIG, annotations={"number": str(number)})
        await registry.manifests.put(NAME, manifest, MEDIA_TYPE, tags=[Tag(f"v{number}.{tag}") for tag in range(25)])
    rules = [RetentionRule(tags=("v0.*",), keep_last=1), RetentionRule(tags=("v1.*",), pulled_within=timedelta(days=1))]
    registry.retention_rules.extend(rules)
    server.log.clear()
    [plan] = [plan async for plan in registry.retention.plans(merges_pulls=False)]
    assert len(plan.verdicts) == 50
    # Of the record of the store's clock, and of no tag.
    assert server.counts.get("get_object", 0) == 1
    assert len(server.log) <= 12
    states = [verdict.state for verdict in plan.verdicts]
    server.log.clear()
    assert await registry.retention.unchanged(NAME, states) == states
    assert len(server.log) == 50
    server.log.clear()
    await registry.manifests.delete_tags(NAME, {state.tag: state.digest for state in states})
    assert len(server.log) <= 4


async def test_repository_is_deleted_with_few_requests(server, registry):
    await registry.push_image(*(f"v1.{number}" for number in range(51)))
    server.log.clear()
    removal = await registry.repositories.delete(NAME)
    assert (len(removal.tags), len(removal.manifests)) == (51, 1)
    assert len(server.log) <= 12


async def test_catalog_page_takes_one_and_a_lookahead(server, registry):
    """A page of 1,000 looks one name further, to know whether more follow; one of 900 takes one request."""
    catalog = CatalogService(ListingCatalogIndex(storage=registry.storage), storage=registry.storage)
    await registry.push_image("latest")
    bucket = server.buckets["images"]
    stored = bucket.get(server.objects()[0])
    for number in range(1_999):
        bucket.put(f"docker/registry/v2/repositories/n{number:04}/_manifests/tags/x/current/link", stored)
    server.log.clear()
    pages = [await catalog.page(1_000, None)]
    pages.append(await catalog.page(1_000, pages[0].items[-1]))
    assert [(len(page.items), page.has_more) for page in pages] == [(1_000, True), (1_000, False)]
    assert server.counts == {"list_objects": 4}
    server.log.clear()
    await catalog.page(900, "n0500")
    assert server.counts == {"list_objects": 1}
