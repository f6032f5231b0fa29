"""The tree of namespaces, one level at a time."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInputError
from core.model.names import NAME_LENGTH_MAX, RepositoryName
from core.summaries.namespaces import LEVEL_PAGE_SIZE, Level, LevelQuery
from core.summaries.paging import Sorting
from core.summaries.repository_list import REPOSITORY_SORTS
from core.summaries.table import RepositorySummary
from tests.support.core_services import NOW


def summary(name, *, tags=1, size=1, minutes=0, is_complete=True):
    pushed_at = NOW + timedelta(minutes=minutes) if tags else None
    return RepositorySummary(
        name=RepositoryName(name), tags=tags, size=size, pushed_at=pushed_at, is_complete=is_complete
    )


def level_of(*summaries, at="", unknown=()):
    known = {each.name: each for each in summaries}
    level = Level(at, known.get)
    level.add([*known, *map(RepositoryName, unknown)])
    return level


def shown(level, sort="name", number=1):
    part = level.part(Sorting.parse(sort, REPOSITORY_SORTS), number)
    return [f"{each.name}/" for each in part.namespaces] + list(part.repositories)


TREE = (
    summary("team/web/front", tags=2, size=10, minutes=5),
    summary("team/web/back", size=20, minutes=1),
    summary("team/web", size=3),
    summary("team/app", tags=4, size=1, minutes=9),
    summary("public/nginx", size=500),
    summary("zoo", size=7),
    summary("alpine", size=40, minutes=2),
)


def test_root_shows_namespaces_first_then_repositories():
    level = level_of(*TREE)
    assert shown(level) == ["public/", "team/", "alpine", "zoo"]
    assert (level.totals.repositories, level.totals.tags, level.totals.size) == (7, 11, 581)
    assert level.totals.pushed_at == NOW + timedelta(minutes=9)
    team = level.part(Sorting("name"), 1).namespaces[1]
    assert (team.name, team.totals.repositories, team.totals.tags, team.totals.size) == ("team", 4, 8, 34)


def test_level_shows_what_lies_in_its_namespace_only():
    level = level_of(*TREE, at="team")
    assert shown(level) == ["team/web/", "team/app", "team/web"]
    assert level.totals.repositories == 4
    assert shown(level_of(*TREE, at="tea")) == []
    assert shown(level_of(*TREE, at="alpine")) == []


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("-name", ["team/", "public/", "zoo", "alpine"]),
        ("size", ["team/", "public/", "zoo", "alpine"]),
        ("-size", ["public/", "team/", "alpine", "zoo"]),
        ("-tags", ["team/", "public/", "alpine", "zoo"]),
        ("pushed", ["public/", "team/", "zoo", "alpine"]),
        ("-pushed", ["team/", "public/", "alpine", "zoo"]),
    ],
)
def test_both_parts_have_the_order(sort, expected):
    assert shown(level_of(*TREE), sort) == expected


def test_unknown_repositories_are_counted_and_make_sums_incomplete():
    level = level_of(summary("a/b", size=5), summary("a/d", size=9, is_complete=False), unknown=["a/c"], at="a")
    assert (level.totals.repositories, level.totals.tags, level.totals.size) == (3, 2, 14)
    assert not level.totals.is_complete
    assert shown(level, "-size") == ["a/b", "a/c", "a/d"]
    level = level_of(summary("a", tags=0, size=0))
    assert level.totals.pushed_at is None
    assert shown(level, "pushed") == ["a"]


def test_pages_cut_namespaces_and_repositories_as_one_list():
    spaces = [summary(f"n{number:03}/a") for number in range(LEVEL_PAGE_SIZE + 50)]
    level = level_of(*spaces, *(summary(f"r{number:03}") for number in range(60)))
    pages = [shown(level, number=number) for number in (1, 2, 3)]
    assert [len(page) for page in pages] == [LEVEL_PAGE_SIZE, LEVEL_PAGE_SIZE, 10]
    assert pages[1][49:51] == ["n149/", "r000"]
    part = level.part(Sorting("name"), 99)
    assert (part.number, part.pages, part.repositories[-1]) == (3, 3, "r059")
    assert level.part(Sorting("name"), 0).number == 1
    assert level_of().part(Sorting("name"), 1).pages == 1


@given(st.lists(st.sampled_from(["a", "a/b", "a/b/c", "a/c", "b", "b/a", "c/c/c", "a.b/c"]), unique=True))
def test_each_repository_is_counted_in_one_entry(names):
    level = level_of(*map(summary, names))
    part = level.part(Sorting("name"), 1)
    assert sum(each.totals.repositories for each in part.namespaces) + len(part.repositories) == len(names)
    expected = Counter(name.partition("/")[0] for name in names if "/" in name)
    assert {each.name: each.totals.repositories for each in part.namespaces} == expected


def test_namespace_of_a_query_is_bounded():
    assert LevelQuery(at="a" * NAME_LENGTH_MAX).number == 1
    with pytest.raises(InvalidInputError):
        LevelQuery(at="a" * (NAME_LENGTH_MAX + 1))
