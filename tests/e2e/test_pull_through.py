"""Tags, outages and access through a pull-through cache with two workers."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.caches import WORKERS, CacheServer, children_of, until, upstream_section
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.oci import MANIFEST_TYPES, digest_of, make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import Answer, RegistryClient
from tests.support.upstream_server import UpstreamServer

pytestmark = pytest.mark.e2e

ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}
PULLS = 100


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, UpstreamServer]]:
    """The upstreams of the shared cache, by prefix.

    `each.test` is asked at every pull, and so is `fails.test`; the others once an hour. After a failure an upstream is
    not asked again for a while, so the failures have upstreams of their own.
    """
    with UpstreamServer() as up, UpstreamServer() as busy, UpstreamServer() as each, UpstreamServer() as fails:
        yield {"up.test": up, "busy.test": busy, "each.test": each, "fails.test": fails}


@pytest.fixture(scope="module")
def cache(servers: dict[str, UpstreamServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheServer]:
    folder = tmp_path_factory.mktemp("cache")
    sections = [
        upstream_section(server, prefix, recheck="0s" if prefix in {"each.test", "fails.test"} else "1h")
        for prefix, server in servers.items()
    ]
    with CacheServer(folder / "server", folder / "storage", proxy={"upstreams": sections}) as server:
        until(lambda: len(children_of(server.pid)) == WORKERS)
        # Starting contacts no upstream.
        assert not any(upstream.seen for upstream in servers.values())
        yield server


@pytest.fixture
def client(cache: CacheServer) -> RegistryClient:
    return RegistryClient(cache.host)


def upstream_of(servers: dict[str, UpstreamServer], prefix: str) -> UpstreamServer:
    servers[prefix].forget()
    servers[prefix].faults.recover()
    return servers[prefix]


def manifest(client: RegistryClient, name: str, reference: str, **headers: str) -> Answer:
    return client.request("GET", f"/v2/{name}/manifests/{reference}", headers={**ACCEPT, **headers})


def code_of(answer: Answer) -> str:
    return str(json.loads(answer.body)["errors"][0]["code"])


def test_hundred_pulls_fit_into_a_quota_of_one(servers: dict[str, UpstreamServer], cache: CacheServer) -> None:
    upstream = upstream_of(servers, "up.test")
    image = make_image(1900)
    upstream.content.add("library/quota", image, "v1")
    upstream.faults.quota = 1

    def pull(_number: int) -> str:
        return RegistryClient(cache.host).get_manifest("up.test/library/quota", "v1").digest

    try:
        with ThreadPoolExecutor(8) as pool:
            digests = list(pool.map(pull, range(PULLS)))
    finally:
        upstream.faults.quota = None

    assert digests == [image.digest] * PULLS
    assert upstream.counts == {"manifest HEAD": 1, "manifest GET": 1}


def test_unchanged_tag_costs_one_head(servers: dict[str, UpstreamServer], client: RegistryClient) -> None:
    upstream = upstream_of(servers, "each.test")
    old, new = make_image(1901), make_image(1902)
    upstream.content.add("library/moving", old, "v1")
    assert client.get_manifest("each.test/library/moving", "v1").digest == old.digest
    upstream.forget()

    for _ in range(5):
        assert client.get_manifest("each.test/library/moving", "v1").digest == old.digest
    assert upstream.counts == {"manifest HEAD": 5}

    upstream.content.add("library/moving", new, "v1")
    assert client.get_manifest("each.test/library/moving", "v1").digest == new.digest
    assert upstream.count("manifest GET") == 1


def test_head_of_a_tag_then_get_by_digest_caches_the_tag(
    servers: dict[str, UpstreamServer], client: RegistryClient
) -> None:
    """docker since 20.10 and containerd ask for a tag with HEAD, and fetch the manifest by digest."""
    upstream = upstream_of(servers, "up.test")
    image = make_image(1903)
    upstream.content.add("library/engine", image, "v1")

    head = client.request("HEAD", "/v2/up.test/library/engine/manifests/v1", headers=ACCEPT).expect(200)
    digest = head.header("Docker-Content-Digest")
    assert digest == image.digest
    manifest(client, "up.test/library/engine", digest).expect(200)

    upstream.close()
    try:
        answer = manifest(client, "up.test/library/engine", "v1").expect(200)
    finally:
        upstream.open()
    assert answer.body == image.manifest.data


def test_cached_tag_is_served_while_its_upstream_is_down(
    servers: dict[str, UpstreamServer], client: RegistryClient
) -> None:
    upstream = upstream_of(servers, "fails.test")
    image = make_image(1904)
    upstream.content.add("library/outage", image, "v1")
    client.pull("fails.test/library/outage", "v1")

    upstream.close()
    try:
        served = manifest(client, "fails.test/library/outage", "v1").expect(200)
        tags = client.tags("fails.test/library/outage")
        unknown = manifest(client, "fails.test/library/outage", "v2").expect(502, 504)
        elsewhere = manifest(client, "fails.test/library/unknown", "v1").expect(502, 504)
        blob = client.request("GET", f"/v2/fails.test/library/outage/blobs/{digest_of(b'no')}").expect(502, 504)
    finally:
        upstream.open()

    assert served.body == image.manifest.data
    assert "hit" in served.header("Cache-Status")
    assert tags == ["v1"]
    assert "fails.test" in unknown.body.decode()
    assert all(json.loads(answer.body)["errors"] for answer in (elsewhere, blob))


@pytest.mark.parametrize("status", [500, 503, 0])
def test_failing_upstream_hides_no_cached_tag(
    servers: dict[str, UpstreamServer], client: RegistryClient, status: int
) -> None:
    upstream = upstream_of(servers, "fails.test")
    image = make_image(1905 + status)
    name = f"library/fails-{status}"
    upstream.content.add(name, image, "v1")
    client.pull(f"fails.test/{name}", "v1")

    upstream.faults.refuse(status)
    manifest(client, f"fails.test/{name}", "v1").expect(200)
    manifest(client, f"fails.test/{name}", "v2").expect(502)

    upstream.content.add(name, image, "v3")
    upstream.faults.recover()
    manifest(client, f"fails.test/{name}", "v3").expect(200)


def test_busy_upstream_is_left_alone(servers: dict[str, UpstreamServer], client: RegistryClient) -> None:
    upstream = upstream_of(servers, "busy.test")
    image = make_image(1910)
    upstream.content.add("library/busy", image, "v1")
    client.pull("busy.test/library/busy", "v1")
    upstream.forget()
    upstream.faults.refuse(429, headers={"Retry-After": "60"})

    refused = [manifest(client, "busy.test/library/busy", f"new-{number}") for number in range(WORKERS * 8)]
    asked = upstream.count("manifest")
    again = [manifest(client, "busy.test/library/busy", f"newer-{number}") for number in range(WORKERS * 8)]

    for answer in refused + again:
        answer.expect(429)
        assert 0 < int(answer.header("Retry-After")) <= 60
        assert code_of(answer) == "TOOMANYREQUESTS"
    assert upstream.count("manifest") == asked <= WORKERS
    manifest(client, "busy.test/library/busy", "v1").expect(200)


def test_absent_content_is_404_and_asked_for_once(servers: dict[str, UpstreamServer], client: RegistryClient) -> None:
    upstream = upstream_of(servers, "up.test")
    upstream.content.add("library/absent", make_image(1911), "v1")

    answers = [manifest(client, "up.test/library/absent", "v2") for _ in range(WORKERS * 8)]

    assert {answer.status for answer in answers} == {404}
    assert upstream.count("manifest") <= WORKERS * 2


def test_cached_repositories_cannot_be_changed(servers: dict[str, UpstreamServer], client: RegistryClient) -> None:
    upstream = upstream_of(servers, "up.test")
    image = make_image(1912)
    upstream.content.add("library/fixed", image, "v1")
    client.pull("up.test/library/fixed", "v1")
    headers = {"Content-Type": image.manifest.media_type}

    for method, path, body in (
        ("POST", "blobs/uploads/", None),
        ("PUT", "manifests/v1", image.manifest.data),
        ("PUT", f"manifests/{image.digest}", image.manifest.data),
        ("DELETE", "manifests/v1", None),
        ("DELETE", f"manifests/{image.digest}", None),
        ("DELETE", f"blobs/{image.blobs[0].digest}", None),
    ):
        refused = client.request(method, f"/v2/up.test/library/fixed/{path}", body=body, headers=headers).expect(405)
        assert code_of(refused) == "UNSUPPORTED"
    assert image.digest in client.pull("up.test/library/fixed", "v1")
    assert not any(name.startswith("up.test/") for name in client.catalog())


def test_local_repositories_stay_as_they_are(servers: dict[str, UpstreamServer], client: RegistryClient) -> None:
    upstream = upstream_of(servers, "up.test")
    image = make_image(1913)

    client.push("team/app", "v1", image)

    assert image.digest in client.pull("team/app", "v1")
    assert "team/app" in client.catalog()
    assert not upstream.seen


def test_namespace_finds_the_upstream(servers: dict[str, UpstreamServer], client: RegistryClient) -> None:
    """containerd asks a mirror for the name at the upstream, and names the upstream in the query."""
    upstream = upstream_of(servers, "up.test")
    image = make_image(1914)
    upstream.content.add("library/ns", image, "v1")

    found = client.request("GET", "/v2/library/ns/manifests/v1?ns=up.test", headers=ACCEPT).expect(200)
    blob = client.request("GET", f"/v2/library/ns/blobs/{image.blobs[0].digest}?ns=up.test").expect(200)
    unknown = client.request("GET", "/v2/library/ns/manifests/v1?ns=other.test", headers=ACCEPT).expect(404)

    assert found.body == image.manifest.data
    assert found.header("OCI-Namespace") == blob.header("OCI-Namespace") == "up.test"
    assert code_of(unknown) == "NAME_UNKNOWN"


def test_rules_apply_to_cached_content(tmp_path: Path) -> None:
    image = make_image(1915)
    users = write_htpasswd(tmp_path / "htpasswd", alice="a", admin="b")
    rules = [
        {"who": ["anonymous"], "repositories": ["up.test/library/**"], "actions": ["pull"]},
        {"who": ["admin"], "repositories": ["**"], "actions": ["pull", "push", "delete"]},
    ]
    config: dict[str, Any] = {
        "auth": {"htpasswd": {"realm": "r", "path": str(users)}},
        "access": {"rules": rules},
    }
    with UpstreamServer() as upstream:
        for name in ("library/open", "secret/app"):
            upstream.content.add(name, image, "v1")
        proxy = {"upstreams": [upstream_section(upstream, "up.test")]}
        with CacheServer(tmp_path / "server", tmp_path / "storage", proxy=proxy, config=config) as cache:
            client = RegistryClient(cache.host)
            admin, alice = {"Authorization": basic("admin", "b")}, {"Authorization": basic("alice", "a")}
            manifest(client, "up.test/secret/app", "v1", **admin).expect(200)
            asked = len(upstream.seen)

            manifest(client, "up.test/secret/app", "v1", **alice).expect(403)
            manifest(client, "up.test/secret/app", "v1").expect(401)
            client.request("GET", "/v2/secret/app/manifests/v1?ns=up.test", headers={**ACCEPT, **alice}).expect(403)
            blob = f"/v2/up.test/secret/app/blobs/{image.blobs[0].digest}"
            client.request("GET", blob, headers=alice).expect(403)
            assert len(upstream.seen) == asked

            manifest(client, "up.test/library/open", "v1").expect(200)
            client.request("POST", "/v2/up.test/library/open/blobs/uploads/", headers=admin).expect(405)


def test_file_of_distribution_starts_unchanged(tmp_path: Path) -> None:
    image = make_image(1916)
    with UpstreamServer() as upstream:
        upstream.content.add("library/alpine", image, "latest")
        upstream.sign_in.require_bearer(robot="secret")
        upstream.faults.redirects = 2
        config = {
            "proxy": {"remoteurl": upstream.url, "username": "robot", "password": "secret", "ttl": "168h"},
        }
        with RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as cache:
            pulled = RegistryClient(cache.host).pull("library/alpine", "latest")
        # The storage service, to which blobs are redirected, sees no credentials.
        assert {seen.is_signed_in for seen in upstream.requests("storage GET")} == {False}
    assert image.digest in pulled
    assert "secret" not in cache.log()


def test_credential_helper_of_distribution_is_asked(tmp_path: Path) -> None:
    image = make_image(1917)
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\ncat >/dev/null\necho \'{"Username": "robot", "Secret": "secret"}\'\n')
    helper.chmod(0o755)
    with UpstreamServer() as upstream:
        upstream.content.add("library/alpine", image, "latest")
        upstream.sign_in.require_basic(robot="secret")
        config = {"proxy": {"remoteurl": upstream.url, "exec": {"command": str(helper), "lifetime": "1h"}}}
        with RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as cache:
            assert image.digest in RegistryClient(cache.host).pull("library/alpine", "latest")
