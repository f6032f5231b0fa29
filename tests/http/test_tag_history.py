"""`GET /v2/<name>/_oci/tag-history/<tag>`."""

from dataclasses import replace

import pytest

from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.upstream.memory import InMemoryUpstream
from config.settings import ProxySettings, Settings
from core.model import media_types
from core.model.access import AccessPolicy, Action, Rule, RuleAction, repository_access
from core.model.digest import Digest
from core.model.events import Actor
from core.model.names import RepositoryName, Tag
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from entrypoints.http.authentication import accesses_of
from entrypoints.http.routes import match
from tests.http.conftest import build_registry, error_codes
from tests.support.content import descriptor, image_manifest
from tests.support.htpasswd import basic, write_htpasswd

NAME, V1 = RepositoryName("team/app"), Tag("v1")
URL = f"/v2/{NAME}/_oci/tag-history/{V1}"
FIRST = image_manifest()
SECOND = image_manifest(annotations={"number": "2"})
EVENT = "org.opencontainers.distribution.tag.event"
TIMESTAMP = "org.opencontainers.distribution.tag.timestamp"
BY = "com.sohu.registry.tag.by"


async def push(api, content, tag=V1, name=NAME):
    await api.push_blob(name, b"{}")
    await api.push_manifest(name, tag, content, media_types.OCI_MANIFEST)


async def history(api, query="", headers=None):
    async with api.request("GET", URL + query, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == media_types.OCI_INDEX
        document = await response.json(content_type=None)
        assert (document["schemaVersion"], document["mediaType"]) == (2, media_types.OCI_INDEX)
        return document["manifests"], response.headers.get("Link")


def events(manifests):
    return [(entry["annotations"][EVENT], entry["digest"]) for entry in manifests]


async def test_an_unknown_repository_and_tag_have_an_empty_history(api):
    assert await history(api) == ([], None)
    await push(api, FIRST, Tag("v2"))
    assert await history(api) == ([], None)


async def test_moves_and_deletions_are_listed_newest_first(api):
    await push(api, FIRST)
    await push(api, SECOND)
    async with api.request("DELETE", f"/v2/{NAME}/manifests/{V1}") as response:
        assert response.status == 202
    manifests, _ = await history(api)
    first, second = Digest.of(FIRST), Digest.of(SECOND)
    assert events(manifests) == [("deleted", second), ("created", second), ("created", first)]
    assert manifests[0] == {
        **descriptor(SECOND, media_types.OCI_MANIFEST),
        "annotations": {TIMESTAMP: "2026-11-24T03:47:56.123456Z", EVENT: "deleted"},
    }


async def test_the_history_survives_the_repository(api):
    await push(api, FIRST)
    async with api.request("DELETE", f"/v2/{NAME}/_sohu/registry/repository") as response:
        assert response.status == 200
    manifests, _ = await history(api)
    assert events(manifests) == [("deleted", Digest.of(FIRST)), ("created", Digest.of(FIRST))]


async def test_a_manifest_that_is_gone_and_was_never_described_has_an_unknown_type(api):
    await push(api, FIRST)
    await api.services.storage.delete_tree("/docker/registry/v2/blobs")
    [entry], _ = await history(api)
    assert (entry["mediaType"], entry["size"]) == ("application/octet-stream", 0)


async def test_changes_by_distribution_are_marked(api):
    await push(api, FIRST, Tag("other"))
    await api.services.tag_links.point(NAME, V1, Digest.of(FIRST))
    [entry], _ = await history(api)
    assert entry["annotations"]["com.sohu.registry.tag.source"] == "link"


async def test_pages_are_linked(api):
    for content in (FIRST, SECOND, FIRST):
        await push(api, content)
    whole, _ = await history(api)
    first, link = await history(api, f"?n=2&digest={Digest.of(FIRST)}&since=2020-01-01T00:00:00Z")
    assert (first, link) == ([whole[0], whole[2]], None)
    read, query = [], "?n=1&before=2030-01-01T00:00:00Z"
    while query:
        manifests, link = await history(api, query)
        assert len(manifests) == 1
        read += manifests
        query = link.removeprefix(f"<{URL}").removesuffix('>; rel="next"') if link else ""
    assert read == whole


async def test_a_client_that_has_the_list_already_gets_304(api):
    await push(api, FIRST)
    async with api.request("GET", URL) as response:
        headers = {"If-None-Match": response.headers["ETag"]}
    async with api.request("GET", URL, headers=headers) as response:
        assert (response.status, await response.read()) == (304, b"")
    await push(api, SECOND)
    manifests, _ = await history(api, headers=headers)
    assert len(manifests) == 2


async def test_no_entries_are_listed_on_demand(api):
    await push(api, FIRST)
    assert await history(api, "?n=0") == ([], None)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?n=-1", "PAGINATION_NUMBER_INVALID"),
        ("?last=x", "PAGINATION_NUMBER_INVALID"),
        ("?before=yesterday", "UNSUPPORTED"),
        ("?since=2026-11-29", "UNSUPPORTED"),
        ("?digest=sha256:0", "DIGEST_INVALID"),
    ],
)
async def test_malformed_parameters_are_refused(api, query, code):
    async with api.request("GET", URL + query) as response:
        assert (response.status, await error_codes(response)) == (400, [code])


