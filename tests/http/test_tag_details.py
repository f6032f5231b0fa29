"""`GET /v2/<name>/_sohu/registry/tags`, `GET /v2/_sohu/registry/repositories`, and the lists of extensions."""

import json
import tomllib
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.upstream.memory import InMemoryUpstream
from config.settings import ProxySettings, Settings
from core.model import media_types
from core.model.access import AccessPolicy, Rule, RuleAction
from core.model.digest import Digest
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from entrypoints.http.routes import ENDPOINTS
from tests.http.conftest import error_codes
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.links import links_of
from tests.support.tools import REPOSITORY_ROOT

OCI = media_types.OCI_MANIFEST
TAGS = "/v2/team/app/_sohu/registry/tags"
REPOSITORIES = "/v2/_sohu/registry/repositories"


async def push(api, name, *tags, layer=b"layer"):
    config = json.dumps({"os": "linux", "architecture": "amd64"}).encode()
    for content in (config, layer):
        await api.push_blob(name, content)
    manifest = image_manifest(config, [layer])
    for tag in tags:
        await api.push_manifest(name, tag, manifest, OCI)
    return manifest


async def get(api, path, **headers):
    async with api.request("GET", path, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json(), response.headers


async def read_pages(api, path, member):
    """Follow the links to the end, then back to the start; both ways must show the same."""
    urls, forwards = [path], []
    while True:
        body, headers = await get(api, urls[-1])
        forwards += [item["name"] for item in body[member]]
        if "next" not in links(headers):
            break
        urls.append(links(headers)["next"])
    backwards = [item["name"] for item in body[member]]
    while "prev" in links(headers):
        body, headers = await get(api, links(headers)["prev"])
        backwards = [item["name"] for item in body[member]] + backwards
    assert forwards == backwards
    return forwards


def links(headers):
    return links_of(headers.get("Link"))


async def test_tags_have_details(api):
    manifest = await push(api, "team/app", "v1")
    body, headers = await get(api, TAGS)
    [shown] = body.pop("tags")
    assert body == {"name": "team/app"}
    assert shown.pop("pushed").endswith("Z")
    size = len(manifest) + 40 + 5
    platform = {"os": "linux", "architecture": "amd64", "digest": Digest.of(manifest), "size": size}
    assert shown == {
        "name": "v1",
        "digest": Digest.of(manifest),
        "mediaType": OCI,
        "size": size,
        "platforms": [platform],
        "immutable": False,
    }
    assert "Link" not in headers


async def test_tags_are_sorted_filtered_and_paged(api):
    await push(api, "team/app", "v1.9.0", "v1.10.0", "latest")
    await push(api, "team/app", "small", layer=b"")
    assert await read_pages(api, f"{TAGS}?n=1", "tags") == ["latest", "small", "v1.10.0", "v1.9.0"]
    assert await read_pages(api, f"{TAGS}?n=2&sort=semver", "tags") == ["v1.9.0", "v1.10.0", "latest", "small"]
    assert await read_pages(api, f"{TAGS}?n=1&sort=size", "tags") == ["small", "latest", "v1.10.0", "v1.9.0"]
    assert await read_pages(api, f"{TAGS}?n=1&sort=-pushed&filter=v*", "tags") == ["v1.10.0", "v1.9.0"]
    assert await read_pages(api, f"{TAGS}?n=3&platform=linux/amd64", "tags") == ["latest", "small", "v1.10.0", "v1.9.0"]
    assert await read_pages(api, f"{TAGS}?platform=linux/arm64", "tags") == []


async def test_links_repeat_the_query(api):
    await push(api, "team/app", "v1", "v2", "v3")
    query = urlencode({"sort": "-size", "filter": "v*", "platform": "linux/amd64", "referrers": "true", "n": "1"})
    _, headers = await get(api, f"{TAGS}?{query}")
    assert list(links(headers)) == ["next"]
    _, headers = await get(api, links(headers)["next"])
    assert links(headers).keys() == {"prev", "next"}
    for part in ("sort=-size", "filter=v%2A", "platform=linux%2Famd64", "referrers=true", "n=1"):
        assert part in links(headers)["prev"]


async def test_unchanged_list_is_304(api):
    await push(api, "team/app", "v1", "v2")
    _, headers = await get(api, f"{TAGS}?n=1")
    etag = headers["ETag"]
    assert (etag[:3], headers["Cache-Control"], headers["Vary"]) == ('W/"', "private, no-cache", "Authorization")
    async with api.request("GET", f"{TAGS}?n=1", headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", etag)
        assert response.headers["Link"] == headers["Link"]
    await push(api, "team/app", "v1", layer=b"other")
    _, headers = await get(api, f"{TAGS}?n=1", **{"If-None-Match": etag})
    assert headers["ETag"] != etag


async def test_sizes_count_each_blob_once_and_attestations_are_no_platforms(api):
    manifest = await push(api, "team/app", "amd64")
    for entry in (manifest, attestation := image_manifest(b"{}", [b"layer"])):
        await api.push_blob("team/app", b"{}")
        await api.push_manifest("team/app", Digest.of(entry), entry, OCI)
    index = json.loads(image_index([manifest, attestation]))
    index["manifests"][0]["platform"] = {"os": "linux", "architecture": "amd64"}
    index["manifests"][1]["platform"] = {"os": "unknown", "architecture": "unknown"}
    content = json.dumps(index).encode()
    await api.push_manifest("team/app", "multi", content, media_types.OCI_INDEX)
    body, _ = await get(api, f"{TAGS}?filter=multi")
    [shown] = body["tags"]
    assert shown["size"] == len(content) + len(manifest) + len(attestation) + 40 + len("layer") + len("{}")
    assert [platform["os"] for platform in shown["platforms"]] == ["linux"]


async def test_referrers_are_listed(api):
    manifest = await push(api, "team/app", "v1")
    await api.push_blob("team/app", b"{}")
    signature = image_manifest(b"{}", subject=descriptor(manifest, OCI), artifactType="a/sig")
    await api.push_manifest("team/app", Digest.of(signature), signature, OCI)
    body, _ = await get(api, f"{TAGS}?referrers=true")
    assert [(each["digest"], each["artifactType"]) for each in body["tags"][0]["referrers"]] == [
        (Digest.of(signature), "a/sig")
    ]
    body, _ = await get(api, f"{TAGS}?referrers=false")
    assert "referrers" not in body["tags"][0]


async def test_texts_that_are_no_unicode_are_shown(api):
    config = b'{"os": "linux\\ud800", "architecture": "amd64"}'
    await api.push_blob("team/app", config)
    await api.push_manifest("team/app", "v1", image_manifest(config), OCI)
    body, _ = await get(api, TAGS)
    assert body["tags"][0]["platforms"][0]["os"].startswith("linux")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("sort=digest", "UNSUPPORTED"),
        ("sort=-", "UNSUPPORTED"),
        ("filter=a%20b", "UNSUPPORTED"),
        ("platform=linux", "UNSUPPORTED"),
        ("referrers=yes", "UNSUPPORTED"),
        ("n=-1", "PAGINATION_NUMBER_INVALID"),
        ("n=x", "PAGINATION_NUMBER_INVALID"),
        ("sort=size&last=v1", "PAGINATION_NUMBER_INVALID"),
        ("last=a&before=b", "PAGINATION_NUMBER_INVALID"),
    ],
)
async def test_malformed_parameters_are_400(api, query, code):
    await push(api, "team/app", "v1")
    async with api.request("GET", f"{TAGS}?{query}") as response:
        assert (response.status, await error_codes(response)) == (400, [code])


