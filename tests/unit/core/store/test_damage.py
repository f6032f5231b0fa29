"""Damage found by pulls: its records, their readers and their lifetime."""

import io
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.descriptor_cache.memory import InMemoryDescriptorCache
from core.errors import ContentDamagedError, ManifestBlobUnknownError, ObjectNotFoundError, StorageUnavailableError
from core.model.digest import Digest, StandardHasher
from core.model.media_types import OCI_INDEX, OCI_MANIFEST
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobReader, ObjectStat
from core.store import damage, layout
from core.store.damage import EXAMINED_BYTES_MAX, HASH_TRUSTED_SECONDS, DamageRecords, DamageWatch
from tests.support.content import image_index, image_manifest
from tests.support.core_services import NOW, CoreServices, in_turn
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.streams import payload

NAME = RepositoryName("a/b")
CONTENT = payload(3 * 1024 * 1024)
FLIPPED = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
DIGEST = Digest.of(CONTENT)
KEY = layout.blob_data(DIGEST)
RECORD = layout.damage_record(DIGEST)


class Clock:
    """A storage's clock that moves on with each reading, as the times of two writes differ."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def storage():
    return InMemoryBlobStorage(now=Clock())


@pytest.fixture
def services(storage):
    return CoreServices(storage=storage)


@pytest.fixture
def other(storage):
    """Another process on the same storage."""
    return CoreServices(storage=storage)


async def read_some(services, **options):
    """Read a blob as a client does; return what arrived, and whether it ended well."""
    received = bytearray()
    try:
        async with services.blobs.open(NAME, DIGEST, **options) as reader:
            async for piece in reader:
                received += piece
    except ContentDamagedError:
        return bytes(received), False
    return bytes(received), True


@pytest.mark.parametrize(
    "damaged",
    [FLIPPED, CONTENT[:-1], CONTENT[: 1024 * 1024], CONTENT + b"x", b"", b"x"],
    ids=len,
)
async def test_damaged_blob_is_never_served_completely(services, other, storage, damaged):
    await services.push_blob(NAME, CONTENT)
    await storage.write(KEY, damaged)
    for reading in (other, services, other, services):
        received, is_whole = await read_some(reading)
        assert not is_whole
        assert len(received) < max(1, len(damaged))
    assert RECORD in await services.keys()


async def test_sound_blob_is_served_completely(services, storage):
    for content in (b"", b"x", CONTENT):
        digest = await services.push_blob(NAME, content)
        assert await services.read_blob(NAME, digest) == content
    assert not [key async for key, _ in storage.walk(layout.DAMAGED)]


async def test_push_checks_and_heals(services, other, storage):
    await services.push_blob(NAME, CONTENT)
    await storage.write(KEY, FLIPPED)
    assert (await other.blobs.stat(NAME, DIGEST)).size == len(CONTENT)
    assert await read_some(services) != (CONTENT, True)
    await other.damage.poll()
    for each in (services, other):
        with pytest.raises(ContentDamagedError):
            await each.blobs.stat(NAME, DIGEST)
        assert await each.blobs.mount(RepositoryName("c"), DIGEST, source=NAME) is None
        assert await each.blobs.redirect_url(NAME, DIGEST) is None
    await services.push_blob(NAME, CONTENT)
    assert RECORD not in await services.keys()
    assert (await other.blobs.stat(NAME, DIGEST)).size == len(CONTENT)
    assert await read_some(other) == (CONTENT, True)


async def test_cached_descriptor_does_not_hide_damage(storage):
    services = CoreServices(storage=storage, cache=InMemoryDescriptorCache(now=lambda: NOW))
    await services.push_blob(NAME, CONTENT)
    await storage.write(KEY, FLIPPED)
    await read_some(services)
    with pytest.raises(ContentDamagedError):
        await services.blobs.stat(NAME, DIGEST)
    manifest = image_manifest(b"{}", [CONTENT])
    await services.push_blob(NAME, b"{}")
    with pytest.raises(ManifestBlobUnknownError) as caught:
        await services.manifests.put(NAME, manifest, OCI_MANIFEST)
    assert caught.value.digests == (DIGEST,)


async def test_replaced_blob_is_no_longer_damaged(services, other, storage):
    await services.push_blob(NAME, CONTENT)
    await storage.write(KEY, FLIPPED)
    await read_some(services)
    await other.damage.poll()
    await storage.write(KEY, CONTENT)
    assert (await services.blobs.stat(NAME, DIGEST)).size == len(CONTENT)
    assert await read_some(other) == (CONTENT, True)
    assert RECORD not in await services.keys()


async def test_record_of_sound_data_is_removed_at_the_next_check(services, other, storage):
    """The process that wrote it may have broken memory."""
    await services.push_blob(NAME, CONTENT)
    await DamageRecords(storage).write(DIGEST, await storage.stat(KEY))
    await other.damage.poll()
    assert RECORD not in await services.keys()
    assert await read_some(other, length=10) == (CONTENT[:10], True)
    assert (await other.blobs.stat(NAME, DIGEST)).size == len(CONTENT)


async def test_single_failed_hash_refuses_no_pull(services, storage):
    """The bytes may have been damaged on their way here."""
    await services.push_blob(NAME, CONTENT)
    await services.damage.report(DIGEST, len(CONTENT))
    assert await read_some(services, length=10) == (b"", False)
    assert await read_some(services) == (CONTENT, True)
    assert RECORD not in await services.keys()
    assert await read_some(services, length=10) == (CONTENT[:10], True)


async def test_image_of_a_damaged_blob_is_pushed_again(services, other, storage, image):
    """crane looks for the manifest first, and sends nothing of an image whose manifest is there."""
    await storage.write(KEY, FLIPPED)
    await read_some(services)
    assert (await services.manifests.describe(NAME, image)).digest == image
    for each in (services, other):
        await each.damage.poll()
        with pytest.raises(ContentDamagedError):
            await each.manifests.describe(NAME, image)
        assert (await each.manifests.get(NAME, image)).digest == image
    await services.push_blob(NAME, CONTENT)
    await other.damage.poll()
    for each in (services, other):
        assert (await each.manifests.describe(NAME, image)).digest == image


async def test_image_without_damage_is_served(services, storage, image):
    other_image = image_manifest(b"{}")
    pushed = await services.manifests.put(NAME, other_image, OCI_MANIFEST)
    await storage.write(KEY, FLIPPED)
    await services.damage.report(DIGEST, len(CONTENT))
    await services.damage.poll()
    assert (await services.manifests.describe(NAME, pushed.digest)).content == other_image


async def test_known_damage_is_refused_at_once(services, storage):
    await services.push_blob(NAME, CONTENT)
    await storage.write(KEY, FLIPPED)
    assert [len((await read_some(services))[0]) > 0 for _ in range(4)] == [True, True, False, False]
    for part in ({"offset": 5}, {"length": 5}):
        assert await read_some(services, **part) == (b"", False)


async def test_pushed_size_is_trusted(services, storage):
    await services.push_blob(NAME, CONTENT)
    await storage.write(KEY, CONTENT[:-1])
    with pytest.raises(ContentDamagedError):
        await services.blobs.stat(NAME, DIGEST)
    assert await read_some(services) == (b"", False)
    assert RECORD in await services.keys()


@pytest.fixture
async def image(services):
    """The manifest of an image with the blob."""
    await services.push_blob(NAME, b"{}")
    await services.push_blob(NAME, CONTENT)
    return (await services.manifests.put(NAME, image_manifest(b"{}", [CONTENT]), OCI_MANIFEST)).digest


async def test_size_in_a_manifest_has_the_blob_hashed(other, image):
    """A thread that copies from the file would send a shorter blob whole."""
    await other.manifests.get(NAME, image)
    watched = await other.damage.checked(_FileReader(len(CONTENT) - 1), DIGEST)
    assert watched.file is None
    watched = await other.damage.checked(_FileReader(len(CONTENT)), DIGEST)
    assert watched.file is not None
    watched = await other.damage.checked(_FileReader(len(CONTENT)), DIGEST, size=5)
    assert watched.file is None


class _FileReader(BlobReader):
    """An open file of some size, as the folder's."""

    def __init__(self, size, version=None, committed_size=None):
        self.size = self.length = size
        self.committed_size = committed_size
        self.version = version
        self.offset = 0
        self.file = io.BytesIO()
        self.offload = in_turn

    async def __aiter__(self):
        yield CONTENT[: self.size]


