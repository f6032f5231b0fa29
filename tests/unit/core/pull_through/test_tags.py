"""Tag lists of cached repositories: sources, pages, memory, and failing upstreams."""

from collections.abc import AsyncIterator, Sequence

import pytest

from adapters.upstream.memory import InMemoryUpstream
from core.errors import DeniedError, NameUnknownError, UpstreamBusyError, UpstreamUnavailableError
from core.model.names import RepositoryName, Tag
from core.pull_through.rules import TagListSource, UpstreamRules
from core.pull_through.tags import SECTION_MAX, CachedTags
from core.typing import override
from tests.support.cached_services import NAME, CachedServices, add_image
from tests.support.simulated_time import SimulatedTime

DOWN = UpstreamUnavailableError("docker.io cannot be reached")


def with_source(time: SimulatedTime, upstream: InMemoryUpstream, source: TagListSource) -> CachedServices:
    return CachedServices(time, upstream, rules=UpstreamRules(prefix="docker.io", tags=source))


async def listed(cache: CachedServices, *, n: int | None = None, last: str = "") -> list[str]:
    return list((await cache.tags.page(NAME, n=n, last=last)).items)


async def store(cache: CachedServices, *tags: str) -> None:
    """Store tags that the upstream does not list afterwards."""
    add_image(cache.upstream, *tags)
    for tag in tags:
        await cache.manifests.get(NAME, Tag(tag))
        cache.upstream.remove_tag("library/alpine", tag)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (TagListSource.UPSTREAM, ["b", "d"]),
        (TagListSource.MERGE, ["a", "b", "c", "d"]),
        (TagListSource.LOCAL, ["a", "c"]),
    ],
)
async def test_source_decides(
    time: SimulatedTime, upstream: InMemoryUpstream, source: TagListSource, expected: Sequence[str]
):
    cache = with_source(time, upstream, source)
    await store(cache, "a", "c")
    add_image(upstream, "b", "d")
    assert await listed(cache) == expected
    assert await listed(cache, last="b") == [tag for tag in expected if tag > "b"]
    assert await listed(cache, n=0) == []


@pytest.mark.parametrize("source", [TagListSource.UPSTREAM, TagListSource.MERGE])
async def test_pages_cost_one_question(time: SimulatedTime, upstream: InMemoryUpstream, source: TagListSource):
    cache = with_source(time, upstream, source)
    names = [f"v{number:03}" for number in range(50)]
    add_image(upstream, *names)
    await cache.manifests.get(NAME, Tag("v007"))
    found: list[str] = []
    has_more = True
    while has_more:
        page = await cache.tags.page(NAME, n=7, last=found[-1] if found else "")
        found += page.items
        has_more = page.has_more
    assert found == names
    assert upstream.asked["tags"] == 1
    time.pass_seconds(60)
    assert await listed(cache) == names
    assert upstream.asked["tags"] == 2


async def test_list_is_remembered_long_enough_for_its_pages(time: SimulatedTime, upstream: InMemoryUpstream):
    cache = CachedServices(time, upstream, rules=UpstreamRules(prefix="docker.io", recheck_seconds=0))
    add_image(upstream, "a", "b")
    for last in ("", "a", "b"):
        await listed(cache, n=1, last=last)
    assert upstream.asked["tags"] == 1


@pytest.mark.parametrize("source", [TagListSource.UPSTREAM, TagListSource.MERGE])
async def test_repository_without_tags_anywhere_is_unknown(
    time: SimulatedTime, upstream: InMemoryUpstream, source: TagListSource
):
    cache = with_source(time, upstream, source)
    for _ in range(3):
        with pytest.raises(NameUnknownError):
            await listed(cache)
    assert upstream.asked["tags"] == 1
    time.pass_seconds(30)
    add_image(upstream, "a")
    assert await listed(cache) == ["a"]


async def test_stored_tags_are_listed_without_a_question(cache: CachedServices, upstream: InMemoryUpstream):
    await store(cache, "a")
    add_image(upstream, "b")
    assert list((await cache.tags.stored_page(NAME, n=None, last="")).items) == ["a"]
    assert not upstream.asked["tags"]


async def test_stored_tags_are_merged_though_the_upstream_lacks_the_repository(cache: CachedServices):
    await store(cache, "a")
    assert await listed(cache) == ["a"]


