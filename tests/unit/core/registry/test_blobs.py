import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.descriptor_cache.memory import HintCache, InMemoryDescriptorCache
from adapters.redirection.base_url import BaseUrlRedirector
from core.errors import BlobUnknownError, ContentDamagedError, RangeInvalidError
from core.model.digest import Digest
from core.model.events import Actor, EventAction
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName
from core.ports.event_sink import EventSink
from core.ports.redirection import Redirector
from core.registry.blobs import SHARED_BYTES_MAX, BlobService
from core.store import layout
from tests.support.content import image_manifest
from tests.support.core_services import NOW, CoreServices, chunks
from tests.support.counted_requests import CountedStorage

NAME = RepositoryName("a/b")
OTHER = RepositoryName("c")
CONTENT = b"some bytes"
DIGEST = Digest.of(CONTENT)


@pytest.fixture
async def blob(services):
    return await services.push_blob(NAME, CONTENT)


async def test_blob_is_read_whole_and_in_part(services, blob):
    assert (await services.blobs.stat(NAME, blob)).size == len(CONTENT)
    assert await services.read_blob(NAME, blob) == CONTENT
    async with services.blobs.open(NAME, blob, offset=5, length=3) as reader:
        assert (reader.size, b"".join([piece async for piece in reader])) == (10, b"byt")
    with pytest.raises(RangeInvalidError):
        async with services.blobs.open(NAME, blob, offset=11):
            pytest.fail("opened beyond the end")


class CountedReaders(InMemoryBlobStorage):
    """Counts the readers that are open."""

    count = 0

    @asynccontextmanager
    @override
    async def open_reader(self, key, *, offset=0, length=None):
        async with super().open_reader(key, offset=offset, length=length) as reader:
            self.count += 1
            try:
                yield reader
            finally:
                self.count -= 1


class StoppedSink(EventSink):
    """Wants pulls; the request is cancelled while one is published."""

    wants_references = False

    @override
    def wants(self, action, media_type=""):
        return action is EventAction.PULL

    @override
    async def emit(self, occurrences, origin):
        raise asyncio.CancelledError


@pytest.mark.parametrize("failure", [None, ValueError, asyncio.CancelledError])
async def test_blob_is_closed_after_every_use(failure):
    storage = CountedReaders(now=lambda: NOW)
    services = CoreServices(storage=storage)
    digest = await services.push_blob(NAME, CONTENT)
    with suppress(ValueError, asyncio.CancelledError):
        async with services.blobs.open(NAME, digest):
            assert storage.count == 1
            if failure is not None:
                raise failure
    assert storage.count == 0


async def test_blob_is_closed_when_publishing_its_pull_is_cancelled():
    storage = CountedReaders(now=lambda: NOW)
    services = CoreServices(storage=storage, events=StoppedSink())
    digest = await services.push_blob(NAME, CONTENT)
    with pytest.raises(asyncio.CancelledError):
        async with services.blobs.open(NAME, digest, pulled_by=Actor("alice")):
            assert storage.count == 1
    assert storage.count == 0


async def test_damaged_blob_is_closed():
    storage = CountedReaders(now=lambda: NOW)
    services = CoreServices(storage=storage)
    digest = await services.push_blob(NAME, CONTENT)
    await services.damage.prove(digest, len(CONTENT) + 1)
    with pytest.raises(ContentDamagedError):
        async with services.blobs.open(NAME, digest):
            pytest.fail("opened damaged content")
    assert storage.count == 0


async def test_parts_are_read_in_order(services, blob):
    parts = [(5, 3), (0, 1), (9, 1)]
    found = [
        (reader.size, b"".join([piece async for piece in reader]))
        async for reader in services.blobs.open_parts(NAME, blob, parts)
    ]
    assert found == [(10, b"byt"), (10, b"s"), (10, b"s")]
    for name, part, error in ((OTHER, (0, 1), BlobUnknownError), (NAME, (11, 1), RangeInvalidError)):
        with pytest.raises(error):
            await anext(services.blobs.open_parts(name, blob, [part]))


async def test_unlinked_blob_is_unknown_elsewhere(services, blob):
    for operation in (services.blobs.stat, services.blobs.unlink, services.read_blob):
        with pytest.raises(BlobUnknownError):
            await operation(OTHER, blob)