async def test_size_of_the_commit_has_the_blob_hashed(other):
    for size, is_plain in ((len(CONTENT), True), (len(CONTENT) - 1, False)):
        watched = await other.damage.checked(_FileReader(size, committed_size=len(CONTENT)), DIGEST)
        assert (watched.file is not None) is is_plain


async def test_wrong_size_in_a_manifest_refuses_nothing(services, other):
    await services.push_blob(NAME, CONTENT)
    await services.push_blob(NAME, b"{}")
    document = json.loads(image_manifest(b"{}", [CONTENT]))
    document["layers"][0]["size"] += 1
    pushed = await services.manifests.put(NAME, json.dumps(document).encode(), OCI_MANIFEST)
    await other.manifests.get(NAME, pushed.digest)
    assert (await other.blobs.stat(NAME, DIGEST)).size == len(CONTENT)
    assert await read_some(other) == (CONTENT, True)
    await other.manifests.get(NAME, pushed.digest)
    assert (await other.damage.checked(_FileReader(len(CONTENT)), DIGEST)).file is not None


async def test_damaged_manifest_is_recorded_and_healed(services, other, storage, image):
    key, record = layout.blob_data(image), layout.damage_record(image)
    content = await storage.read(key)
    for damaged in (content[:-1], content.replace(b"sha256", b"sha257"), bytes(17 * 1024 * 1024)):
        await storage.write(key, damaged)
        with pytest.raises(ContentDamagedError):
            await services.manifests.get(NAME, image)
        assert record in await services.keys()
        await services.manifests.put(NAME, content, OCI_MANIFEST)
        assert record not in await services.keys()
        assert (await other.manifests.get(NAME, image)).content == content


