"""Lists of repositories with details."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.errors import InvalidInputError, NameUnknownError, PaginationInvalidError
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.registry.catalog import CatalogService
from core.summaries.changes import ChangeLog
from core.summaries.names import RepositoryNames
from core.summaries.namespaces import LevelQuery
from core.summaries.paging import Cut
from core.summaries.repository_list import UNKNOWN_MAX, RepositoryLists, RepositoryQuery
from core.summaries.service import RepositorySummary, RepositoryTable, SummaryService
from tests.support.core_services import NOW, CoreServices


def summary(name, tags=1, size=1, minutes=0, **members):
    pushed_at = NOW + timedelta(minutes=minutes)
    return RepositorySummary(name=RepositoryName(name), tags=tags, size=size, pushed_at=pushed_at, **members)


class Counting(SummaryService):
    """Summaries of repositories that exist, and a table; counts the questions."""

    def __init__(self, absent=(), known=(), *, is_complete=False):
        self.absent = set(absent)
        self.asked = []
        self.known = RepositoryTable(repositories={each.name: each for each in known}, is_complete=is_complete)

    async def table(self):
        return self.known

    async def repository(self, name, **_bounds):
        self.asked.append(name)
        if name in self.absent:
            raise NameUnknownError("unknown")
        return summary(name)


class Lists:
    """A list of repositories of an in-memory catalog, with or without names in memory."""

    def __init__(
        self, names, known=(), *, page_size_max=1000, absent=(), is_complete=False, in_memory_max=None, **options
    ):
        self.names = names
        self.index = InMemoryCatalogIndex()
        self.summaries = Counting(absent, known, is_complete=is_complete)
        storage = CoreServices().storage
        catalog = CatalogService(self.index, storage=storage, page_size_max=page_size_max)
        if in_memory_max is not None:
            options["names"] = RepositoryNames(
                catalog.page,
                log=ChangeLog(storage),
                clock=lambda: 0.0,
                page_size_max=page_size_max,
                names_max=in_memory_max,
            )
        self.lists = RepositoryLists(self.summaries, catalog=catalog.page, page_size_max=page_size_max, **options)

    async def page(self, *, sees=None, n=None, last="", before="", **query):
        for name in self.names:
            await self.index.add(RepositoryName(name))
        parsed = RepositoryQuery.parse(cut=Cut(n=n, last=last, before=before), **query)
        return await self.lists.page(parsed, sees=sees)

    async def shown(self, **query):
        return [item.name for item in (await self.page(**query)).items]

    async def all(self, *, n, **query):
        names, last = [], ""
        while True:
            page = await self.page(n=n, last=last, **query)
            names += [item.name for item in page.items]
            if page.following is None:
                return names
            last = page.following


async def test_pages_by_name_come_from_the_catalog_with_details():
    lists = Lists("abc", [summary("a", tags=3, size=7)])
    page = await lists.page(n=2)
    assert [item.as_json() for item in page.items] == [
        {"name": "a", "tags": 3, "size": 7, "pushed": "2026-11-24T03:47:56.123456Z"},
        {"name": "b", "tags": 1, "size": 1, "pushed": "2026-11-24T03:47:56.123456Z"},
    ]
    assert (page.previous, page.following, page.is_complete) == (None, "b", True)
    assert lists.summaries.asked == ["b"]
    page = await lists.page(n=2, last="b")
    assert ([item.name for item in page.items], page.previous, page.following) == (["c"], "c", None)


async def test_pages_by_name_go_backwards():
    lists = Lists("abcde", page_size_max=2)
    page = await lists.page(n=2, before="e")
    assert ([item.name for item in page.items], page.previous, page.following) == (["c", "d"], "c", "d")
    page = await lists.page(n=2, before="c")
    assert ([item.name for item in page.items], page.previous, page.following) == (["a", "b"], None, "b")
    page = await lists.page(n=2, before="z")
    assert ([item.name for item in page.items], page.following) == (["d", "e"], None)
    page = await lists.page(n=0, before="c")
    assert (page.items, page.previous, page.following) == ([], None, None)
    assert await lists.shown(n=0) == []
    assert await lists.shown(last="e") == []


KNOWN = [
    summary("a", tags=2, size=30, minutes=1),
    summary("b", tags=3, size=10, minutes=3),
    summary("c", tags=1, size=20, minutes=2),
]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("-name", "dcba"),
        ("pushed", "acbd"),
        ("-pushed", "bcad"),
        ("size", "bcad"),
        ("-size", "acbd"),
        ("tags", "cabd"),
        ("-tags", "bacd"),
    ],
)
@pytest.mark.parametrize("n", [1, 3, 9])
@pytest.mark.parametrize("in_memory_max", [None, 3, 9])
async def test_orders(sort, expected, n, in_memory_max):
    lists = Lists("abcd", KNOWN, absent="d", in_memory_max=in_memory_max)
    assert await lists.all(n=n, sort=sort) == list(expected)
    assert await lists.all(n=n, sort=sort) == list(expected)
    visible = [name for name in expected if name != "b"]
    assert await lists.all(n=n, sort=sort, sees=lambda name: name != "b") == visible


async def test_an_order_follows_the_names_and_the_table():
    lists = Lists("abc", KNOWN, in_memory_max=9)
    assert await lists.shown(sort="-size") == ["a", "c", "b"]
    assert await lists.shown(sort="size") == ["b", "c", "a"]
    changed = summary("b", size=99)
    lists.summaries.known = RepositoryTable(
        repositories={**lists.summaries.known.repositories, changed.name: changed}, is_complete=True
    )
    assert await lists.shown(sort="size") == ["c", "a", "b"]
    lists.names = "abcd"
    assert await lists.shown(sort="-name") == ["c", "b", "a"]
    lists.lists.note(RepositoryName("d"))
    assert await lists.shown(sort="-name") == ["d", "c", "b", "a"]


@pytest.mark.parametrize("in_memory_max", [None, 2, 9])
async def test_a_reader_returns_the_visible_names(in_memory_max):
    lists = Lists("abcde", in_memory_max=in_memory_max, page_size_max=2)
    await lists.page()
    read = lists.lists.reader(sees=lambda name: name != "c")
    assert await read(2, "") == Page(items=["a", "b"], has_more=True)
    assert (await read(9, "b")).items == ["d", "e"]
    lists.lists.note(RepositoryName("x"))


async def test_an_order_is_complete_if_all_details_are_known():
    assert (await Lists("abc", KNOWN).page(sort="size")).is_complete
    assert not (await Lists("abcd", KNOWN).page(sort="size", n=1)).is_complete
    partly = [*KNOWN, summary("d", size=5, is_complete=False)]
    lists = Lists("abcd", partly)
    page = await lists.page(sort="size")
    assert [item.name for item in page.items] == ["b", "c", "a", "d"]
    assert not page.is_complete
    assert "size" not in page.items[-1].as_json()
    assert not (await lists.page()).is_complete


async def test_repositories_without_tags_have_no_push():
    empty = RepositorySummary(name=RepositoryName("d"), tags=0, size=0, pushed_at=None)
    page = await Lists("abcd", [*KNOWN, empty]).page(sort="-pushed")
    assert page.items[-1].as_json() == {"name": "d", "tags": 0, "size": 0}
    assert page.is_complete


async def test_names_of_deleted_repositories_have_no_tags():
    lists = Lists(["a", "x"], KNOWN, absent=["x"])
    page = await lists.page()
    assert page.items[1].as_json() == {"name": "x", "tags": 0, "size": 0}
    assert page.is_complete
    assert lists.summaries.asked == ["x"]
    lists = Lists(["a", "x"], KNOWN, is_complete=True)
    page = await lists.page(sort="-tags")
    assert page.items[1].as_json() == {"name": "x", "tags": 0, "size": 0}
    assert (page.is_complete, lists.summaries.asked) == (True, [])


async def test_few_unknown_repositories_are_read():
    lists = Lists([f"r{number:02}" for number in range(30)])
    page = await lists.page()
    assert len(lists.summaries.asked) == UNKNOWN_MAX
    assert (len(page.items), page.is_complete) == (30, False)
    assert page.items[-1].as_json() == {"name": "r29"}


async def test_text_selects_by_a_part_of_the_name():
    lists = Lists(["team/web", "team/app", "web"])
    assert await lists.shown(text="WEB") == ["team/web", "web"]
    assert await lists.shown(text="m/a", sort="-name") == ["team/app"]
    assert await lists.shown(text="web", sees=lambda name: name != "web") == ["team/web"]


async def test_only_a_bounded_number_of_repositories_is_sorted():
    for in_memory_max in (None, 9):
        page = await Lists("abc", KNOWN, names_max=2, in_memory_max=in_memory_max).page(sort="-size")
        assert ([item.name for item in page.items], page.is_complete) == (["a", "b"], False)


async def test_malformed_queries_are_refused():
    with pytest.raises(InvalidInputError):
        RepositoryQuery.parse(text="a" * 256)
    with pytest.raises(InvalidInputError):
        RepositoryQuery.parse(sort="pulled")
    for sort in ("name", "size"):
        with pytest.raises(PaginationInvalidError):
            await Lists("a", page_size_max=10).page(n=11, sort=sort)


SUMMARIES = st.dictionaries(
    st.sampled_from("abcdefgh"), st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
)


@given(
    SUMMARIES,
    SUMMARIES,
    st.sampled_from(["name", "-name", "pushed", "-pushed", "size", "-size", "tags", "-tags"]),
    st.integers(1, 4),
)
async def test_hidden_repositories_change_nothing(visible, hidden, sort, n):
    """The pages equal those of a registry without the hidden repositories, with all markers."""

    def known(prefix, values):
        return [
            summary(f"{name}-{prefix}", tags=tags, size=size, minutes=minutes)
            for name, (tags, size, minutes) in values.items()
        ]

    seen, others = known("v", visible), known("h", hidden)
    both = Lists([each.name for each in seen + others], seen + others, in_memory_max=9)
    alone = Lists([each.name for each in seen], seen)
    last = ""
    while True:
        mixed = await both.page(sort=sort, n=n, last=last, sees=lambda name: name.endswith("-v"))
        assert mixed == await alone.page(sort=sort, n=n, last=last)
        if mixed.following is None:
            return
        last = mixed.following


async def test_level_sums_up_the_visible_repositories():
    lists = Lists(["a/x", "a/y", "b", "hidden/z", "c"], [summary("a/x", size=7), summary("hidden/z", size=1000)])
    await lists.page()
    lists.summaries.asked.clear()
    page = await lists.lists.level(LevelQuery(), sees=lambda name: not name.startswith("hidden"))
    assert [(each.name, each.totals.size) for each in page.namespaces] == [("a", 7)]
    assert [item.name for item in page.repositories] == ["b", "c"]
    assert (page.totals.repositories, page.totals.size, page.totals.is_complete) == (4, 7, False)
    assert (page.number, page.pages, page.is_complete) == (1, 1, True)
    assert lists.summaries.asked == ["b", "c"]


async def test_level_adds_up_a_limited_number_of_names():
    lists = Lists("abc", names_max=2)
    await lists.page()
    page = await lists.lists.level(LevelQuery(), sees=None)
    assert page.totals.repositories == 2
    assert not page.is_complete
