"""Links of the lists that end where enough work was done: forwards and back, and answers to clients that poll."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.model import media_types
from core.retention.rules import RetentionRule
from core.usage.records import UsageRecords
from core.verification.findings import Finding, Kind
from core.verification.journal import Checkpoint
from entrypoints.http.trails import TRAIL_MAX, bounded
from entrypoints.http.urls import UrlBuilder
from tests.http.conftest import operations_on
from tests.http.test_usage_api import MEASUREMENT
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices
from tests.support.links import links_of

NAMES = ("team/a", "team/b", "team/c")
OURS = "_sohu/registry"
LISTS = {
    f"/v2/{OURS}/search?n=1&q=tag%3Av*": "results",
    f"/v2/{OURS}/trash?n=1": "entries",
    f"/v2/{OURS}/trash?n=1&repository=team%2Fb": "entries",
    f"/v2/team/a/{OURS}/trash?n=1": "entries",
    f"/v2/{OURS}/retention?n=1": "repositories",
    f"/v2/{OURS}/usage?n=1": "byRepository",
    f"/v2/{OURS}/verification?n=1": "findings",
}
POLLED = (
    *LISTS,
    "/v2/_oci/ext/discover",
    "/v2/team/a/_oci/ext/discover",
    f"/v2/{OURS}/repositories",
    f"/v2/team/a/{OURS}/tags",
    f"/v2/team/a/{OURS}/retention",
    f"/v2/team/a/{OURS}/usage",
    f"/v2/{OURS}/notifications",
    f"/v2/{OURS}/collection",
    f"/v2/{OURS}/readonly",
    "/v2/team/a/_oci/tag-history/v3",
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.fixture
def services():
    rules = (RetentionRule(repositories=("**",), keep_last=1),)
    now = datetime(2026, 11, 29, tzinfo=UTC)
    times = (now + timedelta(seconds=number) for number in range(100_000))
    return CoreServices(storage=InMemoryBlobStorage(now=lambda: next(times)), retention_rules=rules)


@pytest.fixture
async def filled(start, services):
    """A registry with at least three items in each list."""
    operations = operations_on(services)
    api = await start(operations=operations)
    for name in NAMES:
        await api.push_blob(name, b"{}")
        for tag in ("v1", "v2", "v3", "v4"):
            await api.push_manifest(name, tag, image_manifest(), media_types.OCI_MANIFEST)
        for tag in ("v1", "v2", "v4"):
            async with api.request("DELETE", f"/v2/{name}/manifests/{tag}") as response:
                assert response.status == 202
    await UsageRecords(services.storage).save(MEASUREMENT)
    findings = [Finding(kind=Kind.CORRUPT_DATA, key=f"/{number}", detail="damaged") for number in range(3)]
    await operations.findings.save(Checkpoint(damage=3, left=3), findings)
    return api


async def get(api, path):
    """Return the answer as a client compares it: document, entity tag and links."""
    async with api.request("GET", path) as response:
        assert response.status == 200, await response.text()
        return await response.json(content_type=None), response.headers["ETag"], links_of(response.headers.get("Link"))


@pytest.mark.parametrize(("path", "member"), LISTS.items())
async def test_the_way_back_shows_the_pages_of_the_way_there(filled, path, member):
    pages = [await get(filled, path)]
    while "next" in pages[-1][2]:
        pages.append(await get(filled, pages[-1][2]["next"]))
    sizes = [len(document[member]) for document, _, _ in pages]
    assert (len(pages) >= 3, set(sizes[:-1])) == (True, {1})
    assert pages[0][2].keys() == {"next"}
    back = [await get(filled, pages[-1][2]["prev"])]
    while "prev" in back[-1][2]:
        back.append(await get(filled, back[-1][2]["prev"]))
    assert back == pages[-2::-1]
    assert {links["first"] for _, _, links in pages[1:]} == {pages[1][2]["prev"]}


@pytest.mark.parametrize("path", POLLED)
async def test_unchanged_answers_are_not_sent_again(filled, path):
    _, etag, _ = await get(filled, path)
    async with filled.request("GET", path, headers={"If-None-Match": etag}) as response:
        assert (response.status, response.headers["ETag"], await response.read()) == (304, etag, b"")
        assert response.headers["Cache-Control"] == "private, no-cache"
    async with filled.request("GET", path, headers={"If-None-Match": 'W/"other"'}) as response:
        assert response.status == 200


async def test_changes_are_sent_to_clients_that_poll(filled):
    path = f"/v2/{OURS}/readonly"
    _, etag, _ = await get(filled, path)
    # A condition on a change is no condition on its answer.
    async with filled.request("PUT", path, json={}, headers={"If-None-Match": etag}) as response:
        assert (response.status, "ETag" in response.headers) == (200, False)
    async with filled.request("GET", path, headers={"If-None-Match": etag}) as response:
        assert (response.status, (await response.json())["readonly"]) == (200, True)


async def test_position_that_a_client_wrote_itself_has_no_previous_page(filled):
    path = f"/v2/{OURS}/search?n=1&q=tag%3Av*"
    _, _, links = await get(filled, f"{path}&last=team%2Fa")
    assert links.keys() == {"first", "next"}
    # A trail without a position is no trail.
    _, _, links = await get(filled, f"{path}&trail=team%2Fb")
    assert links.keys() == {"next"}


def around(url: str, following: str | None) -> dict[str, str]:
    header = UrlBuilder().pages_around(make_mocked_request("GET", url), following=following, n=3, q="a b")
    return links_of(header.get("Link"))


def last_of(url: str) -> str:
    return parse_qs(urlsplit(url).query, keep_blank_values=True).get("last", [""])[0]


def test_link_carries_the_last_positions_only() -> None:
    positions = [str(number) for number in range(2 * TRAIL_MAX)]
    assert bounded(positions) == positions[TRAIL_MAX:]


@given(positions=st.lists(TEXT, unique=True, max_size=40))
def test_links_lead_back_as_far_as_they_carry_positions(positions: Sequence[str]) -> None:
    starts = ["", *positions]
    urls = ["/list?n=3&q=a+b"]
    for following in positions:
        links = around(urls[-1], following)
        assert len(", ".join(links.values())) < 4_000
        urls.append(links["next"])
    assert [last_of(url) for url in urls] == starts
    url, place = urls[-1], len(starts) - 1
    while "prev" in (links := around(url, None)):
        url, place = links["prev"], place - 1
        assert last_of(url) == starts[place]
    # Short positions lead back by the greatest number of pages, long ones by some.
    steps = len(starts) - 1 - place
    assert steps == len(starts) - 1 or TRAIL_MAX >= steps >= 1
    assert url == urls[0] or links == {"first": urls[0]}