async def test_index_of_a_damaged_manifest_is_refused(services, storage, image):
    """Its client pushes the manifest again, and then the index."""
    manifest = await storage.read(layout.blob_data(image))
    await storage.write(layout.blob_data(image), b"garbage")
    with pytest.raises(ContentDamagedError):
        await services.manifests.get(NAME, image)
    with pytest.raises(ManifestBlobUnknownError):
        await services.manifests.put(NAME, image_index([manifest]), OCI_INDEX)


async def test_manifest_that_is_sound_on_the_second_read_is_served(storage, services, image):
    key = layout.blob_data(image)
    content = await storage.read(key)

    class Flaky(FaultyBlobStorage):
        is_first = True

        async def read(self, key, **options):
            read = await super().read(key, **options)
            if key == layout.blob_data(image) and self.is_first:
                self.is_first = False
                return b"garbage"
            return read

    flaky = CoreServices(storage=Flaky(storage))
    assert (await flaky.manifests.get(NAME, image)).content == content
    assert layout.damage_record(image) not in await services.keys()


async def test_damaged_referrer_is_not_listed(services, storage, image):
    await services.push_blob(NAME, b"{}")
    content = image_manifest(subject={"mediaType": OCI_MANIFEST, "digest": image, "size": 1})
    referrer = (await services.manifests.put(NAME, content, OCI_MANIFEST)).digest
    assert [each.digest for each in (await services.referrers.page(NAME, image)).items] == [referrer]
    await storage.write(layout.blob_data(referrer), content + b" ")
    assert not (await services.referrers.page(NAME, image)).items


