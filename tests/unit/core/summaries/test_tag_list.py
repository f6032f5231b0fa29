"""Lists of tags with details."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.errors import InvalidInputError, NameUnknownError, PaginationInvalidError
from core.model import media_types
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.events import Actor
from core.model.globs import EVERYTHING
from core.model.names import RepositoryName, Tag
from core.model.pagination import Page
from core.registry.manifest_references import ManifestPolicy
from core.summaries.manifest_summary import ManifestSummary, PlatformSummary
from core.summaries.paging import Cut, Sorting
from core.summaries.service import RepositoryView, SummaryService, TagState
from core.summaries.tag_list import (
    PLATFORMS_MAX,
    REFERRER_PAGE_MAX,
    Platform,
    TagDetails,
    TagLists,
    TagQuery,
    TagSelection,
)
from tests.support.content import descriptor, image_manifest
from tests.support.core_services import NOW, CoreServices

NAME = RepositoryName("team/app")


class Times:
    """A clock that advances by a minute per reading."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        self.now += timedelta(minutes=1)
        return self.now


@pytest.fixture
def services():
    policy = ManifestPolicy(requires_blobs=False, is_immutable=lambda _name, tag: tag.startswith("v"))
    return CoreServices(storage=InMemoryBlobStorage(now=Times()), policy=policy, now=Times())


@pytest.fixture
def registry(services):
    return services.registry(InMemoryCatalogIndex())


def image(architecture="amd64", layers=1, **members):
    config = json.dumps({"os": "linux", "architecture": architecture, "created": "2026-01-02T03:04:05Z"}).encode()
    return config, image_manifest(config, [b"x" * (100 * layers)], **members)


async def push(registry, services, *tags, content=None, config=None):
    if content is None:
        config, content = image()
    if config is not None:
        await services.push_blob(NAME, config)
    names = [Tag(tag) for tag in tags]
    await registry.push_manifest(NAME, content, media_types.OCI_MANIFEST, by=Actor("alice"), tags=names)
    return Digest.of(content)


async def names(registry, *, cut=None, **query):
    page = await registry.tag_lists.page(NAME, TagQuery.parse(cut=cut, **query))
    return [item.tag for item in page.items]


async def test_tags_have_all_details(registry, services):
    config, content = image()
    digest = await push(registry, services, "v1", content=content, config=config)
    page = await registry.tag_lists.page(NAME, TagQuery())
    [item] = page.items
    assert page.is_complete
    size = len(content) + len(config) + 100
    platform = {"os": "linux", "architecture": "amd64", "digest": digest, "size": size}
    shown = item.as_json()
    assert shown.pop("pushed").startswith("2026-11-24T0")
    assert shown.pop("pushedBy", "alice") == "alice"
    assert shown == {
        "name": "v1",
        "digest": digest,
        "mediaType": media_types.OCI_MANIFEST,
        "size": size,
        "created": "2026-01-02T03:04:05Z",
        "platforms": [platform],
        "immutable": True,
    }


async def test_unknown_repository_has_no_list(registry):
    with pytest.raises(NameUnknownError):
        await registry.tag_lists.page(NAME, TagQuery())


async def test_orders(registry, services):
    for tag, layers in (("v1.10.0", 2), ("latest", 3), ("v1.9.0", 1)):
        config, content = image(layers=layers)
        await push(registry, services, tag, content=content, config=config)
    assert await names(registry) == ["latest", "v1.10.0", "v1.9.0"]
    assert await names(registry, sort="-name") == ["v1.9.0", "v1.10.0", "latest"]
    assert await names(registry, sort="pushed") == ["v1.10.0", "latest", "v1.9.0"]
    assert await names(registry, sort="-pushed") == ["v1.9.0", "latest", "v1.10.0"]
    assert await names(registry, sort="size") == ["v1.9.0", "v1.10.0", "latest"]
    assert await names(registry, sort="-semver") == ["v1.10.0", "v1.9.0", "latest"]
    assert await names(registry, sort="pulled") == ["latest", "v1.10.0", "v1.9.0"]


async def test_pulls_are_shown_and_ordered():
    summaries = Fixed("ab", pulls={Digest.of(b"b"): NOW})
    page = await lists_of(summaries).page(NAME, TagQuery.parse(sort="-pulled"))
    assert [(item.tag, item.pulled_at) for item in page.items] == [("b", NOW), ("a", None)]
    assert page.items[0].as_json()["pulled"] == "2026-11-24T03:47:56.123456Z"


async def test_filters(registry, services):
    await push(registry, services, "v1", "v2", "latest")
    config, content = image("arm64")
    await push(registry, services, "v3", content=content, config=config)
    assert await names(registry, glob="v*") == ["v1", "v2", "v3"]
    assert await names(registry, platform="linux/arm64") == ["v3"]
    assert await names(registry, platform="linux/arm64/v8", glob="v?") == ["v3"]
    assert await names(registry, platform="linux/arm64", glob="latest") == []
    assert await names(registry, sort="-name", glob="v*", cut=Cut(n=1, last="v2")) == ["v1"]


