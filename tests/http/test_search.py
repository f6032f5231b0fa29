"""`GET /v2/_sohu/registry/search`, and the paths of v1 registries: results, pages, rights and hostile input."""

import json

import pytest

from adapters.auth.htpasswd import HtpasswdAuthenticator
from config.settings import HttpSettings, Settings
from core.model import media_types
from core.model.access import AccessPolicy, Rule, RuleAction
from core.model.digest import Digest
from core.summaries.query import LENGTH_MAX
from core.summaries.search import OPENED_MAX
from tests.http.conftest import error_codes
from tests.support.content import image_manifest
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.links import links_of

URL = "/v2/_sohu/registry/search"
ALICE, BOB = {"Authorization": basic("alice", "secret")}, {"Authorization": basic("bob", "b")}


async def push(api, name, *tags, labels=None, headers=None, **annotations):
    config = json.dumps({"config": {"Labels": labels or {}}, "name": name}).encode()
    manifest = image_manifest(config, annotations={key.replace("_", "."): text for key, text in annotations.items()})
    blob_url = f"/v2/{name}/blobs/uploads/?digest={Digest.of(config)}"
    async with api.request("POST", blob_url, data=config, headers=headers) as response:
        assert response.status == 201, await response.text()
    kind = {"Content-Type": media_types.OCI_MANIFEST}
    for tag in tags:
        url = f"/v2/{name}/manifests/{tag}"
        async with api.request("PUT", url, data=manifest, headers=kind | (headers or {})) as response:
            assert response.status == 201, await response.text()
    return Digest.of(manifest)


async def get(api, path, headers=None, **query):
    async with api.request("GET", path, params=query, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json(), response.headers


async def search(api, text, headers=None, **query):
    """Return the texts of all pages, each a list."""
    pages = []
    path: str | None = URL
    parameters = {"q": text, **query}
    while path:
        body, answered = await get(api, path, headers, **parameters)
        pages.append([":".join(filter(None, (hit["repository"], hit.get("tag")))) for hit in body["results"]])
        path, parameters = links_of(answered.get("Link")).get("next"), {}
    return pages


async def test_results_have_details(api):
    digest = await push(api, "team/web", "v1", labels={"team": "x"})
    await push(api, "team/web", "v2")
    body, headers = await get(api, URL, q="web label:team=x")
    [hit] = body["results"]
    assert hit.pop("pushed").endswith("Z")
    assert hit.pop("size") > 0
    assert hit == {
        "repository": "team/web",
        "tag": "v1",
        "digest": digest,
        "mediaType": media_types.OCI_MANIFEST,
        "platforms": [],
        "matched": ["label:team", "name"],
    }
    assert "Link" not in headers
    assert (await get(api, URL, q=f"digest:{digest}"))[0]["results"][0]["matched"] == ["digest"]


async def test_pages_follow_links(start):
    api = await start(Settings(http=HttpSettings(prefix="/registry/")), path="/registry")
    for name in ("a", "b"):
        await push(api, name, "v1", "v2")
    api.root = api.root.removesuffix("/registry")
    body, headers = await get(api, f"/registry{URL}", q="tag:v*", n=3)
    assert len(body["results"]) == 3
    assert headers["Link"] == f'</registry{URL}?last=b%3Av1&n=3&q=tag%3Av%2A&trail=>; rel="next"'


async def test_pages_are_short_when_much_is_opened(api):
    for number in range(OPENED_MAX + 1):
        await push(api, f"r{number:02}", "v1")
    assert await search(api, "tag:v1", n=30) == [
        [f"r{number:02}:v1" for number in range(30)],
        [f"r{number:02}:v1" for number in range(30, OPENED_MAX + 1)],
    ]
    assert await search(api, "tag:v2") == [[], []]
    for text in ("tag:v1", "tag:v2"):
        first, headers = await get(api, URL, q=text, n=30)
        following = links_of(headers["Link"])["next"]
        _, after = await get(api, following)
        again, _ = await get(api, links_of(after["Link"])["prev"])
        assert again == first


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("", "UNSUPPORTED", "q must contain the query"),
        ("q=", "UNSUPPORTED", "q must contain the query"),
        ("q=%20", "UNSUPPORTED", "q must contain the query"),
        ("q=a+size:3", "UNSUPPORTED", "invalid query at character 3: unknown field"),
        ("q=a%22b", "UNSUPPORTED", "invalid query at character 2: the quote is not closed"),
        ("q=a%00", "UNSUPPORTED", "invalid query at character 2: a query has no control characters"),
        ("q=a%0d%0aX:1", "UNSUPPORTED", "invalid query at character 2: a query has no control characters"),
        (f"q={'a' * (LENGTH_MAX + 1)}", "UNSUPPORTED", "invalid query at character 513: a query has at most 512"),
        ("q=a&n=x", "PAGINATION_NUMBER_INVALID", "n must be"),
        ("q=a&n=-1", "PAGINATION_NUMBER_INVALID", "n must be"),
        ("q=a&n=1001", "PAGINATION_NUMBER_INVALID", "n must be"),
    ],
)
async def test_errors_name_the_place(api, query, code, message):
    async with api.request("GET", f"{URL}?{query}") as response:
        assert (response.status, await error_codes(response)) == (400, [code])
        assert message in (await response.json())["errors"][0]["message"]