@pytest.fixture
def faulty(storage):
    return FaultyBlobStorage(storage)


@pytest.fixture
def watch(faulty):
    return DamageWatch(faulty, new_hasher=StandardHasher, offload=in_turn, clock=lambda: 0.0)


@pytest.fixture
async def damaged(services, storage):
    """The state of a damaged blob."""
    await services.push_blob(NAME, CONTENT)
    await storage.write(KEY, FLIPPED)
    return await storage.stat(KEY)


async def test_record_is_written_when_the_store_works_again(services, faulty, watch, damaged, caplog):
    faulty.stop_after(0)
    await watch.report(DIGEST, damaged.size)
    assert watch.is_suspected(DIGEST)
    assert "damage not recorded" in caplog.text
    with pytest.raises(StorageUnavailableError):
        await watch.poll()
    faulty.heal()
    await watch.poll()
    assert RECORD in await services.keys()


async def test_damage_is_not_reported_while_the_store_is_down(faulty, watch, damaged, caplog):
    faulty.fail_at(1)
    await watch.report(DIGEST, damaged.size)
    assert not watch.is_suspected(DIGEST)
    assert "cannot be recorded" in caplog.text


async def test_blob_that_was_replaced_while_it_was_read_is_not_reported(watch, damaged):
    await watch.report(DIGEST, damaged.size + 1)
    assert not watch.is_suspected(DIGEST)


async def test_record_that_cannot_be_removed_refuses_no_pull(faulty, watch, damaged, storage, caplog):
    await watch.report(DIGEST, damaged.size)
    faulty.stop_after(0)
    await watch.prove(DIGEST, len(CONTENT))
    assert "stale damage record not removed" in caplog.text
    faulty.heal()
    await storage.write(KEY, CONTENT)
    await watch.poll()
    assert not await watch.is_damaged(DIGEST, await storage.stat(KEY))


async def test_damage_is_counted_once_for_each_object(storage, damaged):
    counted = []
    watch = DamageWatch(
        storage, new_hasher=StandardHasher, offload=in_turn, clock=lambda: 0.0, on_damage=lambda: counted.append(1)
    )
    for _ in range(3):
        await watch.report(DIGEST, damaged.size)
    await storage.write(KEY, FLIPPED)
    await watch.report(DIGEST, damaged.size)
    assert len(counted) == 2


async def test_record_removed_by_another_process_is_forgotten(watch, damaged, storage):
    await DamageRecords(storage).write(DIGEST, damaged)
    await watch.poll()
    assert await watch.is_damaged(DIGEST, damaged)
    await watch.poll()
    assert watch.is_suspected(DIGEST)
    await DamageRecords(storage).remove([DIGEST])
    await DamageRecords(storage).remove([])
    await watch.poll()
    assert not watch.is_suspected(DIGEST)


async def test_own_finding_outlives_its_record(watch, damaged):
    for _ in range(2):
        await watch.report(DIGEST, damaged.size)
    await watch.poll()
    reader = _FileReader(damaged.size)
    with pytest.raises(ContentDamagedError):
        await watch.checked(reader, DIGEST)


async def test_checksums_are_compared_if_both_exist(watch, damaged):
    await watch.report(DIGEST, damaged.size)
    assert await watch.is_damaged(DIGEST, replace(damaged, md5=None))
    assert not await watch.is_damaged(DIGEST, replace(damaged, md5="00"))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"size": 1, "modified_at": 5, "md5": null}'])
async def test_unreadable_record_counts_as_none(watch, storage, content):
    await storage.write(RECORD, content)
    await storage.write(f"{layout.DAMAGED}/sha256/garbage", b"")
    await watch.poll()
    assert not watch.is_suspected(DIGEST)
    assert await DamageRecords(storage).read(Digest.of(b"another")) is None