async def test_link_without_data_is_unknown(services, blob):
    await services.storage.delete([layout.blob_data(blob)])
    with pytest.raises(BlobUnknownError):
        await services.blobs.stat(NAME, blob)
    with pytest.raises(BlobUnknownError):
        await services.read_blob(NAME, blob)


async def test_unlink_keeps_the_data(services, blob):
    await services.blobs.mount(OTHER, blob, source=NAME)
    await services.blobs.unlink(NAME, blob)
    with pytest.raises(BlobUnknownError):
        await services.blobs.stat(NAME, blob)
    assert await services.read_blob(OTHER, blob) == CONTENT


async def test_mount_links_what_the_source_holds(services, blob):
    assert await services.blobs.mount(OTHER, blob, source=NAME)
    assert await services.blobs.mount(OTHER, blob, source=NAME)
    assert await services.read_blob(OTHER, blob) == CONTENT


async def test_mount_without_source_links_any_stored_blob(services, blob):
    assert await services.blobs.mount(OTHER, blob, source=None)
    assert await services.read_blob(OTHER, blob) == CONTENT


async def test_mount_of_a_missing_blob_does_nothing(services, blob):
    assert not await services.blobs.mount(OTHER, blob, source=RepositoryName("empty"))
    assert not await services.blobs.mount(OTHER, Digest.of(b"absent"), source=None)
    await services.storage.delete([layout.blob_data(blob)])
    assert not await services.blobs.mount(OTHER, blob, source=NAME)
    assert await services.keys(layout.repository(OTHER)) == set()


async def test_alias_that_distribution_wrote_is_followed(services, blob):
    """Distribution stores a sha512 push under sha256 and links the one to the other."""
    alias = Digest.of(CONTENT, "sha512")
    await services.links.write(layout.layer_link(NAME, alias), blob)
    assert await services.read_blob(NAME, alias) == CONTENT
    assert await services.blobs.mount(OTHER, alias, source=NAME)
    assert await services.read_blob(OTHER, alias) == CONTENT


async def test_sha512_blob_keeps_its_digest(services):
    digest = Digest.of(CONTENT, "sha512")
    await services.uploads.put(NAME, digest, chunks(CONTENT))
    assert (await services.blobs.stat(NAME, digest)).digest == digest
    assert layout.blob_data(digest) in await services.keys()


async def test_store_without_urls_is_not_asked_for_a_link():
    """Every pull from a folder asks for a URL first."""
    storage = CountedStorage(InMemoryBlobStorage(now=lambda: NOW))
    services = CoreServices(storage=storage)
    blob = await services.push_blob(NAME, CONTENT)
    storage.count()
    assert await services.blobs.redirect_url(NAME, blob) is None
    assert storage.count() == 0


class StayingRedirector(Redirector):
    """A redirector that leaves each client at the registry, as one for the clients of a network does."""

    @override
    async def url(self, key: str, *, by: Actor) -> str | None:
        return None


async def test_redirector_without_a_url_leaves_the_client_at_the_registry(services, blob):
    blobs = BlobService(replace(services.blob_parts, redirector=StayingRedirector()))
    assert await blobs.redirect_url(NAME, blob) is None


async def test_redirector_names_the_url_in_place_of_the_storage(services, blob):
    redirector = BaseUrlRedirector("https://cdn.example.com")
    blobs = BlobService(replace(services.blob_parts, redirector=redirector))
    assert await blobs.redirect_url(NAME, blob) == f"https://cdn.example.com{layout.blob_data(blob)}"
    with pytest.raises(BlobUnknownError):
        await blobs.redirect_url(OTHER, blob)


@pytest.fixture
def caching():
    return CoreServices(cache=InMemoryDescriptorCache(now=lambda: NOW))


async def test_blob_that_was_just_pushed_costs_no_request(caching):
    digest = await caching.push_blob(NAME, CONTENT)
    await caching.storage.delete([layout.layer_link(NAME, digest)])
    assert (await caching.blobs.stat(NAME, digest)).size == len(CONTENT)
    assert await caching.read_blob(NAME, digest) == CONTENT