@pytest.mark.parametrize("query", ["q=%FF%FE", "q=a&last=%FF", "q=a&last=%00:%00", "q=a&last=A:b", "q=%E2%80%AEa"])
async def test_strange_text_is_no_server_error(api, query):
    async with api.request("GET", f"{URL}?{query}") as response:
        assert response.status in {200, 400}


async def test_module_has_no_other_paths(api):
    for path in (f"{URL}/a", "/v1/search/a", "/v1", "/v1/", "/v1/_ping/a", "/v1/repositories/a/images"):
        async with api.request("GET", f"{path}?q=a") as response:
            assert response.status == 404, path
    async with api.request("POST", f"{URL}?q=a") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET")


@pytest.fixture
async def ruled(start, tmp_path):
    """A registry where bob sees `team/*` only."""
    users = write_htpasswd(tmp_path / "htpasswd", alice="secret", bob="b")
    rules = (
        Rule(who=("alice",), actions=tuple(RuleAction)),
        Rule(who=("bob",), actions=(RuleAction.CATALOG,)),
        Rule(who=("bob",), repositories=("team/*",), actions=(RuleAction.PULL,)),
        Rule(who=("anonymous",), repositories=("public",), actions=(RuleAction.PULL,)),
    )
    authenticator = HtpasswdAuthenticator(realm="r", path=str(users), clock=lambda: 0.0)
    api = await start(authenticator=authenticator, policy=AccessPolicy(rules=rules))
    for number in range(4):
        await push(api, f"secret/{number}", "v1", headers=ALICE, labels={"team": "x"})
        await push(api, f"team/{number}", "v1", headers=ALICE, labels={"team": "x"})
        await push(api, f"team{number}/x", "v1", headers=ALICE, labels={"team": "x"})
    return api


async def test_hidden_repositories_change_no_page(ruled, start):
    queries = [(text, n) for text in ("tag:v1", "label:team=x", "t*", "secret", "media:oci") for n in (1, 2, 4, 100)]
    seen = [await search(ruled, text, BOB, n=n) for text, n in queries]
    whole = [await search(ruled, text, ALICE, n=n) for text, n in queries]
    # The same store without access rules, and without the repositories that bob does not see.
    alone = await start()
    body, _ = await get(alone, "/v2/_catalog")
    for name in body["repositories"]:
        if not name.startswith("team/"):
            async with alone.request("DELETE", f"/v2/{name}/_sohu/registry/repository") as response:
                assert response.status == 200
    assert [await search(alone, text, n=n) for text, n in queries] == seen
    assert all(more != less for more, less in zip(whole, seen, strict=True))


