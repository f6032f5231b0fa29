from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import NameUnknownError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.registry.tags import TagService
from core.store import layout
from core.store.links import Links
from core.store.tag_links import TagLinks
from tests.support.content import image_manifest
from tests.support.core_services import NOW

NAME = RepositoryName("a/b")
TAGS = ["1", "1-a", "1.2", "10", "A", "_", "a", "b"]


@pytest.fixture
async def tagged(services):
    await services.push_blob(NAME, b"{}")
    await services.manifests.put(
        NAME, image_manifest(), media_types.OCI_MANIFEST, tags=[Tag(tag) for tag in reversed(TAGS)]
    )


async def page(services, n=None, last=""):
    found = await services.tags.page(NAME, n=n, last=last)
    return list(found.items), found.has_more


@pytest.mark.usefixtures("tagged")
async def test_tags_come_in_byte_order(services):
    assert await page(services) == (sorted(TAGS), False)


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize("n", [1, 3, 4, 7, 8, 9])
async def test_pages_join_to_the_whole(services, n):
    seen, last, more = [], "", True
    while more:
        items, more = await page(services, n, last)
        assert len(items) == n or not more
        seen += items
        last = items[-1]
    assert seen == sorted(TAGS)


@pytest.mark.usefixtures("tagged")
async def test_last_need_not_exist(services):
    assert await page(services, last="1x") == (["A", "_", "a", "b"], False)
    assert await page(services, last="zzz/../") == ([], False)


@pytest.mark.usefixtures("tagged")
async def test_page_of_zero_is_empty(services):
    assert await page(services, 0) == ([], False)


@pytest.mark.usefixtures("tagged")
async def test_page_size_is_reduced_to_the_maximum(services):
    tags = TagService(services.storage, services.tag_links, page_size_max=3)
    found = await tags.page(NAME, n=100, last="")
    assert (list(found.items), found.has_more) == (sorted(TAGS)[:3], True)
    assert len((await tags.page(NAME, n=None, last="")).items) == len(TAGS)


async def test_names_that_are_no_tags_are_left_out_and_not_counted(services):
    for name in (".hidden", "-x", "v1", "v1.tmp-but-a-tag", "w" * 129, "x", "y"):
        await services.storage.write(f"{layout.tags(NAME)}/{name}/current/link", b"")
    assert await page(services, 3) == (["v1", "v1.tmp-but-a-tag", "x"], True)
    assert await page(services, 4) == (["v1", "v1.tmp-but-a-tag", "x", "y"], False)


class OnePage(InMemoryBlobStorage):
    """Fails if more than the first page of a listing is requested."""

    @override
    async def list_child_pages(self, prefix: str, *, after: str = "") -> AsyncIterator[Sequence[str]]:
        yield [".hidden", "a", "b"]
        raise AssertionError("a second page was requested")


async def test_page_that_is_full_requests_no_more():
    storage = OnePage(now=lambda: NOW)
    assert await TagLinks(storage, Links(storage)).listed(NAME, limit=2) == ["a", "b"]


@pytest.mark.parametrize("n", [None, 0, 1])
async def test_unknown_repository_is_unknown(services, n):
    with pytest.raises(NameUnknownError):
        await page(services, n)


@pytest.mark.parametrize("name", ["a", "a/b/c"])
async def test_repositories_below_do_not_make_a_repository(services, name):
    await services.push_blob(RepositoryName("a/b"), b"{}")
    with pytest.raises(NameUnknownError):
        await services.tags.page(RepositoryName(name), n=None, last="")


async def test_repository_without_tags_has_an_empty_list(services):
    await services.push_blob(NAME, b"{}")
    assert await page(services) == ([], False)
    assert await page(services, 0) == ([], False)


@pytest.mark.usefixtures("tagged")
async def test_illegal_tag_is_skipped(services):
    stray = f"{layout.tags(NAME)}/.hidden/current/link"
    await services.storage.write(stray, Digest.of(image_manifest()).encode())
    assert await page(services) == (sorted(TAGS), False)
    assert len(await services.tag_links.pointing_at(NAME, Digest.of(image_manifest()))) == len(TAGS)


@pytest.mark.usefixtures("tagged")
async def test_links_without_a_checksum_are_read(services, monkeypatch):
    """A folder has no checksums, and a link that an operator wrote with a newline has another one."""
    digest = Digest.of(image_manifest())
    await services.storage.write(layout.tag_current_link(NAME, Tag("a")), digest.encode() + b"\n")
    await services.storage.write(layout.tag_current_link(NAME, Tag("b")), Digest.of(b"another").encode())
    expected = sorted(set(TAGS) - {"b"})
    assert sorted(await services.tag_links.pointing_at(NAME, digest)) == expected

    walk = services.storage.walk

    async def walk_without_checksums(prefix):
        async for key, stat in walk(prefix):
            yield key, replace(stat, md5=None)

    monkeypatch.setattr(services.storage, "walk", walk_without_checksums)
    assert sorted(await services.tag_links.pointing_at(NAME, digest)) == expected