@pytest.mark.parametrize(
    ("asked", "architecture", "variant", "matches"),
    [
        ("linux/arm64", "arm64", "v8", True),
        ("linux/arm64/v8", "arm64", "", True),
        ("linux/arm64/v9", "arm64", "v8", False),
        ("linux/arm", "arm", "v6", True),
        ("linux/arm/v7", "arm", "", True),
        ("linux/arm/v6", "arm", "v7", False),
        ("linux/amd64", "arm64", "", False),
        ("windows/arm64", "arm64", "", False),
    ],
)
def test_platforms_match(asked, architecture, variant, matches):
    platform = PlatformSummary(os="linux", architecture=architecture, variant=variant, digest=Digest.of(b""), size=0)
    assert Platform.parse(asked).matches(platform) is matches


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "digest"},
        {"glob": "a b"},
        {"glob": "a" * 129},
        {"platform": "linux"},
        {"platform": "linux/"},
        {"platform": "linux/arm/v7/x"},
        {"platform": "linux/" + "a" * 128},
    ],
)
def test_malformed_query_is_refused(query):
    with pytest.raises(InvalidInputError):
        TagQuery.parse(**query)


async def test_marker_of_another_order_is_refused(registry, services):
    await push(registry, services, "v1")
    with pytest.raises(PaginationInvalidError):
        await names(registry, sort="size", cut=Cut(last="v1"))


async def test_referrers_are_listed_for_each_tag(registry, services):
    _, content = image()
    await push(registry, services, "v1", "v2")
    subject = descriptor(content, media_types.OCI_MANIFEST)
    signature = image_manifest(b"{}", subject=subject, artifactType="a/signature")
    await registry.push_manifest(NAME, signature, media_types.OCI_MANIFEST, by=Actor("alice"))
    page = await registry.tag_lists.page(NAME, TagQuery.parse(has_referrers=True))
    shown = [item.as_json()["referrers"] for item in page.items]
    assert [[(each["digest"], each["artifactType"]) for each in some] for some in shown] == [
        [(Digest.of(signature), "a/signature")]
    ] * 2
    assert page.is_complete


class Fixed(SummaryService):
    """Summaries of a repository with fixed tags, which counts the questions."""

    def __init__(self, tags, summaries=(), pulls=None):
        self.pulls = pulls or {}
        self.tags = {Tag(tag): TagState(digest=Digest.of(tag.encode()), pushed_at=NOW) for tag in sorted(tags)}
        self.summaries = {summary.digest: summary for summary in summaries}
        self.asked = []

    async def view(self, name):
        return RepositoryView(name=name, tags=self.tags, version=str(len(self.tags)))

    async def last_pulls(self, name):
        del name
        return self.pulls

    async def describe(self, name, digests, **_bounds):
        del name
        self.asked.append(len(digests))
        return {digest: self.summaries[digest] for digest in digests if digest in self.summaries}


async def no_referrers(_name, _subject, /, *, n):
    return Page(items=[])


def lists_of(summaries, referrers=no_referrers, **options):
    return TagLists(summaries, is_immutable=lambda *_: False, referrers=referrers, page_size_max=1000, **options)


def test_a_single_tag_is_asked_for_its_immutability(registry):
    assert registry.tag_lists.is_immutable(NAME, Tag("v1"))
    assert not registry.tag_lists.is_immutable(NAME, Tag("latest"))


def summary(tag, **members):
    return ManifestSummary(digest=Digest.of(tag.encode()), media_type="m", **members)


async def test_a_page_asks_for_its_own_tags_only():
    summaries = Fixed([f"{number:03}" for number in range(300)])
    page = await lists_of(summaries).page(NAME, TagQuery.parse(cut=Cut(n=10)))
    assert (len(page.items), summaries.asked) == (10, [10])
    assert not page.is_complete
    assert page.items[0].as_json().keys() == {"name", "digest", "pushed", "immutable"}


async def test_unknown_sizes_come_last_and_unknown_platforms_are_left_out():
    amd64 = PlatformSummary(os="linux", architecture="amd64", digest=Digest.of(b"b"), size=1)
    summaries = Fixed("abc", [summary("b", contents={Digest.of(b"b"): 5}, platforms=(amd64,))])
    page = await lists_of(summaries).page(NAME, TagQuery.parse(sort="size"))
    assert ([item.tag for item in page.items], page.is_complete) == (["b", "a", "c"], False)
    page = await lists_of(summaries).page(NAME, TagQuery.parse(platform="linux/amd64"))
    assert ([item.tag for item in page.items], page.is_complete) == (["b"], False)
    page = await lists_of(summaries).page(NAME, TagQuery.parse(platform="linux/amd64", glob="b"))
    assert page.is_complete