async def test_unknown_repository_is_404(api):
    async with api.request("GET", TAGS) as response:
        assert (response.status, await error_codes(response)) == (404, ["NAME_UNKNOWN"])


async def test_large_page_size_means_the_limit_for_tags_and_an_error_for_repositories(api):
    await push(api, "team/app", "v1")
    body, _ = await get(api, f"{TAGS}?n=999999999")
    assert len(body["tags"]) == 1
    async with api.request("GET", f"{REPOSITORIES}?n=1001") as response:
        assert (response.status, await error_codes(response)) == (400, ["PAGINATION_NUMBER_INVALID"])


async def test_repositories_have_details(api):
    manifest = await push(api, "team/app", "v1", "v2")
    await push(api, "web", "v1", layer=b"")
    body, headers = await get(api, REPOSITORIES)
    assert [item.pop("pushed")[-1] for item in body["repositories"]] == ["Z", "Z"]
    size = len(manifest) + 40 + 5
    assert body["repositories"][0] == {"name": "team/app", "tags": 2, "size": size}
    async with api.request("GET", REPOSITORIES, headers={"If-None-Match": headers["ETag"]}) as response:
        assert response.status == 304


async def test_repositories_are_selected_and_paged(api):
    for name in ("a", "b/web", "c/web", "web"):
        await push(api, name, "v1")
    assert await read_pages(api, f"{REPOSITORIES}?n=1&q=web", "repositories") == ["b/web", "c/web", "web"]
    assert await read_pages(api, f"{REPOSITORIES}?n=3&sort=-name", "repositories") == ["web", "c/web", "b/web", "a"]
    for query in ("sort=x", "q=" + "a" * 256):
        async with api.request("GET", f"{REPOSITORIES}?{query}") as response:
            assert (response.status, await error_codes(response)) == (400, ["UNSUPPORTED"])


