"""Blobs of cached repositories: which ones a client may read, and what they cost."""

import pytest

from core.errors import (
    BlobUnknownError,
    DeniedError,
    RangeInvalidError,
    StorageUnavailableError,
    UpstreamBusyError,
    UpstreamTimeoutError,
)
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.events import Actor, EventAction
from core.model.freshness import CacheOutcome
from core.model.media_types import OCTET_STREAM
from core.model.names import RepositoryName
from core.pull_through.admission import Admission
from core.store import layout
from tests.support.core_services import CoreServices, in_turn
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.pull_through import Machine
from tests.support.quiet import quiet
from tests.support.streams import payload
from tests.unit.core.registry.test_publishing import ListSink

NAME = RepositoryName("docker.io/library/alpine")
OTHER = RepositoryName("docker.io/grafana/grafana")
SECRET = RepositoryName("docker.io/library/secret")
QUAY = RepositoryName("quay.io/alpine")
LOKI = RepositoryName("docker.io/grafana/loki")
LOCAL = RepositoryName("team/app")
CONTENT = payload(300_000)
DIGEST = Digest.of(CONTENT)
DESCRIBED = Descriptor(media_type=OCTET_STREAM, digest=DIGEST, size=len(CONTENT))


@pytest.fixture(autouse=True)
def blob(machine):
    machine.hub.add_blob("library/alpine", CONTENT)


def _url_of(digest: Digest) -> str:
    return f"https://store.example{layout.blob_data(digest)}"


@pytest.fixture
def _store_has_urls(machine, monkeypatch):
    """Redirect clients, as most object stores do; of a folder no link is read for a redirect."""

    async def url(key: str, *, method: str) -> str:
        return f"https://store.example{key}"

    monkeypatch.setattr(machine.services.storage, "redirect_url", url)


async def test_cold_blob_is_fetched_once_and_then_served_from_the_store(machine, process):
    async with process.blobs.open(NAME, DIGEST) as reader:
        assert (reader.size, reader.length, reader.freshness.outcome) == (300_000, 300_000, CacheOutcome.MISS)
        assert b"".join([piece async for piece in reader]) == CONTENT
    async with process.blobs.open(NAME, DIGEST) as reader:
        assert reader.freshness.outcome is CacheOutcome.HIT
        assert b"".join([piece async for piece in reader]) == CONTENT
    assert (await process.blobs.stat(NAME, DIGEST)).size == 300_000
    assert machine.hub.asked == {"open_blob": 1}
    assert await machine.services.keys("/docker/registry/v2/repositories") == {layout.layer_link(NAME, DIGEST)}
    assert machine.memory.blobs == {}


@pytest.mark.usefixtures("_store_has_urls")
async def test_local_repository_never_asks_an_upstream(machine, process):
    local = await machine.services.push_blob(LOCAL, b"local")
    assert await process.read(LOCAL, local) == b"local"
    assert (await process.blobs.stat(LOCAL, local)).size == 5
    assert await process.blobs.redirect_url(LOCAL, local) == _url_of(local)
    assert [reader.size async for reader in process.blobs.open_parts(LOCAL, local, [(0, 1)])] == [5]
    for operation in (process.blobs.stat, process.read, process.blobs.redirect_url):
        with pytest.raises(BlobUnknownError):
            await operation(LOCAL, DIGEST)
    assert machine.hub.asked == {}


async def test_ranges_and_parts_of_a_cold_blob(machine, process):
    assert await process.read(NAME, DIGEST, offset=299_990) == CONTENT[299_990:]
    assert await process.read(NAME, DIGEST, offset=5, length=3) == CONTENT[5:8]
    with pytest.raises(RangeInvalidError):
        await process.read(NAME, DIGEST, offset=300_001)


async def test_parts_of_a_cold_blob(machine, process):
    parts = [(100_000, 3), (0, 1), (299_999, 1)]
    found = [
        (reader.size, b"".join([piece async for piece in reader]))
        async for reader in process.blobs.open_parts(NAME, DIGEST, parts)
    ]
    assert found == [(300_000, CONTENT[offset : offset + length]) for offset, length in parts]
    assert machine.hub.asked == {"open_blob": 1}


async def test_range_beyond_the_end_of_a_cold_blob_is_refused(process):
    with pytest.raises(RangeInvalidError) as caught:
        await process.read(NAME, DIGEST, offset=300_001)
    assert caught.value.size == 300_000