async def test_sorted_lists_are_remembered_within_a_bound():
    summaries = Fixed("abc")
    lists = lists_of(summaries, remembered_max=30)
    for number in range(80):
        page = await lists.page(RepositoryName(f"team/{number % 15}"), TagQuery.parse(sort="-pushed", cut=Cut(n=1)))
        assert [item.tag for item in page.items] == ["a"]
    summaries.tags = {Tag("new"): TagState(digest=Digest.of(b"new"), pushed_at=NOW)}
    page = await lists.page(RepositoryName("team/1"), TagQuery.parse(sort="-pushed"))
    assert [item.tag for item in page.items] == ["new"]


async def test_a_list_beyond_the_bound_is_sorted_each_time():
    lists = lists_of(Fixed("abc"), remembered_max=2)
    for _ in range(2):
        assert (await lists.page(NAME, TagQuery.parse(cut=Cut(n=1)))).following == "a"


def big_descriptor(size):
    return Descriptor(media_type="m", digest=Digest.of(b"r"), size=1, annotations={"a": "x" * size})


async def test_referrers_are_bounded_by_tags_and_bytes():
    asked = []

    async def referrers(_name, subject, /, *, n):
        asked.append((subject, n))
        return Page(items=[big_descriptor(100_000)], has_more=True)

    tags = [f"{number:03}" for number in range(90)]
    summaries = Fixed(tags, [summary(tag) for tag in tags])
    page = await lists_of(summaries, referrers).page(NAME, TagQuery.parse(has_referrers=True))
    assert len(page.items) == REFERRER_PAGE_MAX
    known = [item for item in page.items if item.referrers is not None]
    assert 35 < len(known) < 45
    assert not page.is_complete
    assert known[0].as_json()["moreReferrers"] is True
    assert "referrers" not in page.items[-1].as_json()


def test_texts_and_platforms_of_manifests_are_bounded():
    one = PlatformSummary(os="o" * 999, architecture="a", variant="v1", digest=Digest.of(b""), size=1)
    item = TagDetails(
        tag=Tag("a"),
        state=TagState(digest=Digest.of(b"a"), pushed_at=datetime(2026, 1, 1, tzinfo=UTC), pushed_by="bob"),
        is_immutable=False,
        summary=replace(summary("a"), platforms=(one,) * 100, artifact_type="x" * 999),
    )
    shown = item.as_json()
    assert (shown["pushed"], shown["pushedBy"]) == ("2026-01-01T00:00:00Z", "bob")
    assert (len(shown["platforms"]), len(shown["platforms"][0]["os"])) == (PLATFORMS_MAX, 256)
    assert shown["platforms"][0]["variant"] == "v1"
    assert len(shown["artifactType"]) == 256


@pytest.mark.parametrize("created", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_extreme_creation_times_are_not_shown(created):
    item = TagDetails(
        tag=Tag("a"),
        state=TagState(digest=Digest.of(b"a"), pushed_at=NOW),
        is_immutable=False,
        summary=summary("a", created=datetime.fromisoformat(created)),
    )
    assert "created" not in item.as_json()


def test_default_query_shows_all_by_name():
    query = TagQuery.parse()
    assert (query.sorting, query.globs.globs, query.platform) == (Sorting("name"), (EVERYTHING,), None)


DIGITS = "a" * 64
SIGNATURE, FALLBACK = f"sha256-{DIGITS}.sig", f"sha256-{DIGITS}"


async def test_attached_tags_are_a_list_of_their_own():
    lists = lists_of(Fixed([SIGNATURE, FALLBACK, "sha-1", "v1"]))

    async def shown(selection, **query):
        page = await lists.page(NAME, TagQuery.parse(selection=selection, **query))
        assert page.count == 4
        return [item.tag for item in page.items], page.attached

    assert await shown(TagSelection.ALL) == (["sha-1", FALLBACK, SIGNATURE, "v1"], frozenset())
    assert await shown(TagSelection.IMAGES) == (["sha-1", "v1"], {SIGNATURE, FALLBACK})
    assert await shown(TagSelection.ATTACHED) == ([FALLBACK, SIGNATURE], {SIGNATURE, FALLBACK})
    assert (await shown(TagSelection.IMAGES, glob="v*"))[0] == ["v1"]
    assert (await shown(TagSelection.ATTACHED, glob="*.sig"))[0] == [SIGNATURE]


async def test_without_attached_tags_all_are_images():
    page = await lists_of(Fixed("ab")).page(NAME, TagQuery.parse(selection=TagSelection.IMAGES))
    assert [item.tag for item in page.items] == ["a", "b"]
    page = await lists_of(Fixed("ab")).page(NAME, TagQuery.parse(selection=TagSelection.ATTACHED))
    assert page.items == []
