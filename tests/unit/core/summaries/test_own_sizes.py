"""Content that belongs to one image of a repository only."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.errors import NameUnknownError
from core.model.digest import Digest
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.summaries import own_sizes as module
from core.summaries.manifest_summary import ManifestSummary
from core.summaries.own_sizes import OwnSizes, own_sizes
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices

NAME, OTHER = RepositoryName("team/app"), RepositoryName("team/other")


def digest(number: int) -> Digest:
    return Digest.of(str(number).encode())


@given(st.dictionaries(st.integers(0, 5), st.dictionaries(st.integers(10, 20), st.integers(1, 9)), max_size=5))
def test_own_content_is_that_of_no_other_image(images):
    sizes = {number: 10 * number for number in range(10, 21)}
    contents = {image: {digest(each): sizes[each] for each in held} for image, held in images.items()}
    found = own_sizes(
        ManifestSummary(digest=digest(image), media_type=OCI_MANIFEST, contents=held)
        for image, held in contents.items()
    )
    for image, held in contents.items():
        others = {each for other, content in contents.items() if other != image for each in content}
        assert found[digest(image)] == sum(size for each, size in held.items() if each not in others)


@pytest.fixture
def services():
    return CoreServices()


@pytest.fixture
def summaries(services):
    return services.registry(InMemoryCatalogIndex()).summaries


@pytest.fixture
def sizes(summaries):
    return OwnSizes(summaries, offload=asyncio.to_thread)


@pytest.fixture
def known(summaries, sizes):
    """Return the own sizes, once the summaries are known."""

    async def find(name=NAME):
        await summaries.repository(name)
        return await sizes.of(name)

    return find


async def push(services, name, tag, *layers):
    for content in (b"{}", *layers):
        await services.push_blob(name, content)
    content = image_manifest(b"{}", layers)
    await services.manifests.put(name, content, OCI_MANIFEST, tags=[Tag(tag)])
    return Digest.of(content), len(content)


async def test_images_share_a_layer(services, sizes, known):
    first, first_size = await push(services, NAME, "v1", b"base", b"one")
    assert await sizes.of(NAME) == {}
    assert await known() == {first: first_size + len(b"{}baseone")}
    second, second_size = await push(services, NAME, "v2", b"base", b"three")
    found = await known()
    assert found == {first: first_size + 3, second: second_size + 5}
    assert await sizes.of(NAME) is found


async def test_unknown_repository(sizes):
    with pytest.raises(NameUnknownError):
        await sizes.of(NAME)


async def test_memory_is_bounded(services, sizes, known, monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED_MAX", 1)
    await push(services, NAME, "v1", b"a")
    await push(services, OTHER, "v1", b"a")
    first = await known()
    await known(OTHER)
    again = await sizes.of(NAME)
    assert again == first
    assert again is not first