@pytest.mark.parametrize(
    ("path", "code"), [("Team/_oci/tag-history/v1", "NAME_INVALID"), ("a/_oci/tag-history/-", "TAG_INVALID")]
)
async def test_illegal_names_are_refused(api, path, code):
    async with api.request("GET", f"/v2/{path}") as response:
        assert (response.status, await error_codes(response)) == (400, [code])


@pytest.mark.parametrize("method", ["HEAD", "PUT", "POST", "DELETE"])
async def test_the_path_supports_get_only(api, method):
    async with api.request(method, URL) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET")


def test_the_right_to_pull_is_required():
    target = match(URL)
    assert target is not None
    assert accesses_of(target, "GET", None) == repository_access(NAME, Action.PULL)


async def test_a_repository_that_the_caller_may_not_see_answers_as_one_that_does_not_exist(start, tmp_path):
    users = write_htpasswd(tmp_path / "htpasswd", anna="a", bob="b")
    authenticator = HtpasswdAuthenticator(realm="r", path=str(users), clock=lambda: 0.0)
    actions = (RuleAction.PULL, RuleAction.PUSH)
    policy = AccessPolicy(rules=(Rule(who=("anna",), repositories=("team/*",), actions=actions),))
    api = await start(authenticator=authenticator, policy=policy)
    anna, bob = ({"Authorization": basic(*user)} for user in (("anna", "a"), ("bob", "b")))
    async with api.request(
        "POST", f"/v2/{NAME}/blobs/uploads/?digest={Digest.of(b'{}')}", data=b"{}", headers=anna
    ) as response:
        assert response.status == 201
    typed = anna | {"Content-Type": media_types.OCI_MANIFEST}
    async with api.request("PUT", f"/v2/{NAME}/manifests/{V1}", data=FIRST, headers=typed) as response:
        assert response.status == 201
    [entry], _ = await history(api, headers=anna)
    assert entry["annotations"][BY] == "anna"
    answers = []
    for name in (NAME, "team/none"):
        async with api.request("GET", f"/v2/{name}/_oci/tag-history/v1", headers=bob) as response:
            answers.append((response.status, (await response.text()).replace("team/none", NAME)))
    assert answers[0] == answers[1]
    assert answers[0][0] == 403


async def test_a_restored_tag_is_marked(api):
    await push(api, FIRST)
    registry = build_registry(api.services)
    await registry.delete_manifest(NAME, V1, by=Actor(name="registry trash"))
    [entry] = [entry async for entry in api.services.trash.entries()]
    await registry.restore(entry.id, by=Actor(name="registry trash"))
    manifests, _ = await history(api)
    assert [entry["annotations"].get("com.sohu.registry.tag.reason") for entry in manifests] == ["restore", None, None]
    assert manifests[0]["annotations"][BY] == "registry trash"


async def test_cached_repositories_are_named_as_in_tag_lists(start):
    rules = UpstreamRules(prefix="docker.io", default_namespace="library")
    origins = Origins([(rules, InMemoryUpstream("docker.io"))])
    plain = await start()
    for content in (FIRST, SECOND):
        await push(plain, content, name="docker.io/library/alpine")
    api = await start(replace(Settings(), proxy=ProxySettings()), origins=origins)
    async with api.request("GET", "/v2/library/alpine/_oci/tag-history/v1?ns=docker.io&n=1") as response:
        assert len((await response.json(content_type=None))["manifests"]) == 1
        assert response.headers["OCI-Namespace"] == "docker.io"
        assert "ns=docker.io" in response.headers["Link"]
