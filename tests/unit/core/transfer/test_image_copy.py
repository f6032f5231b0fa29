"""Copies between registries: what is copied, in which order, and what an unchanged tag costs."""

import json

import pytest

from adapters.registry_target.memory import InMemoryRegistryTarget
from core.model import media_types
from core.model.digest import Digest
from core.model.names import Tag
from core.transfer import fallback_tags, image_copy
from core.transfer.mirror_rules import ReferrerCopies, TagRules
from tests.support.image_copies import NAME, ORIGIN, CopyPasses

V1, V2 = Tag("v1"), Tag("v2")
LINUX = {"wants_platform": lambda platform: platform in {None, ("linux", "amd64")}}


@pytest.fixture
def target():
    return InMemoryRegistryTarget()


@pytest.fixture
def passes(target):
    return CopyPasses(target)


async def test_the_chosen_tags_are_copied_with_their_images(passes, target):
    # Arrange
    image = passes.add_image("v1", "v2", "other")
    index = passes.add_index("multi")

    # Act
    problems = await passes.run(rules=TagRules(glob=("v*", "multi")))

    # Assert
    assert not problems
    assert target.pointers == {(NAME, V1): image, (NAME, V2): image, (NAME, Tag("multi")): index}
    assert target.manifests[NAME, image].content == (await passes.upstream.manifest(ORIGIN, image)).content
    assert (passes.progress.tags_copied, passes.progress.manifests_copied) == (3, 4)
    # `{}` and three layers; each is sent once.
    assert (passes.progress.blobs_sent, passes.progress.blobs_present) == (4, 2)


async def test_an_unchanged_tag_costs_one_question(passes, target):
    # Arrange
    passes.add_image("v1")
    await passes.run()
    target.asked.clear()

    # Act
    await passes.run()

    # Assert
    assert passes.upstream.asked == {"tags": 1, "resolve": 1}
    assert target.asked == {"resolve": 1}
    assert passes.progress.changes == 0


async def test_a_moved_tag_sends_only_new_blobs(passes, target):
    # Arrange
    passes.add_image("v1", layers=[b"base", b"old"])
    await passes.run()
    moved = passes.add_image("v1", layers=[b"base", b"new"])

    # Act
    await passes.run()

    # Assert
    assert target.pointers[NAME, V1] == moved
    assert (passes.progress.blobs_sent, passes.progress.bytes_sent) == (1, 3)


async def test_a_second_tag_of_a_copied_image_sends_no_blob(passes, target):
    # Arrange
    image = passes.add_image("v1")
    await passes.run()
    passes.add_image("v2")

    # Act
    await passes.run()

    # Assert
    assert target.pointers[NAME, V2] == image
    assert "open_blob" not in passes.upstream.asked
    assert target.asked["has_blob"] == 2


async def test_a_recheck_restores_what_the_target_lost(passes, target):
    # Arrange
    passes.add_image("v1")
    await passes.run()
    del target.blobs[NAME, Digest.of(b"layer")]

    # Act
    await passes.run(rechecks=True)

    # Assert
    assert target.blobs[NAME, Digest.of(b"layer")] == b"layer"


async def test_one_named_tag_needs_no_list(passes, target):
    # Arrange
    passes.add_image("v1", "v2")

    # Act
    problems = await passes.run(tag="v1")

    # Assert
    assert not problems
    assert set(target.pointers) == {(NAME, V1)}
    assert "tags" not in passes.upstream.asked


async def test_one_named_digest_is_copied_without_or_with_a_tag(passes, target):
    # Arrange
    image = passes.add_image("v1")

    # Act
    await passes.run(digest=image)
    without = dict(target.pointers)
    await passes.run(digest=image, tag="here")

    # Assert
    assert not without
    assert target.pointers == {(NAME, Tag("here")): image}


async def test_a_named_tag_that_is_missing_is_a_problem(passes):
    # Arrange
    passes.add_image("v1")

    # Act and assert
    assert (await passes.run(tag="v2")).startswith("missing mirror/app: v2: ")


async def test_a_tag_that_is_deleted_after_the_list_is_left_out(passes, target):
    # Arrange
    passes.add_image("v1", "v2")
    listing = passes.upstream.tags

    async def tags(name, *, after=""):
        found = [tag async for tag in listing(name, after=after)]
        passes.upstream.remove_tag(ORIGIN, "v2")
        for tag in found:
            yield tag

    passes.upstream.tags = tags

    # Act and assert
    assert not await passes.run()
    assert set(target.pointers) == {(NAME, V1)}


async def test_chosen_platforms_are_copied(passes):
    # Arrange
    target = passes.target = InMemoryRegistryTarget(requires_children=False)
    index = passes.add_index("multi")
    passes.add_index("windows", platforms=["windows/amd64"])

    # Act
    problems = await passes.run(**LINUX)

    # Assert
    assert target.pointers == {(NAME, Tag("multi")): index}
    assert (NAME, Digest.of(b"layer of linux/amd64")) in target.blobs
    assert (NAME, Digest.of(b"layer of linux/arm64")) not in target.blobs
    assert problems == "incomplete mirror/app: windows: the image has none of the platforms to copy"


