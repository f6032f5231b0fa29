"""This registry as the source of a copy: what it serves, and content that it lacks or has damaged."""

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from adapters.registry_target.memory import InMemoryRegistryTarget
from core.coordination.budget import Budget, Rates
from core.errors import ContentDamagedError, UpstreamAbsentError
from core.model import media_types
from core.model.digest import Digest
from core.model.events import UNNAMED
from core.model.names import RepositoryName, Tag
from core.registry.referrers import PAGE_SIZE_MAX
from core.store import layout
from core.transfer import store_source
from core.transfer.image_copy import CopyOptions, ImageCopy, RepositoryCopyRequest
from core.transfer.store_source import StoreSource
from core.transfer.tally import Tally, TransferProblem, TransferProgress
from tests.support.content import image_manifest
from tests.support.core_services import NOW, CoreServices

NAME = RepositoryName("team/app")
V1 = Tag("v1")


class Source:
    """A registry in memory as a source."""

    def __init__(self):
        self.services = CoreServices(storage=InMemoryBlobStorage(now=lambda: NOW))
        self.registry = self.services.registry(InMemoryCatalogIndex())
        self.source = StoreSource(self.registry)

    async def push(self, *tags, layers=(b"layer",), name=NAME, **members):
        for content in (b"{}", *layers):
            await self.services.push_blob(name, content)
        manifest = image_manifest(b"{}", list(layers), **members)
        digest = Digest.of(manifest)
        await self.registry.push_manifest(
            name, manifest, media_types.OCI_MANIFEST, by=UNNAMED, digest=digest, tags=[Tag(tag) for tag in tags]
        )
        return digest

    async def sign(self, subject, content):
        about = {"mediaType": media_types.OCI_MANIFEST, "digest": subject, "size": 2}
        return await self.push(layers=[content], subject=about)


@pytest.fixture
def stored():
    return Source()


async def test_an_image_is_copied_to_another_registry(stored):
    # Arrange
    image = await stored.push("v1", "v2")
    signature = await stored.sign(image, b"signature")
    target = InMemoryRegistryTarget()
    seen: list[TransferProgress] = []
    problems: list[TransferProblem] = []

    async def sleep(_seconds):
        raise AssertionError

    copy = ImageCopy(
        stored.source,
        target,
        options=CopyOptions(),
        tally=Tally(observe=seen.append, report=problems.append),
        budget=Budget(Rates(), clock=lambda: 0.0, sleep=sleep),
        sleep=sleep,
    )

    # Act
    async with stored.source, target:
        await copy.run(RepositoryCopyRequest(origin=NAME, name=NAME))

    # Assert
    assert not problems
    assert target.pointers == {(NAME, V1): image, (NAME, Tag("v2")): image}
    assert (NAME, signature) in target.manifests
    assert seen[-1].bytes_sent == len(b"{}" + b"layer" + b"signature")


async def test_lists_are_read_in_pages(stored, monkeypatch):
    # Arrange
    monkeypatch.setattr(store_source, "_PAGE", 1)
    monkeypatch.setattr(store_source, "_CATALOG_PAGE", 1)
    monkeypatch.setattr("core.registry.referrers.PAGE_SIZE_MAX", min(1, PAGE_SIZE_MAX))
    image = await stored.push("v1", "v2")
    signatures = {await stored.sign(image, b"1"), await stored.sign(image, b"2")}
    await stored.push(name=RepositoryName("other"))

    # Act and assert
    assert [tag async for tag in stored.source.tags(NAME)] == ["v1", "v2"]
    assert [tag async for tag in stored.source.tags(NAME, after="v1")] == ["v2"]
    assert {each.digest async for each in stored.source.referrers(NAME, image)} == signatures
    assert [name async for name in stored.source.repositories()] == ["other", NAME]
    await stored.source.check()


@pytest.mark.parametrize("name", [NAME, "Not A Name"])
async def test_absent_content_is_absent(stored, name):
    digest = Digest.of(b"x")
    with pytest.raises(UpstreamAbsentError):
        await stored.source.resolve(name, V1)
    with pytest.raises(UpstreamAbsentError):
        await stored.source.manifest(name, digest)
    with pytest.raises(UpstreamAbsentError):
        async with stored.source.open_blob(name, digest):
            pass
    with pytest.raises(UpstreamAbsentError):
        assert [tag async for tag in stored.source.tags(name)]


async def test_a_repository_without_tags_has_none(stored):
    await stored.push()
    assert [tag async for tag in stored.source.tags(NAME)] == []


async def test_damaged_content_is_absent(stored):
    # Arrange
    await stored.push("v1")
    digest = Digest.of(b"layer")
    await stored.services.storage.write(layout.blob_data(digest), b"cut")
    with pytest.raises(ContentDamagedError):
        await stored.services.read_blob(NAME, digest)

    # Act and assert
    with pytest.raises(UpstreamAbsentError, match="damaged"):
        async with stored.source.open_blob(NAME, digest):
            pass
