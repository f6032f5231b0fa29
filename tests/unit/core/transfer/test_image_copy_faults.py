"""Copies between registries: content that cannot be copied, deletions, dry runs, and registries that fail."""

import json

import pytest

from adapters.registry_target.memory import InMemoryRegistryTarget
from core.errors import (
    StorageUnavailableError,
    UpstreamAbsentError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.transfer import image_copy
from core.transfer.mirror_rules import TagRules
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.image_copies import NAME, ORIGIN, CopyPasses

V1, V2 = Tag("v1"), Tag("v2")
LINUX = {"wants_platform": lambda platform: platform in {None, ("linux", "amd64")}}


@pytest.fixture
def target():
    return InMemoryRegistryTarget()


@pytest.fixture
def passes(target):
    return CopyPasses(target)


async def test_an_entry_of_unknown_type_may_be_a_manifest_or_a_blob(passes, target):
    # Arrange
    manifest = image_manifest(b"{}", [b"layer"])
    passes.add_image()
    passes.upstream.add_blob(ORIGIN, b"a blob")
    document = json.loads(image_index([]))
    document["manifests"] = [descriptor(each, "application/vnd.example") for each in (manifest, b"a blob")]
    index = passes.upstream.add_manifest(ORIGIN, json.dumps(document).encode(), media_types.OCI_INDEX, "v1")

    # Act and assert
    assert not await passes.run()
    assert target.pointers == {(NAME, V1): index}
    assert target.blobs[NAME, Digest.of(b"a blob")] == b"a blob"


async def test_a_blob_that_the_source_lacks_is_a_problem(passes, target):
    # Arrange
    passes.upstream.add_manifest(ORIGIN, image_manifest(b"{}", [b"lost"]), media_types.OCI_MANIFEST, "v1")
    good = passes.add_image("v2")

    # Act
    problems = await passes.run()

    # Assert
    assert problems.startswith("missing mirror/app: v1: ")
    assert target.pointers == {(NAME, V2): good}


@pytest.mark.parametrize("content", [b"LAYER", b"longer"])
async def test_a_blob_with_other_bytes_is_a_problem(passes, target, content):
    # Arrange
    passes.add_image("v1")
    passes.upstream.replace_blob(ORIGIN, Digest.of(b"layer"), content)

    # Act and assert
    assert (await passes.run()).startswith("damaged mirror/app: v1: ")
    assert not target.pointers


async def test_a_manifest_that_cannot_be_read_is_a_problem(passes, target):
    # Arrange
    passes.upstream.add_manifest(ORIGIN, b'{"schemaVersion": 1}', media_types.DOCKER_SCHEMA1, "v1")

    # Act and assert
    assert "schema 1" in await passes.run()


async def test_an_immutable_tag_is_a_problem(passes, target):
    # Arrange
    first = passes.add_image("v1")
    await passes.run()
    target.immutable.add(V1)
    passes.add_image("v1", layers=[b"new"])

    # Act and assert
    assert await passes.run() == "incomplete mirror/app: v1: tag v1 is immutable"
    assert target.pointers == {(NAME, V1): first}


async def test_content_that_the_target_misses_is_named(passes, target):
    # Arrange
    passes.add_index("v1")

    # Act
    problems = await passes.run(**LINUX)

    # Assert
    assert "referenced blobs or manifests are missing: ['sha256:" in problems


async def test_a_deleted_tag_is_kept_or_followed(passes, target):
    # Arrange
    image = passes.add_image("v1", "v2")
    await passes.run()
    passes.upstream.remove_tag(ORIGIN, "v2")

    # Act
    await passes.run()
    kept = dict(target.pointers)
    await passes.run(follows_deletions=True)

    # Assert
    assert kept == {(NAME, V1): image, (NAME, V2): image}
    assert target.pointers == {(NAME, V1): image}
    assert (NAME, image) in target.manifests
    assert passes.progress.deleted == 1


async def test_a_tag_outside_the_rules_is_not_deleted(passes, target):
    # Arrange
    image = passes.add_image("v1")
    await passes.run()
    target.pointers[NAME, Tag("mine")] = image

    # Act
    await passes.run(rules=TagRules(glob=("v*",)), follows_deletions=True)

    # Assert
    assert (NAME, Tag("mine")) in target.pointers


async def test_nothing_is_deleted_if_the_list_is_empty_or_fails(passes, target):
    # Arrange
    passes.add_image("v1")
    await passes.run()

    async def no_tags(name, *, after=""):
        nothing: list[Tag] = []
        for tag in nothing:
            yield tag

    listing, passes.upstream.tags = passes.upstream.tags, no_tags

    # Act
    await passes.run(follows_deletions=True)
    passes.upstream.tags = listing
    passes.upstream.remove_tag(ORIGIN, "v1")
    problems = await passes.run(follows_deletions=True)

    # Assert
    assert problems.startswith("missing mirror/app: library/app: ")
    assert (NAME, V1) in target.pointers


async def test_a_tag_is_deleted_only_if_the_source_confirms_it(passes, target):
    # Arrange
    passes.add_image("v1", "v2")
    await passes.run()

    async def some_tags(name, *, after=""):
        yield V1

    passes.upstream.tags = some_tags

    # Act
    await passes.run(follows_deletions=True)

    # Assert
    assert (NAME, V2) in target.pointers
    assert passes.progress.extra == 1


async def test_a_tag_that_cannot_be_deleted_is_a_problem(passes):
    # Arrange
    passes.target = InMemoryRegistryTarget(deletes_tags=False)
    passes.add_image("v1", "v2")
    await passes.run()
    passes.upstream.remove_tag(ORIGIN, "v2")

    # Act and assert
    assert (await passes.run(follows_deletions=True)).endswith("v2: cannot be deleted: the registry deletes no tags")


async def test_a_dry_run_counts_and_writes_nothing(passes, target):
    # Arrange
    passes.add_image("v1", "v2")
    await passes.run()
    passes.upstream.remove_tag(ORIGIN, "v2")
    passes.add_index("multi", platforms=["linux/amd64"])
    before = (dict(target.blobs), dict(target.manifests), dict(target.pointers))

    # Act
    await passes.run(is_dry=True, follows_deletions=True)

    # Assert
    assert (target.blobs, target.manifests, target.pointers) == before
    assert (passes.progress.tags_copied, passes.progress.manifests_copied) == (1, 2)
    assert (passes.progress.blobs_sent, passes.progress.bytes_sent) == (1, len(b"layer of linux/amd64"))
    assert passes.progress.deleted == 1


async def test_a_blob_of_another_repository_is_mounted(passes, target):
    # Arrange
    passes.add_image("v1")
    other = RepositoryName("mirror/other")
    copy = passes.copy()
    request = image_copy.RepositoryCopyRequest(origin=ORIGIN, name=other)
    await copy.run(request)
    passes.upstream.asked.clear()

    # Act
    await copy.run(image_copy.RepositoryCopyRequest(origin=ORIGIN, name=NAME))

    # Assert
    assert "open_blob" not in passes.upstream.asked
    assert target.blobs[NAME, Digest.of(b"layer")] == b"layer"


async def test_a_dry_run_counts_a_blob_of_two_repositories_once(passes):
    # Arrange
    passes.add_image("v1")
    copy = passes.copy(is_dry=True)

    # Act
    for name in ("mirror/one", "mirror/two"):
        await copy.run(image_copy.RepositoryCopyRequest(origin=ORIGIN, name=RepositoryName(name)))

    # Assert
    assert (passes.progress.blobs_sent, passes.progress.blobs_present) == (2, 2)


async def test_repositories_are_listed_by_name(passes):
    # Arrange
    passes.add_image("v1")
    passes.upstream.add_manifest("other", image_manifest(), media_types.OCI_MANIFEST)

    # Act and assert
    assert await passes.copy().repositories(lambda name: name.startswith("library/")) == [ORIGIN]
    passes.upstream.has_catalog = False
    with pytest.raises(UpstreamAbsentError):
        await passes.copy().repositories(lambda _name: True)


async def test_a_blob_continues_where_the_connection_broke(passes, target):
    # Arrange
    layer = bytes(range(256)) * 1024
    passes.add_image("v1", layers=[layer])
    offsets: list[int] = []
    opening = passes.upstream.open_blob

    def open_blob(name, digest, *, offset=0, length=None):
        if digest == Digest.of(layer):
            passes.upstream.breaks_after = None if offsets else 100_000
            offsets.append(offset)
        return opening(name, digest, offset=offset, length=length)

    passes.upstream.open_blob = open_blob

    # Act
    await passes.run(blobs_at_once=1)

    # Assert
    assert target.blobs[NAME, Digest.of(layer)] == layer
    assert passes.progress.bytes_sent == len(layer) + 2
    assert passes.slept == [1.0]
    assert offsets == [0, 100_000]


async def test_a_registry_that_keeps_failing_stops_the_copy(passes):
    # Arrange
    passes.add_image("v1")
    passes.upstream.failure = UpstreamTimeoutError("no answer")

    # Act and assert
    with pytest.raises(UpstreamTimeoutError):
        await passes.run()
    assert passes.slept == [1.0, 5.0, 25.0]


async def test_a_failed_call_is_repeated(passes, target):
    # Arrange
    passes.add_image("v1")
    passes.upstream.failure = UpstreamUnavailableError("reset")
    sleep = passes.sleep

    async def recover(seconds):
        passes.upstream.failure = None
        await sleep(seconds)

    passes.sleep = recover

    # Act and assert
    assert not await passes.run()
    assert (NAME, V1) in target.pointers


async def test_a_busy_registry_is_given_the_time_it_asks_for(passes):
    # Arrange
    passes.add_image("v1")
    passes.upstream.failure = UpstreamBusyError("wait", retry_after=60)

    # Act and assert
    with pytest.raises(UpstreamBusyError):
        await passes.run()
    assert passes.slept == [60, 60, 60]


async def test_a_registry_that_is_busy_for_hours_stops_the_copy(passes):
    # Arrange
    passes.add_image("v1")
    passes.upstream.failure = UpstreamBusyError("wait", retry_after=21_600)

    # Act and assert
    with pytest.raises(UpstreamBusyError):
        await passes.run()
    assert passes.slept == []


@pytest.mark.parametrize("error", [StorageUnavailableError("the store failed"), UpstreamError("the target failed")])
async def test_a_target_that_fails_stops_the_copy(passes, target, error):
    # Arrange
    passes.add_image("v1")
    target.failure = error

    # Act and assert
    with pytest.raises(type(error)):
        await passes.run()