async def test_an_image_of_an_index_is_read_once(passes, target):
    # Arrange
    passes.add_index("a", platforms=["linux/amd64"])
    passes.add_index("b")
    passes.add_image("c", layers=[b"layer of linux/amd64"])

    # Act
    await passes.run(rechecks=True)

    # Assert
    assert len(target.pointers) == 3
    # Two indexes and two images; the image with a tag of its own once more, for the tag.
    assert passes.upstream.asked["manifest"] == 5
    assert passes.upstream.asked["referrers"] == 4


async def test_an_empty_blob_costs_no_request(passes, target):
    # Arrange
    passes.add_image("v1", layers=[b""])

    # Act
    await passes.run()

    # Assert
    assert target.blobs[NAME, Digest.of(b"")] == b""
    assert passes.upstream.asked["open_blob"] == 1


async def test_referrers_are_copied_before_the_tag(passes, target):
    # Arrange
    image = passes.add_image("v1")
    signature = passes.add_referrer(image)
    note = passes.add_referrer(signature)

    # Act
    await passes.run()

    # Assert
    assert [digest for _, digest in target.manifests] == [note, signature, image]
    assert passes.progress.manifests_copied == 3


async def test_referrers_that_came_later_are_found_if_wanted(passes, target):
    # Arrange
    image = passes.add_image("v1", "v2")
    await passes.run()
    signature = passes.add_referrer(image)

    # Act
    await passes.run()
    without = (NAME, signature) in target.manifests
    await passes.run(referrers=ReferrerCopies.ALWAYS)

    # Assert
    assert not without
    assert (NAME, signature) in target.manifests
    assert passes.upstream.asked["manifest"] == 1


async def test_a_new_tag_of_an_old_image_finds_its_late_referrers(passes, target):
    # Arrange
    image = passes.add_image("v1")
    await passes.run()
    passes.add_image("v2")
    signature = passes.add_referrer(image)

    # Act
    await passes.run(rules=TagRules(glob=("v2",)), referrers=ReferrerCopies.ALWAYS)

    # Assert
    assert (NAME, signature) in target.manifests


async def test_referrers_can_be_left_out(passes, target):
    # Arrange
    image = passes.add_image("v1")
    passes.add_referrer(image)
    passes.add_image(f"sha256-{image.encoded}.sig", layers=[b"signature"])

    # Act
    await passes.run(rules=TagRules(glob=("v1",)), referrers=ReferrerCopies.NONE)

    # Assert
    assert set(target.manifests) == {(NAME, image)}


async def test_the_signature_tags_of_a_copied_image_are_copied(passes, target):
    # Arrange
    image = passes.add_image("v1")
    index = passes.add_index("multi", platforms=["linux/amd64"])
    child = next(digest for name, digest in passes.upstream.manifests() if digest not in {image, index})
    signature = passes.add_image(f"sha256-{child.encoded}.sig", layers=[b"signature"])
    passes.add_image("sha256-" + "0" * 64 + ".sig", layers=[b"other"])

    # Act
    await passes.run(rules=TagRules(glob=("multi",)))

    # Assert
    assert target.pointers == {
        (NAME, Tag("multi")): index,
        (NAME, Tag(f"sha256-{child.encoded}.sig")): signature,
    }


async def test_a_target_without_referrers_gets_a_fallback_tag(passes):
    # Arrange
    target = passes.target = InMemoryRegistryTarget(lists_referrers=False)
    image = passes.add_image("v1")
    first = passes.add_referrer(image)
    await passes.run()
    about = {"mediaType": media_types.OCI_MANIFEST, "digest": image, "size": 2}
    second = passes.add_image(layers=[b"sbom"], subject=about, artifactType="application/vnd.example.sbom")

    # Act
    await passes.run(referrers=ReferrerCopies.ALWAYS)
    await passes.run(rechecks=True)

    # Assert
    index = await target.read_manifest(NAME, Tag(f"sha256-{image.encoded}"))
    assert index is not None
    entries = json.loads(index.content)["manifests"]
    assert [entry["digest"] for entry in entries] == [first, second]
    assert entries[1]["artifactType"] == "application/vnd.example.sbom"


async def test_a_full_fallback_tag_is_a_problem(passes, monkeypatch):
    # Arrange
    monkeypatch.setattr(fallback_tags, "_FALLBACK_ENTRIES_MAX", 1)
    passes.target = InMemoryRegistryTarget(lists_referrers=False)
    image = passes.add_image("v1")
    passes.add_referrer(image)
    passes.add_image(layers=[b"more"], subject={"mediaType": media_types.OCI_MANIFEST, "digest": image, "size": 2})

    # Act and assert
    assert "fallback tag lists more than 1" in await passes.run()


async def test_too_many_referrers_are_a_problem(passes, monkeypatch):
    # Arrange
    monkeypatch.setattr(image_copy, "_REFERRERS_MAX", 0)
    passes.add_referrer(passes.add_image("v1"))

    # Act and assert
    assert "more than 0 referrers" in await passes.run()


async def test_too_many_tags_are_a_problem(passes, target, monkeypatch):
    # Arrange
    monkeypatch.setattr(image_copy, "TAGS_MAX", 1)
    passes.add_image("v1", "v2")

    # Act and assert
    assert "more than 1 tags" in await passes.run()
    assert not target.pointers


async def test_endless_referrers_are_a_problem(passes, target):
    # Arrange
    subject = passes.add_image("v1")
    for _ in range(9):
        subject = passes.add_referrer(subject)

    # Act and assert
    assert "nested more than 8 levels" in await passes.run()
    assert not target.pointers