BOB = {"Authorization": basic("bob", "b")}


@pytest.fixture
async def guarded_api(start, tmp_path):
    everyone = Rule(who=("alice",), actions=tuple(RuleAction))
    bob = Rule(who=("bob",), repositories=("team/**",), actions=(RuleAction.PULL, RuleAction.CATALOG))
    users = write_htpasswd(tmp_path / "htpasswd", alice="a", bob="b")
    authenticator = HtpasswdAuthenticator(realm="r", path=str(users), clock=lambda: 0.0)
    return await start(authenticator=authenticator, policy=AccessPolicy(rules=(everyone, bob)))


async def test_hidden_repositories_leave_no_trace(guarded_api, start, services):
    everything = await start()
    await push(everything, "team/b", "v1")
    alone = {}
    queries = ["", "?sort=-name", "?sort=-size&n=1", "?n=1", "?before=x&n=1", "?q=e"]
    for query in queries:
        alone[query] = await get(guarded_api, REPOSITORIES + query, **BOB)
    for name in ("secret/a", "secret/z"):
        await push(everything, name, "v1")
    for query in queries:
        body, headers = await get(guarded_api, REPOSITORIES + query, **BOB)
        assert (body, headers.get("Link")) == (alone[query][0], alone[query][1].get("Link"))
        assert headers["ETag"] == alone[query][1]["ETag"]


async def test_tags_need_the_right_to_pull(guarded_api, start):
    await push(await start(), "secret/a", "v1")
    for path in ("/v2/secret/a/_sohu/registry/tags", "/v2/secret/b/_sohu/registry/tags"):
        async with guarded_api.request("GET", path, headers=BOB) as response:
            assert (response.status, await error_codes(response)) == (403, ["DENIED"])
        async with guarded_api.request("GET", path) as response:
            assert (response.status, await error_codes(response)) == (401, ["UNAUTHORIZED"])


async def test_extensions_are_announced(api):
    body, _ = await get(api, "/v2/_oci/ext/discover")
    found = {extension["name"]: extension["endpoints"] for extension in body["extensions"]}
    assert "/v2/_oci/ext/discover" in found["_oci"]
    assert REPOSITORIES in found["_sohu"]
    project = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert all(extension["description"] and extension["url"].startswith("https://") for extension in body["extensions"])
    [ours] = [extension["url"] for extension in body["extensions"] if extension["name"] == "_sohu"]
    assert ours == f"{project['urls']['Homepage']}/blob/HEAD/docs/api.md"
    body, _ = await get(api, "/v2/team/app/_oci/ext/discover")
    found = {extension["name"]: extension["endpoints"] for extension in body["extensions"]}
    assert TAGS in found["_sohu"]
    async with api.request("GET", "/v2/Team/_oci/ext/discover") as response:
        assert (response.status, await error_codes(response)) == (400, ["NAME_INVALID"])


async def test_extensions_need_authentication_and_no_more(guarded_api):
    async with guarded_api.request("GET", "/v2/_oci/ext/discover") as response:
        assert response.status == 401
    await get(guarded_api, "/v2/_oci/ext/discover", **BOB)
    async with guarded_api.request("GET", "/v2/secret/_oci/ext/discover", headers=BOB) as response:
        assert response.status == 403


@pytest.mark.parametrize("path", ["/v2/_oci/ext/other", "/v2/a/_oci/ext/other", "/v2/a/_sohu/registry/x", "/v2/_sohu"])
async def test_unknown_modules_are_404(api, path):
    async with api.request("GET", path) as response:
        assert (response.status, await error_codes(response)) == (404, ["NAME_UNKNOWN"])


async def test_cached_repositories_are_named_as_in_tag_lists(start):
    rules = UpstreamRules(prefix="docker.io", default_namespace="library")
    origins = Origins([(rules, InMemoryUpstream("docker.io"))])
    plain = await start()
    await push(plain, "docker.io/library/alpine", "v1", "v2")
    api = await start(replace(Settings(), proxy=ProxySettings()), origins=origins)
    body, headers = await get(api, "/v2/library/alpine/_sohu/registry/tags?ns=docker.io&n=1")
    assert (body["name"], headers["OCI-Namespace"]) == ("docker.io/library/alpine", "docker.io")
    assert "ns=docker.io" in links(headers)["next"]


def test_no_list_changes_anything():
    assert {endpoint.method for endpoint in ENDPOINTS if endpoint.resource.name.endswith("DETAILS")} == {"GET"}