async def test_failing_upstream_leaves_its_last_list(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    add_image(upstream, "a", "b")
    assert await listed(cache) == ["a", "b"]
    time.pass_seconds(3600)
    upstream.failure = DOWN
    for _ in range(3):
        assert await listed(cache) == ["a", "b"]
    assert upstream.asked["tags"] == 2


@pytest.mark.parametrize("source", [TagListSource.UPSTREAM, TagListSource.MERGE])
async def test_failing_upstream_leaves_the_stored_tags(
    time: SimulatedTime, upstream: InMemoryUpstream, source: TagListSource
):
    cache = with_source(time, upstream, source)
    await store(cache, "a", "b")
    upstream.failure = DOWN
    assert await listed(cache) == ["a", "b"]
    assert await listed(cache, n=1) == ["a"]


@pytest.mark.parametrize("failure", [DOWN, UpstreamBusyError("wait", retry_after=60)])
async def test_failing_upstream_makes_nothing_absent(
    cache: CachedServices, upstream: InMemoryUpstream, failure: UpstreamUnavailableError
):
    upstream.failure = failure
    for _ in range(3):
        with pytest.raises(type(failure)):
            await listed(cache)
    assert upstream.asked["tags"] == 1


async def test_last_answer_of_absence_is_no_list(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    with pytest.raises(NameUnknownError):
        await listed(cache)
    time.pass_seconds(30)
    upstream.failure = DOWN
    with pytest.raises(UpstreamUnavailableError):
        await listed(cache)


async def test_denied_repository_is_not_listed(time: SimulatedTime, upstream: InMemoryUpstream):
    cache = CachedServices(time, upstream, rules=UpstreamRules(prefix="docker.io", deny=("library/*",)))
    with pytest.raises(DeniedError):
        await listed(cache)
    with pytest.raises(DeniedError):
        cache.tags.require_listable(NAME)
    cache.tags.require_listable(RepositoryName("team/app"))


async def test_local_repository_is_listed_as_without_a_cache(cache: CachedServices, upstream: InMemoryUpstream):
    with pytest.raises(NameUnknownError):
        await cache.tags.page(RepositoryName("team/app"), n=None, last="")
    assert not upstream.asked
    await cache.tags.close()


class HugeUpstream(InMemoryUpstream):
    """Has more tags than are read at once, and counts those that were read."""

    read = 0
    ignores_after = False

    @override
    async def tags(self, name: str, *, after: str = "") -> AsyncIterator[Tag]:
        self._ask("tags")
        for number in range(2 * SECTION_MAX):
            tag = f"t{number:06}"
            if tag > after or self.ignores_after:
                self.read += 1
                yield Tag(tag)


def in_sections_of_100(time: SimulatedTime, upstream: InMemoryUpstream) -> CachedServices:
    cache = CachedServices(time, upstream)
    cache.tags = CachedTags(
        cache.storage,
        cache.tag_links,
        page_size_max=1000,
        origins=cache.origins,
        pauses=cache.pauses,
        clock=time.clock,
        section_max=100,
    )
    return cache


async def test_huge_list_is_read_in_sections(time: SimulatedTime):
    upstream = HugeUpstream("docker.io")
    cache = in_sections_of_100(time, upstream)
    add_image(upstream, "t000050x", "zzz")
    for tag in ("t000050x", "zzz"):
        await cache.manifests.get(NAME, Tag(tag))
    page = await cache.tags.page(NAME, n=None, last="")
    assert len(page.items) == 101
    assert page.has_more
    assert page.items[-1] == "t000099"
    last = ""
    found: list[str] = []
    for _ in range(12):
        page = await cache.tags.page(NAME, n=20, last=last)
        assert page.has_more
        found += page.items
        last = page.items[-1]
    expected = sorted([*(f"t{number:06}" for number in range(239)), "t000050x"])
    assert found == expected
    assert upstream.asked["tags"] <= 4
    assert (await cache.tags.page(NAME, n=None, last="t000010")).items[0] == "t000011"


async def test_upstream_that_ignores_the_start_cannot_loop(time: SimulatedTime):
    upstream = HugeUpstream("docker.io")
    upstream.ignores_after = True
    cache = in_sections_of_100(time, upstream)
    page = await cache.tags.page(NAME, n=None, last="t000099")
    assert (list(page.items), page.has_more) == ([], False)
    assert upstream.read == 2 * 101
