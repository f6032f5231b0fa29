"""Names of cached repositories: `?ns=`, prefixes and short names, before anything is authorized or looked up."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from typing_extensions import override

from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.login_tokens import LoginTokenAuthenticator
from adapters.upstream.memory import InMemoryUpstream
from config.settings import AuditSettings, ProxySettings, Settings, UnknownHosts
from core.model import media_types
from core.model.access import AccessPolicy, Rule, RuleAction
from core.model.digest import Digest
from core.model.events import EventAction, Occurrence, Origin
from core.model.names import RepositoryName, Tag
from core.ports.audit_log import AuditEvent, AuditLog
from core.ports.event_sink import EventSink
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from tests.http.conftest import SECRET, error_codes
from tests.support.content import descriptor, image_manifest
from tests.support.core_services import CoreServices
from tests.support.htpasswd import basic, write_htpasswd

ALPINE = RepositoryName("docker.io/library/alpine")
SECRETS = RepositoryName("quay.io/secret/app")
LOCAL = RepositoryName("team/app")
MANIFEST = image_manifest()
DIGEST = Digest.of(MANIFEST)
CONFIG = Digest.of(b"{}")
BOB = {"Authorization": basic("bob", "b")}
UNKNOWN = [
    "ghcr.io",
    "127.0.0.1",
    "127.0.0.1:5000",
    "169.254.169.254",
    "[::1]:5000",
    "docker.io:443",
    "docker.io.",
    ".docker.io",
    "docker.io/library",
    "http://docker.io",
    "user@docker.io",
    "docker.io@evil.example",
    "docker.io\r\nSet-Cookie: a=b",
    "docker.io\r\n",
    "docker.io\0",
    "docker.io ",
    "dоcker.io",  # noqa: RUF001 - a Cyrillic letter
    "../quay.io",
    "a" * 255,
    "docker.io" + "o" * 300,
]


def upstreams() -> Origins:
    hub = UpstreamRules(prefix="docker.io", hosts=("registry-1.docker.io",), default_namespace="library")
    quay = UpstreamRules(prefix="quay.io", hosts=("quay.io:8443",))
    return Origins([(rules, InMemoryUpstream(rules.prefix)) for rules in (hub, quay)])


class ListSink(EventSink):
    """Keeps the events of pulls."""

    wants_references = False

    def __init__(self) -> None:
        self.pulls: list[Occurrence] = []

    @override
    def wants(self, action: EventAction, media_type: str = "") -> bool:
        return action is EventAction.PULL

    @override
    async def emit(self, occurrences: Sequence[Occurrence], origin: Origin) -> None:
        self.pulls += occurrences


@pytest.fixture
def services() -> CoreServices:
    return CoreServices(events=ListSink())


@pytest.fixture
async def stored(services):
    """Images in two cached repositories and in a local one."""
    for name in (ALPINE, SECRETS, LOCAL):
        await services.push_blob(name, b"{}")
        await services.manifests.put(name, MANIFEST, media_types.OCI_MANIFEST, tags=[Tag("v1"), Tag("v2")])


@pytest.fixture
async def cache(start, stored):
    return await start(origins=upstreams())


async def answer(api: Any, path: str, method: str = "GET", **options: Any) -> tuple[int, str | None, bytes]:
    async with api.request(method, path, **options) as response:
        return response.status, response.headers.get("OCI-Namespace"), await response.read()


@pytest.mark.parametrize("host", ["docker.io", "registry-1.docker.io", "Docker.IO"])
@pytest.mark.parametrize("name", ["alpine", "library/alpine"])
@pytest.mark.parametrize("end", ["manifests/v1", f"manifests/{DIGEST}", f"blobs/{CONFIG}", "tags/list"])
async def test_namespace_leads_to_the_cached_repository(cache, host, name, end):
    status, namespace, body = await answer(cache, f"/v2/{name}/{end}?ns={host}")
    assert (status, namespace) == (200, host)
    assert body == (await answer(cache, f"/v2/{ALPINE}/{end}"))[2]


@pytest.mark.parametrize("end", ["manifests/v1", f"blobs/{CONFIG}"])
async def test_head_and_304_carry_the_namespace(cache, end):
    path = f"/v2/alpine/{end}?ns=docker.io"
    assert await answer(cache, path, "HEAD") == (200, "docker.io", b"")
    assert await answer(cache, path, headers={"If-None-Match": "*"}) == (304, "docker.io", b"")


async def test_error_within_a_namespace_carries_it(cache):
    async with cache.request("GET", "/v2/alpine/manifests/v9?ns=docker.io") as response:
        assert (response.status, response.headers["OCI-Namespace"]) == (404, "docker.io")
        assert await error_codes(response) == ["MANIFEST_UNKNOWN"]


async def test_referrers_are_those_of_the_cached_repository(cache, services):
    signature = image_manifest(subject=descriptor(MANIFEST, media_types.OCI_MANIFEST))
    await services.manifests.put(ALPINE, signature, media_types.OCI_MANIFEST, digest=Digest.of(signature))
    status, namespace, body = await answer(cache, f"/v2/alpine/referrers/{DIGEST}?ns=docker.io")
    assert (status, namespace) == (200, "docker.io")
    assert [each["digest"] for each in json.loads(body)["manifests"]] == [Digest.of(signature)]


async def test_short_name_means_the_default_namespace(cache):
    assert await answer(cache, "/v2/docker.io/alpine/manifests/v1") == (200, None, MANIFEST)


async def test_next_page_of_tags_keeps_the_namespace(cache):
    async with cache.request("GET", "/v2/alpine/tags/list?n=1&ns=docker.io") as response:
        link = response.headers["Link"]
    assert link == '</v2/alpine/tags/list?last=v1&n=1&ns=docker.io>; rel="next"'
    status, _, body = await answer(cache, link.removeprefix("<").removesuffix('>; rel="next"'))
    assert (status, json.loads(body)["tags"]) == (200, ["v2"])


@pytest.mark.parametrize("host", UNKNOWN)
@pytest.mark.parametrize("end", ["manifests/v1", f"blobs/{CONFIG}", "tags/list", f"referrers/{DIGEST}"])
async def test_unknown_namespace_is_404(cache, host, end):
    async with cache.request("GET", f"/v2/team/app/{end}?ns={quote(host, safe='')}") as response:
        assert (response.status, response.headers.get("OCI-Namespace")) == (404, None)
        assert await error_codes(response) == ["NAME_UNKNOWN"]
        assert "Set-Cookie" not in response.headers


async def test_unknown_namespace_can_mean_a_local_name(start, stored):
    settings = replace(Settings(), proxy=ProxySettings(unknown=UnknownHosts.LOCAL))
    api = await start(settings, origins=upstreams())
    assert await answer(api, "/v2/team/app/manifests/v1?ns=ghcr.io") == (200, None, MANIFEST)
    assert await answer(api, "/v2/docker.io/alpine/manifests/v1?ns=ghcr.io") == (200, None, MANIFEST)
    assert await answer(api, "/v2/alpine/manifests/v1?ns=docker.io") == (200, "docker.io", MANIFEST)
    assert (await answer(api, "/v2/alpine/manifests/v1?ns=ghcr.io"))[0] == 404


@pytest.mark.parametrize(
    ("query", "status", "namespace"),
    [
        ("ns=docker.io&ns=docker.io", 200, "docker.io"),
        ("ns=docker.io&ns=quay.io", 404, None),
        ("ns=quay.io&ns=docker.io", 404, None),
        ("ns=docker.io&ns=", 404, None),
        ("NS=docker.io", 404, None),
        ("ns=", 404, None),
        ("ns=docker%2Eio", 200, "docker.io"),
    ],
)
async def test_namespace_must_be_unambiguous(cache, query, status, namespace):
    assert (await answer(cache, f"/v2/alpine/manifests/v1?{query}"))[:2] == (status, namespace)


@pytest.mark.parametrize("host", ["quay.io", "docker.io", "ghcr.io", "127.0.0.1"])
@pytest.mark.parametrize("name", ["docker.io/library/alpine", "docker.io/alpine", "docker.io%2Flibrary%2Falpine"])
async def test_prefix_in_the_name_wins(cache, host, name):
    assert await answer(cache, f"/v2/{name}/manifests/v1?ns={host}") == (200, None, MANIFEST)


async def test_encoded_slash_is_a_part_of_the_name(cache):
    assert (await answer(cache, "/v2/library%2Falpine/manifests/v1?ns=docker.io"))[:2] == (200, "docker.io")


@pytest.mark.parametrize("name", ["..%2Fsecret/app", "..%2F..%2Fquay.io/secret/app", "Alpine", "a" * 250])
async def test_name_is_validated_with_its_prefix(cache, name):
    status, _, body = await answer(cache, f"/v2/{name}/manifests/v1?ns=docker.io")
    assert (status, json.loads(body)["errors"][0]["code"]) == (400, "NAME_INVALID")


async def test_writes_ignore_the_namespace(cache):
    query = f"digest={Digest.of(b'x')}&ns=docker.io"
    assert (await answer(cache, f"/v2/team/other/blobs/uploads/?{query}", "POST", data=b"x"))[:2] == (201, None)
    headers = {"Content-Type": media_types.OCI_MANIFEST}
    put = await answer(cache, "/v2/team/app/manifests/v3?ns=ghcr.io", "PUT", data=MANIFEST, headers=headers)
    assert put[:2] == (201, None)
    assert (await answer(cache, "/v2/team/app/manifests/v3?ns=docker.io", "DELETE"))[:2] == (202, None)
    assert (await answer(cache, "/v2/alpine/manifests/v1?ns=docker.io"))[0] == 200


async def test_namespace_is_ignored_without_upstreams(start, stored):
    api = await start()
    assert await answer(api, "/v2/team/app/manifests/v1?ns=docker.io") == (200, None, MANIFEST)
    assert (await answer(api, "/v2/docker.io/alpine/manifests/v1"))[0] == 404


CHANGES = [
    ("POST", "blobs/uploads/"),
    ("POST", f"blobs/uploads/?digest={DIGEST}"),
    ("POST", f"blobs/uploads/?mount={CONFIG}&from=team/app"),
    ("PATCH", "blobs/uploads/an-id"),
    ("PUT", f"blobs/uploads/an-id?digest={DIGEST}"),
    ("DELETE", "blobs/uploads/an-id"),
    ("DELETE", f"blobs/{CONFIG}"),
    ("PUT", "manifests/v1"),
    ("PUT", f"manifests/{DIGEST}?tag=v3"),
    ("DELETE", "manifests/v1"),
    ("DELETE", f"manifests/{DIGEST}"),
    ("DELETE", "_sohu/registry/repository"),
]


@pytest.mark.parametrize("name", ["docker.io/library/alpine", "docker.io/alpine", "quay.io/new"])
@pytest.mark.parametrize(("method", "end"), CHANGES)
async def test_nobody_changes_a_cached_repository(cache, services, name, method, end):
    before = await services.keys()
    async with cache.request(method, f"/v2/{name}/{end}", data=b"x" * 1000) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
        assert await error_codes(response) == ["UNSUPPORTED"]
        assert name.partition("/")[0] in await response.text()
    assert await services.keys() == before


async def test_refusal_does_not_wait_for_the_body(cache):
    port = int(cache.root.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PUT /v2/quay.io/a/manifests/v1 HTTP/1.1\r\nHost: r\r\nContent-Length: 1000\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 405")
    writer.close()


async def test_upload_session_in_a_cached_repository_is_unknown(cache):
    status, _, body = await answer(cache, "/v2/docker.io/alpine/blobs/uploads/an-id")
    assert (status, json.loads(body)["errors"][0]["code"]) == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_all_names_are_cached_with_an_empty_prefix(start, stored):
    api = await start(origins=Origins([(UpstreamRules(), InMemoryUpstream("the upstream"))]))
    assert (await answer(api, "/v2/team/app/blobs/uploads/", "POST"))[0] == 405
    assert (await answer(api, "/v2/team/app/manifests/v1"))[0] == 200
    assert (await answer(api, "/v2/team/app/manifests/v1?ns=ghcr.io"))[0] == 404


async def test_pulls_are_published_under_the_local_name(cache, services):
    for path in ("alpine/manifests/v1?ns=docker.io", f"docker.io/alpine/blobs/{CONFIG}"):
        assert (await answer(cache, f"/v2/{path}"))[0] == 200
    assert [(event.repository, event.digest) for event in services.events.pulls] == [(ALPINE, DIGEST), (ALPINE, CONFIG)]


async def test_connections_of_production_take_the_namespace(guarded, stored):
    """With and without `http.fastpath`."""
    server = await guarded(origins=upstreams())
    request = b"GET /v2/alpine/manifests/v1?ns=docker.io HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n"
    head, _, body = (await server.exchange(request)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"OCI-Namespace: docker.io" in head
    assert body == MANIFEST


class ListAuditLog(AuditLog):
    """Keeps the events."""

    name = "list"

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    @override
    async def record(self, event: AuditEvent) -> None:
        self.events.append(event)

    @override
    def check(self) -> None:
        return


@pytest.fixture
def audit() -> ListAuditLog:
    return ListAuditLog()


@pytest.fixture
async def guarded_cache(start, stored, tmp_path, audit):
    """A cache in which `bob` may pull all but the secret repositories."""
    users = write_htpasswd(tmp_path / "htpasswd", bob="b")
    inner = HtpasswdAuthenticator(realm="r", path=str(users), clock=lambda: 0.0)
    rules = tuple(
        Rule(who=("bob",), repositories=repositories, actions=actions)
        for repositories, actions in (
            (("docker.io/**", "team/**"), (RuleAction.PULL, RuleAction.PUSH)),
            (("quay.io/open/**", "secret/**"), (RuleAction.PULL,)),
        )
    )
    return await start(
        replace(Settings(), audit=AuditSettings(stdout=True, pulls=True)),
        authenticator=LoginTokenAuthenticator(inner, accounts=inner, secret=SECRET, now=lambda: datetime.now(UTC)),
        policy=AccessPolicy(rules=rules),
        audit_log=audit,
        origins=upstreams(),
    )


@pytest.mark.parametrize("end", ["manifests/v1", f"manifests/{DIGEST}", f"blobs/{CONFIG}", "tags/list"])
@pytest.mark.parametrize(
    "name",
    ["quay.io/secret/app/{}", "secret/app/{}?ns=quay.io", "secret/app/{}?ns=QUAY.io", "secret%2Fapp/{}?ns=quay.io"],
)
async def test_rules_apply_to_the_local_name(guarded_cache, name, end):
    path = f"/v2/{name.format(end)}"
    async with guarded_cache.request("GET", path, headers=BOB) as response:
        assert response.status == 403
        assert await error_codes(response) == ["DENIED"]
    async with guarded_cache.request("GET", path) as response:
        assert response.status == 401
        assert 'scope="repository:quay.io/secret/app:pull"' in response.headers["WWW-Authenticate"]


async def test_rule_for_the_local_name_allows_the_pull(guarded_cache):
    for path in ("/v2/alpine/manifests/v1?ns=docker.io", "/v2/docker.io/alpine/manifests/v1"):
        assert (await answer(guarded_cache, path, headers=BOB))[0] == 200


async def test_audit_log_has_the_local_name(guarded_cache, audit):
    for path in (
        "alpine/manifests/v1?ns=docker.io",
        "docker.io/alpine/manifests/v1",
        "secret/app/tags/list?ns=quay.io",
    ):
        await answer(guarded_cache, f"/v2/{path}", headers=BOB)
    assert [event.repository for event in audit.events] == [ALPINE, ALPINE, SECRETS]


@pytest.mark.parametrize(("method", "end"), CHANGES)
async def test_rights_are_checked_before_changes_are_refused(guarded_cache, method, end):
    for headers, name, expected in (
        (None, ALPINE, 401),
        (BOB, SECRETS, 403),
        (BOB, ALPINE, 403 if method == "DELETE" else 405),
    ):
        async with guarded_cache.request(method, f"/v2/{name}/{end}", headers=headers) as response:
            assert response.status == expected


async def test_mount_from_a_cached_repository_needs_the_right_to_pull(guarded_cache):
    for source, expected in ((SECRETS, 403), ("quay.io/open/app", 202), ("docker.io/alpine", 202), (ALPINE, 201)):
        path = f"/v2/team/other/blobs/uploads/?mount={CONFIG}&from={source}"
        assert (await answer(guarded_cache, path, "POST", headers=BOB))[0] == expected, source


async def test_mount_without_a_source_does_not_reveal_cached_content(guarded_cache, services):
    hidden = await services.push_blob(SECRETS, b"hidden")
    for query in (f"mount={hidden}", f"mount={hidden}&from="):
        path = f"/v2/team/other/blobs/uploads/?{query}"
        assert (await answer(guarded_cache, path, "POST", headers=BOB))[0] == 202
    assert (await answer(guarded_cache, f"/v2/team/other/blobs/{hidden}", headers=BOB))[0] == 404
