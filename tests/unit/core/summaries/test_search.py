"""The search: order, pages, bounds, and repositories that a caller does not see."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import PaginationInvalidError
from core.model.digest import Digest
from core.model.media_types import OCI_INDEX, OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.model.pagination import Page
from core.store import layout
from core.summaries import search
from core.summaries.changes import ChangeLog
from core.summaries.manifest_summary import ManifestSummary
from core.summaries.names import Names
from core.summaries.query import parse_query
from core.summaries.search import Hit, Search, SearchPage
from core.summaries.service import BUILT_MAX, RepositoryView, SummaryService
from tests.support.content import descriptor, image_manifest
from tests.support.core_services import NOW, CoreServices


class CountingSummaries(SummaryService):
    """Counts the repositories that are opened, and the manifests that are summarized."""

    def __init__(self, services: CoreServices) -> None:
        super().__init__(
            services.storage,
            services.tag_links,
            log=ChangeLog(services.storage),
            clock=services.clock,
            now=services.now,
            offload=services.offload,
        )
        self.opened: list[str] = []
        self.built = 0

    @override
    async def view(self, name: RepositoryName) -> RepositoryView:
        self.opened.append(name)
        return await super().view(name)

    @override
    async def describe(
        self, name: RepositoryName, digests: Collection[Digest], *, built_max: int = BUILT_MAX
    ) -> Mapping[Digest, ManifestSummary]:
        known = await super().describe(name, digests, built_max=0)
        found = await super().describe(name, digests, built_max=built_max)
        self.built += len(found) - len(known)
        return found


@pytest.fixture
def services() -> CoreServices:
    return CoreServices()


@pytest.fixture
def summaries(services: CoreServices) -> CountingSummaries:
    return CountingSummaries(services)


@pytest.fixture
def searching(summaries: CountingSummaries) -> Search:
    return Search(summaries)


async def push(
    services: CoreServices, name: str, *tags: str, labels: Mapping[str, str] | None = None, **members: Any
) -> Digest:
    repository = RepositoryName(name)
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "config": {"Labels": dict(labels or {})}, "tags": tags}
    ).encode()
    await services.push_blob(repository, config)
    manifest = image_manifest(config, **members)
    await services.manifests.put(repository, manifest, OCI_MANIFEST, tags=[Tag(tag) for tag in tags])
    return Digest.of(manifest)


async def push_many(services: CoreServices, name: str, count: int) -> None:
    """Push tags that point at manifests of their own, the cheapest way."""
    repository = RepositoryName(name)
    for number in range(count):
        manifest = image_manifest(b"{}", annotations={"number": str(number)})
        digest = Digest.of(manifest)
        await services.storage.write(layout.blob_data(digest), manifest)
        await services.storage.write(layout.revision_link(repository, digest), digest.encode())
        tag_link = layout.tag_current_link(repository, Tag(f"t{number:03}"))
        await services.storage.write(tag_link, digest.encode())


def names_of(*names: str, page_size: int = 1_000) -> Names:
    """Return the reader of a catalog with these names."""

    async def read(count: int, after: str) -> Page[RepositoryName]:
        behind = [RepositoryName(name) for name in sorted(names) if name > after]
        limit = min(count, page_size)
        return Page(items=behind[:limit], has_more=len(behind) > limit)

    return read


def texts(hits: Sequence[Hit]) -> list[str]:
    return [f"{hit.repository}:{hit.tag}" if hit.tag else hit.repository for hit in hits]


async def pages(searching: Search, text: str, names: Names, **options: Any) -> list[SearchPage]:
    found: list[SearchPage] = []
    last: str | None = ""
    while last is not None:
        found.append(await searching.page(parse_query(text), names=names, last=last, **options))
        last = found[-1].last
    return found


async def test_names_are_decided_without_opening_repositories(
    services: CoreServices, searching: Search, summaries: CountingSummaries
) -> None:
    await push(services, "team/web", "v1")
    await push(services, "team/worker", "v1")
    names = names_of("team/web", "team/worker")
    page = await searching.page(parse_query("name:web team"), names=names)
    assert page == SearchPage(hits=[Hit(repository=RepositoryName("team/web"), matched=("name",))], last=None)
    assert summaries.opened == []
    assert page.hits[0].as_json() == {"repository": "team/web", "matched": ("name",)}
    await searching.page(parse_query("name:web tag:v1"), names=names)
    assert summaries.opened == ["team/web"]


async def test_hits_have_all_members(services: CoreServices, searching: Search) -> None:
    digest = await push(services, "team/web", "v1", labels={"team": "x"}, artifactType="application/x")
    await push(services, "team/web", "v2", labels={"team": "y"})
    page = await searching.page(parse_query("name:web label:team=x"), names=names_of("team/web"))
    [hit] = page.hits
    size = hit.summary and hit.summary.size
    assert hit.as_json() == {
        "repository": "team/web",
        "tag": "v1",
        "digest": digest,
        "pushed": NOW.isoformat().replace("+00:00", "Z"),
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/x",
        "size": size,
        "platforms": [
            {"os": "linux", "architecture": "amd64", "digest": digest, "size": hit.summary and hit.summary.size}
        ],
        "matched": ("label:team", "name"),
    }
    assert page.last is None


async def test_tags_that_their_names_decide_have_details(services: CoreServices, searching: Search) -> None:
    await push(services, "a", "v1", "v2")
    page = await searching.page(parse_query("tag:v*"), names=names_of("a"))
    assert texts(page.hits) == ["a:v1", "a:v2"]
    assert all(hit.summary is not None for hit in page.hits)
    assert page.is_complete


async def test_blob_is_found_in_all_images(services: CoreServices, searching: Search) -> None:
    config = json.dumps({"config": {}}).encode()
    for name in ("a", "b"):
        await services.push_blob(RepositoryName(name), config)
        await services.manifests.put(RepositoryName(name), image_manifest(config), OCI_MANIFEST, tags=[Tag("v1")])
    await push(services, "c", "v1")
    page = await searching.page(parse_query(f"digest:{Digest.of(config).encoded[:12]}"), names=names_of("a", "b", "c"))
    assert texts(page.hits) == ["a:v1", "b:v1"]


async def test_index_is_found_by_the_labels_of_its_image(services: CoreServices, searching: Search) -> None:
    name = RepositoryName("a")
    image = await push(services, name, "linux", labels={"team": "x"})
    stored = await services.manifests.get(name, image)
    entry = descriptor(stored.content, OCI_MANIFEST, platform={"os": "linux", "architecture": "arm", "variant": "v7"})
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    await services.manifests.put(name, json.dumps(document).encode(), OCI_INDEX, tags=[Tag("all")])
    page = await searching.page(parse_query("label:team=x"), names=names_of("a"))
    assert texts(page.hits) == ["a:all", "a:linux"]
    [platform] = page.hits[0].as_json()["platforms"]
    assert (platform["variant"], platform["digest"]) == ("v7", image)
    facts = await searching.newest([name])
    assert facts[name].find("team") == "x"


async def test_index_without_its_first_image_is_searched(services: CoreServices, searching: Search) -> None:
    name = RepositoryName("a")
    image = await push(services, name, "linux", labels={"team": "x"})
    stored = await services.manifests.get(name, image)
    entries = [
        descriptor(content, OCI_MANIFEST, platform={"os": os, "architecture": "amd64"})
        for os, content in (("windows", b"an image that nobody copied"), ("linux", stored.content))
    ]
    document = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    digest = Digest.of(document)
    for key in (
        layout.blob_data(digest),
        layout.revision_link(name, digest),
        layout.tag_current_link(name, Tag("all")),
    ):
        await services.storage.write(key, document if key == layout.blob_data(digest) else digest.encode())
    page = await searching.page(parse_query("label:team=x"), names=names_of("a"))
    assert (texts(page.hits), page.is_complete) == (["a:all", "a:linux"], True)


async def test_pages_are_the_whole_list_in_order(services: CoreServices, searching: Search) -> None:
    names = ["a", "a-b", "a.b", "a/b", "b0", "c"]
    for name in names:
        await push(services, name, "v1", "v2", "v3")
    catalog = names_of(*names, page_size=2)
    whole = [f"{name}:v{number}" for name in sorted(names) for number in (1, 2, 3)]
    for n in (1, 2, 3, 4, 100):
        found = await pages(searching, "tag:v*", catalog, n=n)
        assert [text for page in found for text in texts(page.hits)] == whole
    found = await pages(searching, "name:a", catalog, n=1)
    assert [text for page in found for text in texts(page.hits)] == ["a", "a-b", "a.b", "a/b"]


@pytest.mark.parametrize(
    ("request_", "last"),
    [
        (("name:b", 1, False), None),
        (("name:*", 2, False), None),
        (("name:*", 1, False), "a"),
        (("tag:v*", 4, False), None),
        (("tag:v*", 3, False), "b:v1"),
        (("tag:v1", 2, False), "b:v1"),
        (("tag:v*", 2, False), "a:v2"),
        (("tag:v*", 2, True), None),
        (("tag:v*", 1, True), "a:v1"),
    ],
)
async def test_full_page_at_the_end_has_no_next_page(
    services: CoreServices, searching: Search, request_: tuple[str, int, bool], last: str | None
) -> None:
    for name in ("a", "b"):
        await push(services, name, "v1", "v2")
    text, n, first_only = request_
    page = await searching.page(parse_query(text), names=names_of("a", "b"), n=n, first_only=first_only)
    assert (len(page.hits), page.last) == (n, last)


async def test_search_continues_behind_a_deleted_repository(services: CoreServices, searching: Search) -> None:
    await push(services, "b", "v1", "v2")
    page = await searching.page(parse_query("tag:v*"), names=names_of("b"), last="a:v2")
    assert texts(page.hits) == ["b:v1", "b:v2"]
    page = await searching.page(parse_query("tag:v*"), names=names_of("a", "b"))
    assert texts(page.hits) == ["b:v1", "b:v2"]


@pytest.mark.parametrize("last", ["~", ":v1", "\ud800:x", "B:v1", "\x00:\x00", "z" * 300 + ":v1"])
async def test_any_position_is_answered(services: CoreServices, searching: Search, last: str) -> None:
    await push(services, "b", "v1")
    page = await searching.page(parse_query("tag:v1"), names=names_of("b"), last=last)
    assert set(texts(page.hits)) <= {"b:v1"}


async def test_page_size_is_bounded(searching: Search) -> None:
    query = parse_query("a")
    assert await searching.page(query, names=names_of("a"), n=0) == SearchPage(hits=(), last=None)
    with pytest.raises(PaginationInvalidError, match="between 0 and 1000"):
        await searching.page(query, names=names_of("a"), n=1_001)


async def test_repositories_opened_per_call_are_bounded(
    services: CoreServices, searching: Search, summaries: CountingSummaries
) -> None:
    names = [f"r{number:03}" for number in range(search.OPENED_MAX + 10)]
    await push(services, names[-1], "v1")
    first, second = await pages(searching, "tag:v1", names_of(*names))
    assert (first.hits, first.last) == ([], names[search.OPENED_MAX - 1])
    assert (texts(second.hits), second.last) == ([f"{names[-1]}:v1"], None)
    assert summaries.opened == names


async def test_names_compared_per_call_are_bounded(searching: Search) -> None:
    catalog = names_of(*(f"r{number}" for number in range(7)), page_size=2)
    found = await pages(searching, "name:r6", catalog, names_max=3)
    assert [(texts(page.hits), page.last) for page in found] == [([], "r3"), (["r6"], None)]


async def test_unknown_summaries_per_call_are_bounded(
    services: CoreServices, searching: Search, summaries: CountingSummaries
) -> None:
    await push_many(services, "a", search.BUILT_MAX + 50)
    first, second = await pages(searching, "annotation:number=249", names_of("a"))
    assert (first.hits, first.last) == ([], "a:t199")
    assert texts(second.hits) == ["a:t249"]
    assert summaries.built == search.BUILT_MAX + 50
    # Known ones cost nothing, so one call suffices.
    [page] = await pages(searching, "annotation:number=249", names_of("a"))
    assert (texts(page.hits), page.is_complete) == (["a:t249"], True)


async def test_details_per_call_are_bounded(
    services: CoreServices, searching: Search, summaries: CountingSummaries
) -> None:
    await push_many(services, "a", search.BUILT_MAX + 50)
    page = await searching.page(parse_query("tag:t*"), names=names_of("a"), n=1_000)
    assert (len(page.hits), page.is_complete) == (search.BUILT_MAX + 50, False)
    assert sum(hit.summary is not None for hit in page.hits) == search.BUILT_MAX == summaries.built
    unknown = next(hit for hit in page.hits if hit.summary is None)
    assert unknown.as_json().keys() == {"repository", "tag", "digest", "pushed", "matched"}


async def test_tags_per_call_are_bounded(
    services: CoreServices, searching: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "TAGS_MAX", 150)
    await push_many(services, "a", 250)
    await push_many(services, "b", 1)
    found = await pages(searching, "tag:t000", names_of("a", "b"))
    assert [(texts(page.hits), page.last) for page in found] == [(["a:t000"], "a:t159"), (["b:t000"], None)]


async def test_unreadable_manifests_make_a_page_incomplete(services: CoreServices, searching: Search) -> None:
    digest = await push(services, "a", "v1", labels={"team": "x"})
    await push(services, "a", "v2", labels={"team": "x"})
    await services.storage.write(layout.blob_data(digest), b"damaged")
    page = await searching.page(parse_query("label:team"), names=names_of("a"))
    assert (texts(page.hits), page.last, page.is_complete) == (["a:v2"], None, False)


async def test_one_hit_per_repository_is_enough_on_request(services: CoreServices, searching: Search) -> None:
    for name in ("a", "b"):
        await push(services, name, "v1", "v2")
    page = await searching.page(parse_query("tag:v*"), names=names_of("a", "b"), first_only=True)
    assert texts(page.hits) == ["a:v1", "b:v1"]
    page = await searching.page(parse_query(""), names=names_of("a", "b"), first_only=True)
    assert texts(page.hits) == ["a", "b"]


async def test_newest_tag_describes_its_repository() -> None:
    times = iter(datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 29))
    services = CoreServices(storage=InMemoryBlobStorage(now=lambda: next(times)))
    await push(services, "a", "z", labels={"d": "old"})
    await push(services, "a", "b", labels={"d": "new"})
    await push(services, "untagged")
    names = [RepositoryName(name) for name in ("a", "missing", "untagged")]
    facts = await Search(CountingSummaries(services)).newest(names)
    assert {name: each.find("d") for name, each in facts.items()} == {"a": "new"}


async def test_empty_catalog_has_no_hits(searching: Search) -> None:
    assert await searching.page(parse_query("a"), names=names_of()) == SearchPage(hits=[], last=None)