async def test_blob_that_was_read_is_cached(caching):
    digest = await caching.push_blob(NAME, CONTENT)
    await caching.cache.forget(NAME, digest)
    await caching.blobs.stat(NAME, digest)
    assert await caching.cache.get(NAME, digest) == len(CONTENT)


async def test_mounted_blob_is_cached_and_an_alias_is_not(caching):
    digest, alias = await caching.push_blob(NAME, CONTENT), Digest.of(CONTENT, "sha512")
    await caching.links.write(layout.layer_link(NAME, alias), digest)
    for mounted, size in ((digest, len(CONTENT)), (alias, None)):
        assert await caching.blobs.mount(OTHER, mounted, source=NAME)
        await caching.blobs.stat(NAME, mounted)
        assert await caching.cache.get(OTHER, mounted) == size


async def test_unlinked_or_lost_blob_is_removed_from_the_cache(caching):
    digest = await caching.push_blob(NAME, CONTENT)
    await caching.blobs.unlink(NAME, digest)
    assert await caching.cache.get(NAME, digest) is None
    await caching.push_blob(NAME, CONTENT)
    await caching.storage.delete([layout.blob_data(digest)])
    with pytest.raises(BlobUnknownError):
        await caching.read_blob(NAME, digest)
    assert await caching.cache.get(NAME, digest) is None


async def test_manifest_of_a_cached_blob_costs_no_request(caching):
    digest = await caching.push_blob(NAME, b"{}")
    await caching.storage.delete([layout.layer_link(NAME, digest)])
    await caching.manifests.put(NAME, image_manifest(), OCI_MANIFEST)


@pytest.fixture
def hints():
    return InMemoryDescriptorCache(now=lambda: NOW)


@pytest.fixture
def hinted(services, hints):
    """The service with a cache that processes share, whose entries may be outdated."""
    return BlobService(replace(services.blob_parts, cache=hints))


async def test_hint_saves_a_pull_the_read_of_the_link(services, blob, hints, hinted):
    await hints.put(NAME, blob, len(CONTENT))
    await services.storage.delete([layout.layer_link(NAME, blob)])
    async with hinted.open(NAME, blob) as reader:
        assert b"".join([piece async for piece in reader]) == CONTENT
    assert await hinted.redirect_url(NAME, blob) is None


async def test_hint_is_no_answer_to_a_push(services, blob, hints, hinted):
    """A client that gets 200 does not send the blob, and a manifest would refer to nothing."""
    await hints.put(NAME, blob, len(CONTENT))
    await services.storage.delete([layout.layer_link(NAME, blob)])
    with pytest.raises(BlobUnknownError):
        await hinted.stat(NAME, blob)
    with pytest.raises(BlobUnknownError):
        await hinted.unlink(NAME, blob)
    assert not await hinted.mount(OTHER, blob, source=NAME)


async def test_wrong_hint_is_forgotten(services, blob, hints, hinted):
    await hints.put(NAME, blob, len(CONTENT))
    await services.storage.delete([layout.blob_data(blob)])
    with pytest.raises(BlobUnknownError):
        async with hinted.open(NAME, blob):
            pytest.fail("opened what is not there")
    assert await hints.get(NAME, blob) is None
    await services.push_blob(NAME, CONTENT)
    async with hinted.open(NAME, blob) as reader:
        assert b"".join([piece async for piece in reader]) == CONTENT


class RedirectingStorage(InMemoryBlobStorage):
    """Storage with a URL for each object."""

    @override
    async def redirect_url(self, key: str, *, method: str) -> str | None:
        return f"https://store.test/{key}"


@dataclass
class PullingProcess:
    """A process that pulls from a store in a network, with the cache of its default: entries are hints."""

    storage: CountedStorage
    hints: InMemoryDescriptorCache
    blobs: BlobService

    async def read(self, digest: Digest) -> bytes:
        async with self.blobs.open(NAME, digest) as reader:
            return b"".join([piece async for piece in reader])


