"""Pages of lists in all orders: together they are the list, in both directions, and while pushes and deletes go on."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.model.access import OPEN
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from tests.http.test_hidden_repositories import serve
from tests.support.links import links_of
from tests.support.scripted_registry import IMAGES, LAYERS, ChangeOf, ScriptedChange, ScriptedRegistry

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

NAME = "team/app"
TAGS = ("1.0", "1.2", "1.10", "2.0-rc.1", "A", "_x", "latest", "v1", "v1.5")
REPOSITORIES = tuple(f"team/app-{number}" for number in range(7))
TAG_PATH = f"/v2/{NAME}/_sohu/registry/tags"
REPOSITORY_PATH = "/v2/_sohu/registry/repositories"
TAG_SORTS = ("name", "-name", "pushed", "-pushed", "pulled", "-pulled", "size", "-size", "semver", "-semver")
REPOSITORY_SORTS = ("name", "-name", "pushed", "-pushed", "size", "-size", "tags", "-tags")
LAYER = Digest.of(LAYERS[1])
"""A blob of some of the images."""
KINDS = st.sampled_from([ChangeOf.PUSH, ChangeOf.PUSH, ChangeOf.PUSH_INDEX, ChangeOf.DELETE_TAG, ChangeOf.DELETE_IMAGE])
IMAGE = st.integers(0, len(IMAGES) - 1)


def changes_of(repositories: Iterable[str], tags: Iterable[str]) -> st.SearchStrategy[ScriptedChange]:
    return st.builds(
        ScriptedChange,
        kind=KINDS,
        repository=st.sampled_from(list(repositories)),
        tag=st.sampled_from(list(tags)),
        image=IMAGE,
    )


class Pages:
    """Reads a list page by page."""

    def __init__(self, client: Any, path: str, member: str) -> None:
        self._client = client
        self._path = path
        self._member = member
        self.links: dict[str, str] = {}

    async def first(self, **query: object) -> list[str]:
        return await self._read(f"{self._path}?{'&'.join(f'{key}={value}' for key, value in query.items())}")

    async def follow(self, relation: str) -> list[str]:
        return await self._read(self.links[relation])

    async def _read(self, path: str) -> list[str]:
        async with self._client.get(path) as response:
            assert response.status == 200, await response.text()
            document = await response.json()
            self.links = links_of(response.headers.get("Link"))
        return [item.get("name") or f"{item['repository']}:{item.get('tag', '')}" for item in document[self._member]]


@asynccontextmanager
async def filled(changes: Sequence[ScriptedChange]) -> AsyncIterator[tuple[ScriptedRegistry, Any]]:
    """A registry after these changes, with a client."""
    registry = ScriptedRegistry()
    for position, change in enumerate(changes):
        await registry.carry_out(change, position)
    async with serve(registry, OPEN) as client:
        yield registry, client


async def tags_of(registry: ScriptedRegistry, name: str) -> dict[str, str]:
    links = registry.services.tag_links
    tags = await links.listed(RepositoryName(name))
    return {tag: digest for tag in tags if (digest := await links.resolve(RepositoryName(name), Tag(tag))) is not None}


def push_all(names: Iterable[str], tags: Sequence[str], numbers: Sequence[int]) -> list[ScriptedChange]:
    pairs = [(name, tag) for name in names for tag in tags]
    return [
        ScriptedChange(ChangeOf.PUSH, name, tag, numbers[index % len(numbers)])
        for index, (name, tag) in enumerate(pairs)
    ]


@pytest.mark.parametrize(
    ("path", "member", "sorts"), [(TAG_PATH, "tags", TAG_SORTS), (REPOSITORY_PATH, "repositories", REPOSITORY_SORTS)]
)
@settings(max_examples=8)
@given(numbers=st.lists(IMAGE, min_size=1, max_size=6), n=st.integers(1, 5))
async def test_pages_in_both_directions_are_the_list(
    path: str, member: str, sorts: Sequence[str], numbers: Sequence[int], n: int
) -> None:
    changes = push_all([NAME], TAGS, numbers) + push_all(REPOSITORIES, ["v1"], numbers)
    async with filled(changes) as (_, client):
        for sort in sorts:
            pages = Pages(client, path, member)
            whole = await pages.first(n=1000, sort=sort)
            assert not pages.links
            assert len(whole) == len(set(whole)) == (len(TAGS) if member == "tags" else len(REPOSITORIES) + 1)
            forward = [await pages.first(n=n, sort=sort)]
            assert "prev" not in pages.links
            while "next" in pages.links:
                forward.append(await pages.follow("next"))
            assert [name for page in forward for name in page] == whole, sort
            assert all(len(page) == n for page in forward[:-1])
            backward = [forward[-1]]
            while "prev" in pages.links:
                backward.append(await pages.follow("prev"))
            assert [name for page in backward[::-1] for name in page] == whole, sort


@settings(max_examples=40)
@given(
    numbers=st.lists(IMAGE, min_size=1, max_size=6),
    sort=st.sampled_from(TAG_SORTS),
    n=st.integers(1, 4),
    batches=st.lists(st.lists(changes_of([NAME], (*TAGS, "new", "0", "z")), max_size=3), max_size=8),
)
async def test_unchanged_tag_appears_once_while_others_change(
    numbers: Sequence[int], sort: str, n: int, batches: Sequence[Sequence[ScriptedChange]]
) -> None:
    async with filled(push_all([NAME], TAGS, numbers)) as (registry, client):
        pages = Pages(client, TAG_PATH, "tags")
        seen = await pages.first(n=n, sort=sort)
        unchanged, position = set(TAGS), 100
        for batch in batches:
            for change in batch:
                await registry.carry_out(change, position := position + 1)
                unchanged &= (await tags_of(registry, NAME)).keys()
                unchanged -= {change.tag} if change.kind is not ChangeOf.DELETE_IMAGE else set()
            if "next" not in pages.links or not await tags_of(registry, NAME):
                break
            seen += await pages.follow("next")
        else:
            while "next" in pages.links:
                seen += await pages.follow("next")
        if "next" not in pages.links:
            assert {tag: seen.count(tag) for tag in unchanged} == dict.fromkeys(unchanged, 1)


@settings(max_examples=15)
@given(
    numbers=st.lists(IMAGE, min_size=1, max_size=6),
    sort=st.sampled_from(REPOSITORY_SORTS),
    n=st.integers(1, 3),
    batches=st.lists(st.lists(changes_of((*REPOSITORIES, "a", "z"), ["v1", "v2"]), max_size=3), max_size=6),
)
async def test_unchanged_repository_appears_once_while_others_change(
    numbers: Sequence[int], sort: str, n: int, batches: Sequence[Sequence[ScriptedChange]]
) -> None:
    async with filled(push_all(REPOSITORIES, ["v1"], numbers)) as (registry, client):
        pages = Pages(client, REPOSITORY_PATH, "repositories")
        seen = await pages.first(n=n, sort=sort)
        unchanged, position = set(REPOSITORIES), 100
        for batch in batches:
            for change in batch:
                await registry.carry_out(change, position := position + 1)
                unchanged.discard(change.repository)
            if "next" in pages.links:
                seen += await pages.follow("next")
        while "next" in pages.links:
            seen += await pages.follow("next")
        assert {name: seen.count(name) for name in unchanged} == dict.fromkeys(unchanged, 1)


@settings(max_examples=15)
@given(
    numbers=st.lists(IMAGE, min_size=1, max_size=6),
    query=st.sampled_from(
        ["team", "tag:v1", "label:team=t0", "name:*/app-*", f"digest:{LAYER[:16]}", "platform:linux"]
    ),
    n=st.integers(1, 4),
    batches=st.lists(st.lists(changes_of((*REPOSITORIES, "a", "z"), ["v1", "v2"]), max_size=3), max_size=6),
)
async def test_unchanged_hit_appears_once_while_others_change(
    numbers: Sequence[int], query: str, n: int, batches: Sequence[Sequence[ScriptedChange]]
) -> None:
    async with filled(push_all(REPOSITORIES, ["v1", "v3"], numbers)) as (registry, client):
        pages = Pages(client, "/v2/_sohu/registry/search", "results")
        whole = await pages.first(n=1000, q=query)
        assert not pages.links
        assert len(whole) == len(set(whole))
        seen = await pages.first(n=n, q=query)
        changed, position = set[str](), 100
        for batch in batches:
            for change in batch:
                await registry.carry_out(change, position := position + 1)
                changed.add(change.repository)
            if "next" in pages.links:
                seen += await pages.follow("next")
        while "next" in pages.links:
            seen += await pages.follow("next")
        unchanged = [hit for hit in whole if hit.partition(":")[0] not in changed]
        assert [hit for hit in seen if hit in unchanged] == unchanged