@pytest.mark.usefixtures("_store_has_urls")
async def test_denied_repository_is_refused(machine, process):
    machine.hub.add_blob("library/secret", CONTENT)
    process.claims.note(SECRET, [DESCRIBED])
    for operation in (process.blobs.stat, process.read, process.blobs.redirect_url):
        with pytest.raises(DeniedError):
            await operation(SECRET, DIGEST)
    assert machine.hub.asked == {}


async def test_size_of_a_cold_blob_is_that_of_the_manifest(machine, process):
    process.claims.note(NAME, [DESCRIBED])
    assert await process.blobs.stat(NAME, DIGEST) == DESCRIBED
    assert machine.hub.asked == {}


async def test_size_of_an_unclaimed_blob_costs_one_byte(machine, process):
    for _ in range(2):
        assert await process.blobs.stat(NAME, DIGEST) == DESCRIBED
    assert machine.hub.asked == {"open_blob": 1}
    assert machine.events == {}


@pytest.mark.usefixtures("_store_has_urls")
async def test_absent_blob_is_remembered_for_the_time_of_the_rules(machine, process):
    absent = Digest.of(b"absent")
    for operation in (process.blobs.stat, process.read, process.blobs.redirect_url):
        with pytest.raises(BlobUnknownError):
            await operation(NAME, absent)
    # `redirect_url` is None for a cold blob, but this one is known to be absent.
    assert machine.hub.asked == {"open_blob": 1}
    await machine.time.advance(31)
    with pytest.raises(BlobUnknownError):
        await process.read(NAME, absent)
    assert machine.hub.asked == {"open_blob": 2}


async def test_blob_that_vanished_is_no_longer_claimed(machine, process):
    absent = Descriptor(media_type=OCTET_STREAM, digest=Digest.of(b"absent"), size=6)
    process.claims.note(QUAY, [absent])
    with pytest.raises(BlobUnknownError):
        await process.read(QUAY, absent.digest)
    with pytest.raises(BlobUnknownError):
        await process.blobs.stat(QUAY, absent.digest)
    assert machine.quay.asked == {"open_blob": 2}


@pytest.mark.parametrize("error", [UpstreamTimeoutError("slow"), UpstreamBusyError("wait", retry_after=60)])
async def test_failure_of_the_upstream_reaches_the_client(machine, process, error):
    machine.hub.failure = error
    for operation in (process.blobs.stat, process.read):
        with pytest.raises(type(error)) as caught:
            await operation(NAME, DIGEST)
        assert getattr(caught.value, "retry_after", None) == getattr(error, "retry_after", None)
    machine.hub.failure = None
    assert await process.read(NAME, DIGEST) == CONTENT


@pytest.mark.usefixtures("_store_has_urls")
async def test_manifest_does_not_open_a_private_blob(machine, process):
    """A manifest from the upstream refers to a blob of a local repository, which the upstream does not have."""
    await machine.services.push_blob(LOCAL, CONTENT)
    process.claims.note(QUAY, [DESCRIBED])
    for operation in (process.read, process.blobs.redirect_url):
        with pytest.raises(BlobUnknownError):
            await operation(QUAY, DIGEST)
    assert not await machine.services.links.stands(layout.layer_link(QUAY, DIGEST), DIGEST)


async def test_stored_blob_is_linked_if_the_upstream_serves_a_byte(machine, process):
    await machine.services.push_blob(LOCAL, CONTENT)
    assert await process.read(NAME, DIGEST) == CONTENT
    assert machine.hub.asked == {"open_blob": 1}
    assert machine.received == {}


@pytest.mark.usefixtures("_store_has_urls")
async def test_stored_blob_is_hidden_if_the_upstream_does_not_have_it(machine, process):
    await machine.services.push_blob(LOCAL, CONTENT)
    for operation in (process.blobs.stat, process.read, process.blobs.redirect_url):
        with pytest.raises(BlobUnknownError):
            await operation(OTHER, DIGEST)
    assert not await machine.services.links.stands(layout.layer_link(OTHER, DIGEST), DIGEST)
    machine.hub.failure = UpstreamTimeoutError("slow")
    with pytest.raises(UpstreamTimeoutError):
        await process.read(LOKI, DIGEST)


@pytest.mark.usefixtures("_store_has_urls")
async def test_warm_blob_is_redirected_and_a_cold_one_is_not(machine, process):
    assert await process.blobs.redirect_url(NAME, DIGEST) is None
    await machine.services.push_blob(LOCAL, CONTENT)
    assert await process.blobs.redirect_url(NAME, DIGEST) == _url_of(DIGEST)
    assert await process.blobs.redirect_url(NAME, DIGEST) == _url_of(DIGEST)
    assert machine.hub.asked == {"open_blob": 1}