async def test_position_in_a_hidden_repository_reveals_nothing(ruled):
    for last in ("secret/0:a", "secret/0", "secret/nothing:a"):
        body, _ = await get(ruled, URL, BOB, q="tag:v1", last=last)
        assert [hit["repository"] for hit in body["results"]] == [f"team/{number}" for number in range(4)]


@pytest.mark.parametrize("path", [URL, "/v1/search"])
async def test_search_requires_the_right_to_list(ruled, path):
    async with ruled.request("GET", path, params={"q": "a"}) as response:
        assert (response.status, await error_codes(response)) == (401, ["UNAUTHORIZED"])
        assert response.headers["WWW-Authenticate"] == 'Basic realm="r"'
    async with ruled.request("GET", path, params={"q": "team"}, headers=BOB) as response:
        assert response.status == 200


async def test_v1_ping_needs_no_credentials(ruled):
    for headers in ({}, {"Authorization": "Basic Og=="}):
        async with ruled.request("GET", "/v1/_ping", headers=headers) as response:
            assert (response.status, response.headers["X-Docker-Registry-Standalone"]) == (200, "false")
            assert await response.json() == {"standalone": False}


async def test_v1_search_finds_names_that_the_caller_sees(ruled):
    body, _ = await get(ruled, "/v1/search", BOB, q="1", n="25")
    assert body == {
        "query": "1",
        "num_results": 1,
        "num_pages": 1,
        "page": 1,
        "page_size": 25,
        "results": [
            {
                "name": "team/1",
                "description": "",
                "star_count": 0,
                "is_official": False,
                "is_automated": False,
                "is_trusted": False,
            }
        ],
    }
    body, _ = await get(ruled, "/v1/search", BOB, q="label:team=x v1")
    assert body["results"] == []
    body, _ = await get(ruled, "/v1/search", BOB, q="label:team=x")
    assert [result["name"] for result in body["results"]] == [f"team/{number}" for number in range(4)]


async def test_v1_search_has_pages(api):
    for number in range(5):
        await push(api, f"r{number}", "v1", "v2")
    for text in ("", "r", "tag:v*"):
        body, _ = await get(api, "/v1/search", q=text, n=2)
        assert ([result["name"] for result in body["results"]], body["num_pages"]) == (["r0", "r1"], 2)
        body, _ = await get(api, "/v1/search", q=text, n=2, page=3)
        assert ([result["name"] for result in body["results"]], body["num_pages"]) == (["r4"], 3)
        body, _ = await get(api, "/v1/search", q=text, n=5)
        assert (body["num_results"], body["num_pages"]) == (5, 1)
    body, _ = await get(api, "/v1/search", q="", n=100_000)
    assert (body["page_size"], len(body["results"])) == (100, 5)
    body, _ = await get(api, "/v1/search", q="", n=0, page=0)
    assert (body["page_size"], body["page"]) == (25, 1)
    for query in ("n=x", "page=x", "n=100&page=11", "n=1&page=9999999999999999999"):
        async with api.request("GET", f"/v1/search?q=r&{query}") as response:
            assert (response.status, await error_codes(response)) == (400, ["PAGINATION_NUMBER_INVALID"])


async def test_v1_search_describes_the_newest_tag(api):
    await push(api, "a", "v1", org_opencontainers_image_title="A title", org_opencontainers_image_description=" ")
    text = "Runs \x1b[31m\u202ethings\n" + "x" * 300
    await push(api, "b", "v1", labels={"org.opencontainers.image.description": text})
    body, _ = await get(api, "/v1/search", q="")
    assert [result["description"] for result in body["results"]] == [
        "A title",
        ("Runs  [31m things " + "x" * 300)[:200],
    ]


async def test_v1_paths_honour_the_prefix(start):
    api = await start(Settings(http=HttpSettings(prefix="/registry/")))
    for path in ("/v1/_ping", "/v1/search"):
        async with api.request("GET", path) as response:
            assert response.status == 404
        async with api.request("GET", f"/registry{path}") as response:
            assert response.status == 200