async def test_memory_is_bounded(watch, storage, monkeypatch):
    monkeypatch.setattr(damage, "RECORDS_MAX", 100)
    records = DamageRecords(storage)
    for number in range(101):
        await records.write(Digest.of(b"%d" % number), ObjectStat(size=number, modified_at=NOW))
        await watch.prove(Digest.of(b"%d" % number), number)
    assert len(await records.listed()) == 100
    state = ObjectStat(size=9, modified_at=NOW)
    assert not await watch.is_damaged(Digest.of(b"0"), state)
    assert await watch.is_damaged(Digest.of(b"1"), state)


async def test_blob_that_vanishes_while_it_is_suspected_is_unknown(watch, storage, damaged):
    await watch.report(DIGEST, damaged.size)
    await storage.delete([KEY])
    with pytest.raises(ObjectNotFoundError):
        await watch.checked(_FileReader(damaged.size), DIGEST)


async def test_reader_that_is_left_early_ends_its_hashing(services):
    await services.push_blob(NAME, CONTENT)
    async with services.blobs.open(NAME, DIGEST) as reader:
        pieces = aiter(reader)
        assert await anext(pieces)
        await pieces.aclose()


async def test_recently_hashed_object_is_not_hashed_again(storage):
    """Hashing takes as long as encrypting: a popular layer is hashed once an hour."""
    seconds = [0.0]
    watch = DamageWatch(storage, new_hasher=StandardHasher, offload=in_turn, clock=lambda: seconds[0])

    async def is_hashed(version):
        reader = _FileReader(len(CONTENT), version)
        checked = await watch.checked(reader, DIGEST)
        if checked is not reader:
            assert [piece async for piece in checked]
        return checked is not reader

    assert [await is_hashed(version) for version in (None, None, "1", "1", "2", "2")] == [True] * 3 + [
        False,
        True,
        False,
    ]
    seconds[0] = HASH_TRUSTED_SECONDS
    assert await is_hashed("2")
    assert not await is_hashed("2")
    await storage.write(KEY, CONTENT)
    await watch.report(DIGEST, len(CONTENT))
    assert [await is_hashed("2"), await is_hashed("2")] == [True, False]


async def test_unreadable_suspect_stays_suspected(faulty, watch, storage, damaged, caplog):
    await watch.report(DIGEST, damaged.size)
    faulty.fail_at(4)
    await watch.poll()
    assert "cannot read suspected content" in caplog.text
    assert watch.is_suspected(DIGEST)
    assert not watch.is_confirmed(DIGEST)
    await watch.poll()
    assert watch.is_confirmed(DIGEST)


async def test_missing_suspect_is_forgotten(watch, storage, damaged):
    await watch.report(DIGEST, damaged.size)
    await storage.delete([KEY])
    await watch.poll()
    assert not watch.is_suspected(DIGEST)


async def test_poll_reads_a_bounded_number_of_bytes(watch, storage, services):
    digests = []
    for number in range(3):
        content = b"%d" % number
        digest = await services.push_blob(NAME, content)
        await storage.write(layout.blob_data(digest), b"x")
        # A large one, as far as the record goes.
        stat = await storage.stat(layout.blob_data(digest))
        await DamageRecords(storage).write(digest, ObjectStat(size=EXAMINED_BYTES_MAX, modified_at=stat.modified_at))
        digests.append(digest)
    await watch.poll()
    assert [watch.is_suspected(digest) for digest in digests] == [True, True, True]
    assert [watch.is_confirmed(digest) for digest in digests].count(True) == 1


async def test_stored_manifest_of_another_type_is_served_beside_damage(services, storage, watch, damaged):
    """No blobs are known of it."""
    content = b'{"mediaType": "application/x.other+json"}'
    digest = Digest.of(content)
    await storage.write(layout.blob_data(digest), content)
    await storage.write(layout.revision_link(NAME, digest), digest.encode())
    await services.damage.report(DIGEST, damaged.size)
    assert (await services.manifests.describe(NAME, digest)).content == content