async def test_damaged_blob_is_fetched_again(machine, process):
    await process.read(NAME, DIGEST)
    await quiet()
    await machine.services.storage.write(layout.blob_data(DIGEST), CONTENT[:-1] + b"x")
    for _ in range(2):
        await machine.services.damage.report(DIGEST, len(CONTENT))
    assert machine.services.damage.is_confirmed(DIGEST)
    assert (await process.blobs.stat(NAME, DIGEST)).size == len(CONTENT)
    assert await process.read(NAME, DIGEST) == CONTENT
    assert await machine.services.storage.read(layout.blob_data(DIGEST)) == CONTENT
    assert not machine.services.damage.is_suspected(DIGEST)


async def test_each_pull_is_published_once():
    sink = ListSink(frozenset({EventAction.PULL}))
    machine = Machine(services=CoreServices(offload=in_turn, events=sink))
    machine.hub.add_blob("library/alpine", CONTENT)
    alice = Actor("alice")
    async with machine.services.storage, machine.process() as process:
        assert await process.blobs.stat(NAME, DIGEST, pulled_by=alice) == DESCRIBED
        async with process.blobs.open(NAME, DIGEST, pulled_by=alice) as reader:
            assert b"".join([piece async for piece in reader]) == CONTENT
        async for reader in process.blobs.open_parts(NAME, DIGEST, [(0, 1), (3, 1)], pulled_by=alice):
            assert reader.size == len(CONTENT)
        with pytest.raises(RangeInvalidError):
            async with process.blobs.open(NAME, DIGEST, offset=300_001, pulled_by=alice):
                pytest.fail("opened beyond the end")
    assert [(each.action, each.repository, each.digest) for each, _ in sink.emitted] == [
        (EventAction.PULL, NAME, DIGEST)
    ] * 3


async def test_read_only_store_gets_nothing(machine, process):
    machine.is_read_only = True
    for _ in range(2):
        assert await process.read(NAME, DIGEST) == CONTENT
        await quiet()
    assert await machine.services.keys() == set()
    assert machine.hub.asked == {"open_blob": 2}
    assert machine.events["not_stored"] == 2


async def test_cache_without_room_passes_the_blob_on():
    class Full(Admission):
        async def make_room(self, size: int) -> bool:
            return size < len(CONTENT)

    machine = Machine(admission=Full())
    machine.hub.add_blob("library/alpine", CONTENT)
    async with machine.services.storage, machine.process() as process:
        assert await process.read(NAME, DIGEST) == CONTENT
        assert await machine.services.keys() == set()


async def test_blob_that_is_removed_again_and_again_is_unavailable(machine, process, monkeypatch):
    await machine.services.push_blob(LOCAL, CONTENT)
    process.claims.note(NAME, [DESCRIBED])

    async def no_link(key: str) -> None:
        return None

    monkeypatch.setattr(machine.services.links, "read", no_link)
    with pytest.raises(StorageUnavailableError):
        await process.read(NAME, DIGEST)


async def test_lost_link_is_not_served(machine, process, monkeypatch):
    await machine.services.push_blob(LOCAL, CONTENT)
    process.claims.note(NAME, [DESCRIBED])

    async def lost(ticket: float, references: object) -> list[Digest]:
        await machine.services.storage.delete([layout.blob_data(DIGEST)])
        return [DIGEST]

    monkeypatch.setattr(machine.services.guard, "confirm", lost)
    # The fetched blob is lost too, but the client gets it.
    assert await process.read(NAME, DIGEST) == CONTENT
    assert machine.events["not_stored"] == 1


@pytest.mark.parametrize("step", range(1, 12))
async def test_failing_store_does_not_fail_the_client(step):
    storage = FaultyBlobStorage(Machine().services.storage)
    machine = Machine(services=CoreServices(storage=storage, offload=in_turn))
    machine.hub.add_blob("library/alpine", CONTENT)
    async with storage, machine.process() as process:
        storage.fail_at(step)
        try:
            assert await process.read(NAME, DIGEST) == CONTENT
        except StorageUnavailableError:
            # The first requests look for the blob.
            assert step <= 3, storage.operations
        assert await process.read(NAME, DIGEST) == CONTENT
