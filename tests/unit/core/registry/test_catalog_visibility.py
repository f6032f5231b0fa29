"""A catalog that hides names pages as if they were not there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.model.names import RepositoryName
from core.registry.catalog import CatalogService
from tests.support.core_services import CoreServices

NAMES = [RepositoryName(f"{kind}/{number:03}") for number in range(40) for kind in ("hidden", "shown")]


class CountingIndex(InMemoryCatalogIndex):
    """Counts how often it is asked for a page."""

    asked = 0

    async def page(self, *, after, limit):
        self.asked += 1
        return await super().page(after=after, limit=limit)


async def catalog_of(names):
    index = CountingIndex()
    for name in names:
        await index.add(name)
    return CatalogService(index, storage=CoreServices().storage), index


async def walk(catalog, n, sees):
    pages, last, has_more = [], "", True
    while has_more:
        page = await catalog.page(n, last, sees=sees)
        pages.append(list(page.items))
        last, has_more = (page.items[-1] if page.items else ""), page.has_more
    return pages


@given(visible=st.sets(st.sampled_from(NAMES)), n=st.integers(1, 50))
async def test_pages_hold_the_visible_names(visible, n):
    catalog, _ = await catalog_of(NAMES)
    expected = sorted(visible)
    pages = await walk(catalog, n, visible.__contains__)
    assert [name for page in pages for name in page] == expected
    assert pages == [expected[start : start + n] for start in range(0, max(len(expected), 1), n)]


@pytest.mark.parametrize(("n", "asked"), [(10, 1), (80, 1), (100, 1)])
async def test_without_a_filter_the_index_is_read_once(n, asked):
    catalog, index = await catalog_of(NAMES)
    await catalog.page(n, "")
    assert index.asked == asked


async def test_reading_stops_when_the_page_is_full():
    many = [RepositoryName(f"a{number:05}") for number in range(3000)]
    catalog, index = await catalog_of(many)
    page = await catalog.page(10, "", sees=lambda name: name.endswith("0"))
    assert (len(page.items), page.has_more, index.asked) == (10, True, 2)