@pytest.fixture
async def pulling():
    storage = CountedStorage(RedirectingStorage(now=lambda: NOW))
    await CoreServices(storage=storage).push_blob(NAME, CONTENT)
    hints = InMemoryDescriptorCache(now=lambda: NOW)
    parts = CoreServices(storage=storage, cache=HintCache(hints)).blob_parts
    storage.count()
    return PullingProcess(storage, hints, BlobService(replace(parts, cache=hints, shares_reads=True)))


async def test_second_pull_saves_the_read_of_the_link(pulling):
    assert await pulling.read(DIGEST) == CONTENT
    assert pulling.storage.count() == 2
    assert await pulling.hints.get(NAME, DIGEST) == len(CONTENT)
    assert await pulling.read(DIGEST) == CONTENT
    assert pulling.storage.count() == 1


async def test_push_asks_the_store_for_a_blob_that_was_pulled(pulling):
    await pulling.read(DIGEST)
    await pulling.storage.delete([layout.layer_link(NAME, DIGEST)])
    with pytest.raises(BlobUnknownError):
        await pulling.blobs.stat(NAME, DIGEST)


async def test_pulls_of_a_small_blob_at_the_same_time_share_a_request(pulling):
    await pulling.read(DIGEST)
    pulling.storage.count()
    pulling.storage.delay_rate = 1.0
    assert await asyncio.gather(*(pulling.read(DIGEST) for _ in range(20))) == [CONTENT] * 20
    assert pulling.storage.count() == 2


async def test_pull_of_a_large_blob_is_not_shared(pulling):
    large = bytes(SHARED_BYTES_MAX + 1)
    digest = await CoreServices(storage=pulling.storage).push_blob(NAME, large)
    assert await pulling.read(digest) == large
    pulling.storage.count()
    pulling.storage.delay_rate = 1.0
    assert await asyncio.gather(*(pulling.read(digest) for _ in range(3))) == [large] * 3
    assert pulling.storage.count() == 3


async def test_hint_of_a_wrong_size_does_no_harm(pulling):
    await pulling.hints.put(NAME, DIGEST, len(CONTENT) + 1)
    assert await pulling.read(DIGEST) == CONTENT


async def test_hint_that_calls_a_large_blob_small_does_no_harm(pulling):
    large = bytes(SHARED_BYTES_MAX + 1)
    digest = await CoreServices(storage=pulling.storage).push_blob(NAME, large)
    await pulling.hints.put(NAME, digest, 1)
    assert await pulling.read(digest) == large


async def test_small_blob_whose_data_is_gone_is_unknown(pulling):
    await pulling.read(DIGEST)
    await pulling.storage.delete([layout.blob_data(DIGEST)])
    with pytest.raises(BlobUnknownError):
        await pulling.read(DIGEST)
    assert await pulling.hints.get(NAME, DIGEST) is None


async def test_damaged_small_blob_is_not_served_from_memory(pulling):
    await pulling.read(DIGEST)
    await pulling.storage.write(layout.blob_data(DIGEST), b"x" * len(CONTENT))
    with pytest.raises(ContentDamagedError):
        await pulling.read(DIGEST)


async def test_redirect_costs_two_requests_once(pulling):
    url = f"https://store.test/{layout.blob_data(DIGEST)}"
    assert await pulling.blobs.redirect_url(NAME, DIGEST) == url
    assert pulling.storage.count() == 2
    assert await pulling.blobs.redirect_url(NAME, DIGEST) == url
    assert pulling.storage.count() == 0


async def test_no_client_is_redirected_to_a_blob_of_another_repository(pulling):
    with pytest.raises(BlobUnknownError):
        await pulling.blobs.redirect_url(OTHER, DIGEST)


async def test_redirect_of_an_alias_leads_to_its_data(pulling):
    alias = Digest.of(CONTENT, "sha512")
    await pulling.storage.write(layout.layer_link(NAME, alias), DIGEST.encode())
    url = f"https://store.test/{layout.blob_data(DIGEST)}"
    assert await pulling.blobs.redirect_url(NAME, alias) == url
    assert await pulling.hints.get(NAME, alias) is None


async def test_no_client_is_redirected_to_data_that_is_gone(pulling):
    await pulling.storage.delete([layout.blob_data(DIGEST)])
    with pytest.raises(BlobUnknownError):
        await pulling.blobs.redirect_url(NAME, DIGEST)
