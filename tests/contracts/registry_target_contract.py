"""Contract of every registry that images are copied to."""

import pytest

from core.errors import DigestMismatchError, ManifestBlobUnknownError, UpstreamUnavailableError
from core.model import media_types
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.registry_target import NewManifest
from tests.support.content import image_manifest

NAME, OTHER = RepositoryName("team/app"), RepositoryName("team/other")
LAYER = bytes(range(256)) * 2048
V1, V2 = Tag("v1"), Tag("v2")


def described(content):
    return Descriptor(media_type=media_types.OCTET_STREAM, digest=Digest.of(content), size=len(content))


def reading(content, *, breaks_at=None, offsets=None):
    """Return a function that yields a content from an offset, up to a position where the source fails."""

    async def read_from(offset):
        if offsets is not None:
            offsets.append(offset)
        while offset < len(content):
            if breaks_at is not None and offset >= breaks_at:
                raise UpstreamUnavailableError("the source failed")
            yield content[offset : offset + 65_536]
            offset += 65_536

    return read_from


def manifest(*layers, **members):
    content = image_manifest(b"{}", list(layers), **members)
    return NewManifest(content=content, media_type=media_types.OCI_MANIFEST, digest=Digest.of(content))


class RegistryTargetContract:
    """Subclasses provide `target`, an open adapter of an empty registry."""

    @pytest.fixture
    def target(self):
        raise NotImplementedError

    async def put(self, target, *layers, tags=(), name=NAME):
        for content in (b"{}", *layers):
            await target.put_blob(name, described(content), reading(content))
        image = manifest(*layers)
        await target.put_manifest(name, image, tags)
        return image

    async def test_an_unknown_repository_has_nothing(self, target):
        assert await target.resolve(NAME, V1) is None
        assert await target.resolve(NAME, Digest.of(b"x")) is None
        assert await target.read_manifest(NAME, V1) is None
        assert not await target.has_blob(NAME, Digest.of(b"x"))
        assert [tag async for tag in target.tags(NAME)] == []

    @pytest.mark.parametrize("content", [b"", b"small", LAYER])
    async def test_a_blob_is_stored(self, target, content):
        await target.put_blob(NAME, described(content), reading(content))
        await target.put_blob(NAME, described(content), reading(content))
        assert await target.has_blob(NAME, Digest.of(content))

    async def test_a_blob_with_other_bytes_is_refused(self, target):
        wrong = LAYER[:-1] + b"?"
        with pytest.raises(DigestMismatchError):
            await target.put_blob(NAME, described(LAYER), reading(wrong))
        assert not await target.has_blob(NAME, Digest.of(LAYER))
        await target.put_blob(NAME, described(LAYER), reading(LAYER))
        assert await target.has_blob(NAME, Digest.of(LAYER))

    async def test_an_error_of_the_source_is_raised_and_the_blob_can_be_sent_again(self, target):
        with pytest.raises(UpstreamUnavailableError, match="the source failed"):
            await target.put_blob(NAME, described(LAYER), reading(LAYER, breaks_at=200_000))
        assert not await target.has_blob(NAME, Digest.of(LAYER))
        await target.put_blob(NAME, described(LAYER), reading(LAYER))
        assert await target.has_blob(NAME, Digest.of(LAYER))

    async def test_a_blob_is_mounted_or_has_to_be_sent(self, target):
        await target.put_blob(OTHER, described(LAYER), reading(LAYER))
        is_mounted = await target.mount(NAME, Digest.of(LAYER), source=OTHER)
        assert await target.has_blob(NAME, Digest.of(LAYER)) is is_mounted
        assert not await target.mount(NAME, Digest.of(b"nowhere"), source=OTHER)
        assert not await target.mount(NAME, Digest.of(b"nowhere"), source=None)

    async def test_an_image_is_stored_with_its_tags(self, target):
        image = await self.put(target, b"layer", tags=[V1, V2])
        assert await target.resolve(NAME, V1) == image.digest
        assert await target.resolve(NAME, V2) == image.digest
        assert await target.resolve(NAME, image.digest) == image.digest
        assert await target.read_manifest(NAME, V1) == image
        assert sorted([tag async for tag in target.tags(NAME)]) == [V1, V2]

    async def test_a_manifest_without_a_tag_is_stored(self, target):
        image = await self.put(target, b"layer")
        assert await target.resolve(NAME, image.digest) == image.digest
        assert [tag async for tag in target.tags(NAME)] == []

    async def test_a_manifest_with_missing_blobs_is_refused(self, target):
        with pytest.raises(ManifestBlobUnknownError):
            await target.put_manifest(NAME, manifest(b"nowhere"), [V1])
        assert await target.resolve(NAME, V1) is None

    async def test_an_image_without_a_subject_is_not_a_referrer(self, target):
        image = await self.put(target, b"layer")
        assert await target.put_manifest(NAME, image)


class DeletingRegistryTargetContract(RegistryTargetContract):
    """For registries that delete tags and keep lists of referrers."""

    async def test_a_tag_is_deleted_without_its_manifest(self, target):
        image = await self.put(target, b"layer", tags=[V1, V2])
        await target.delete_tag(NAME, V1)
        assert await target.resolve(NAME, V1) is None
        assert await target.resolve(NAME, V2) == image.digest

    async def test_a_referrer_is_listed(self, target):
        image = await self.put(target, b"layer")
        about = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.content)}
        assert await target.put_manifest(NAME, manifest(b"layer", subject=about))

    async def test_an_unknown_tag_is_deleted_without_an_error(self, target):
        await self.put(target, b"layer", tags=[V1])
        await target.delete_tag(NAME, V2)
        assert [tag async for tag in target.tags(NAME)] == [V1]
