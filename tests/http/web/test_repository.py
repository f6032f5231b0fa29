"""The page of a repository."""

import json
import re
from datetime import timedelta

import pytest

from adapters.upstream.memory import InMemoryUpstream
from config.settings import Settings, StorageSettings
from core.model.digest import Digest
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from core.registry.manifest_references import ManifestPolicy
from core.usage.measurement import Measurement, RepositoryUsage, StoreUsage
from core.usage.records import UsageRecords
from entrypoints.web.pull_commands import image_host
from tests.http.web.conftest import Visitor
from tests.http.web.content import push_image, push_index
from tests.support.content import descriptor, image_manifest
from tests.support.core_services import CoreServices

NAME = "team/app"


@pytest.fixture
def services():
    policy = ManifestPolicy(requires_blobs=False, is_immutable=lambda _name, tag: tag.startswith("v"))
    return CoreServices(policy=policy)


def tags_of(page):
    """The tags of the table, in order."""
    return [link.rpartition("/")[2] for link in page.links if "/_tags/" in link]


async def test_tags_with_their_details(visitor):
    index = await push_index(visitor.api, NAME, "latest", "amd64", "arm64")
    page = await visitor.open(NAME)
    assert (page.status, tags_of(page)) == (200, ["latest"])
    assert "1 tag " in page.text
    assert Digest.of(index) in page.html
    assert "linux/amd64 linux/arm64 " in page.text
    assert "unknown" not in page.text
    # The layer that both platforms share counts once.
    assert "2.7 KiB" in page.text
    assert f"/ui/{NAME}/_history/latest" in page.links


async def test_orders_and_filters(visitor):
    for tag in ("v1.2.0", "v1.10.0", "rc"):
        await push_image(visitor.api, NAME, tag, label=tag)
    await push_image(visitor.api, NAME, "arm", architecture="arm64")

    async def shown(query):
        return tags_of(await visitor.open(f"{NAME}?{query}"))

    assert await shown("sort=name") == ["arm", "rc", "v1.10.0", "v1.2.0"]
    assert (await shown("sort=-semver"))[:2] == ["v1.10.0", "v1.2.0"]
    assert sorted(await shown("sort=nothing")) == sorted(await shown(""))
    assert await shown("filter=1.1") == ["v1.10.0"]
    assert await shown("filter=v1.?.0") == ["v1.2.0"]
    assert await shown("platform=linux/arm64") == ["arm"]
    assert await shown("filter=zzz") == []
    assert "No tag matches" in (await visitor.open(f"{NAME}?filter=zzz")).text
    page = await visitor.open(f"{NAME}?platform=linux")
    assert len(tags_of(page)) == 4
    assert "The filter cannot be read" in page.text


async def test_pages_of_a_hundred(visitor):
    tags = [f"t{number:03}" for number in range(150)]
    content = await push_image(visitor.api, NAME)
    for tag in tags:
        await visitor.api.push_manifest(NAME, tag, content, OCI_MANIFEST)
    page = await visitor.open(f"{NAME}?sort=name&done=deleted&done-count=1")
    assert tags_of(page) == tags[:100]
    [following] = [link for link in page.links if "last=" in link]
    assert "done" not in following
    page = await visitor.open(following)
    assert tags_of(page) == tags[100:]
    [previous] = [link for link in page.links if "before=" in link]
    assert tags_of(await visitor.open(previous)) == tags[:100]
    assert len(page.html) < 200_000


async def test_signatures_and_the_tags_of_cosign_are_apart(visitor):
    image = await push_image(visitor.api, NAME, "signed")
    other = await push_image(visitor.api, NAME, "cosigned", label="other")
    await push_image(visitor.api, NAME, "plain", label="plain")
    subject = descriptor(image, OCI_MANIFEST)
    artifact_type = "application/vnd.dev.cosign.artifact.sig.v1+json"
    await push_image(visitor.api, NAME, subject=subject, artifactType=artifact_type)
    attached = f"sha256-{Digest.of(other).encoded}.sig"
    await push_image(visitor.api, NAME, attached, label="sig")
    page = await visitor.open(f"{NAME}?sort=name")
    assert tags_of(page) == ["cosigned", "plain", "signed"]
    assert page.html.count(">signed</span>") == 2
    assert "Images 3" in page.text
    page = await visitor.open(f"{NAME}?show=attached")
    assert tags_of(page) == [attached]


async def test_only_attachments_have_a_text_of_their_own(visitor):
    await push_image(visitor.api, NAME, f"sha256-{'a' * 64}.sig")
    assert "No images" in (await visitor.open(NAME)).text


@pytest.mark.parametrize(("scheme", "has_options"), [("http", True), ("https", False)])
async def test_pull_commands(visitor, scheme, has_options):
    content = await push_image(visitor.api, NAME, "1.0", "latest")
    headers = {"Host": "r.example.com:5000", "X-Forwarded-Proto": scheme}
    page = await visitor.open(f"{NAME}?pull=1.0", headers=headers)
    options = {
        client: f" {option}" if has_options else ""
        for client, option in {
            "podman": "--tls-verify=false",
            "nerdctl": "--insecure-registry",
            "crane": "--insecure",
            "skopeo": "--src-tls-verify=false",
        }.items()
    }
    image = f"r.example.com:5000/{NAME}"
    digest = Digest.of(content)
    for named, file in ((f"{image}:1.0", "app-1.0"), (f"{image}@{digest}", f"app-{digest.encoded[:12]}")):
        for command in (
            f"docker pull {named}",
            f"podman pull{options['podman']} {named}",
            f"nerdctl{options['nerdctl']} pull {named}",
            f"crane pull{options['crane']} {named} {file}.tar",
            f"skopeo copy{options['skopeo']} docker://{named} oci:{file}",
            f"image: {named}",
        ):
            assert f'data-copy="{command}"' in page.html
    assert ("insecure registries" in page.text) is has_options
    assert f"docker pull {image}:latest" in (await visitor.open(NAME, headers=headers)).text
    assert f"docker pull {image}:latest" in (await visitor.open(f"{NAME}?pull=none", headers=headers)).text


@pytest.mark.parametrize(
    ("host", "is_tls", "named"),
    [
        ("registry", False, "registry:80"),
        ("registry", True, "registry:443"),
        ("localhost", False, "localhost"),
        ("r.example.com", True, "r.example.com"),
        ("registry:5000", False, "registry:5000"),
        ("[::1]", False, "[::1]"),
    ],
)
def test_hosts_in_names_of_images(host, is_tls, named):
    assert image_host(host, is_tls=is_tls) == named


async def test_unknown_and_empty_repositories(visitor):
    page = await visitor.open("team/none")
    assert (page.status, "There is no such repository" in page.text) == (404, True)
    assert "docker push" in page.text
    assert "/ui/?in=team%2Fnone" in page.links
    await push_image(visitor.api, NAME)
    page = await visitor.open(NAME)
    assert (page.status, "No tags yet" in page.text) == (200, True)
    assert (await visitor.open("Team")).status == 400


async def test_details_that_are_not_known(visitor):
    """A manifest that cannot be read has no details."""
    services = visitor.api.services
    lost = Digest.of(b"lost")
    await services.tag_links.point(RepositoryName(NAME), Tag("lost"), lost)
    page = await visitor.open(NAME)
    assert "not known yet" in page.text
    assert "Some details are not known yet" in page.text


async def test_artifacts_show_their_type(visitor):
    content = image_manifest(b"{}", artifactType="application/vnd.example.thing")
    await visitor.api.push_manifest(NAME, "thing", content, OCI_MANIFEST)
    assert "application/vnd.example.thing" in (await visitor.open(NAME)).text


async def test_many_platforms_are_shortened(visitor):
    await push_index(visitor.api, NAME, "latest", "a", "b", "c", "d", "e", "f")
    page = await visitor.open(NAME)
    assert "linux/d" in page.text
    assert "and 2 more" in page.text


async def test_storage_use_of_the_last_measurement(start_with_users, clock):
    visitor = Visitor(await start_with_users())
    services = visitor.api.services
    await services.tag_links.point(RepositoryName("public/app"), Tag("v"), Digest.of(b"x"))
    usage = RepositoryUsage(name=RepositoryName("public/app"), blobs=2, own=1024, shared=3072)
    store = StoreUsage(measured_at=clock[0] - timedelta(days=2), seconds=1)
    await UsageRecords(services.storage).save(Measurement(store=store, repositories=[usage]))
    page = await visitor.open("public/app")
    assert "4.0 KiB stored measured 2 days ago" in page.text
    assert "only here" not in page.text
    await visitor.sign_in("alice", "secret")
    assert "1.0 KiB only here, 3.0 KiB shared with other repositories" in (await visitor.open("public/app")).text


async def test_cached_repositories_are_not_changed(start, services):
    origins = Origins([(UpstreamRules(prefix="docker.io"), InMemoryUpstream("docker.io"))])
    visitor = Visitor(await start(origins=origins))
    name = RepositoryName("docker.io/library/alpine")
    await services.tag_links.point(name, Tag("3"), Digest.of(b"x"))
    page = await visitor.open(name)
    assert "cache of docker.io" in page.text
    assert not re.search("Delete (selected|the rep)", page.text)
    assert (await visitor.open(f"{name}/_delete?tag=3")).status == 405
    token = next(value for key, value in page.form("_preferences").fields if key == "form_token")
    for target, field in (("_delete", "confirmed"), ("_restore", "entry")):
        answer = await visitor.post(f"{name}/{target}", [("form_token", token), (field, f"3@{Digest.of(b'x')}")])
        assert answer.status == 405


async def test_hostile_texts_are_shown_as_texts(visitor):
    evil = "<script>alert(1)</script>"
    content = image_manifest(b"{}", artifactType=evil)
    await visitor.api.push_manifest(NAME, "a", content, OCI_MANIFEST)
    for query in (f"filter={evil}", f"platform={evil}", f"sort={evil}", f"pull={evil}", f"done={evil}", f"show={evil}"):
        page = await visitor.open(f"{NAME}?{query}")
        assert page.status == 200
        assert "<script>alert" not in page.html
    assert evil in (await visitor.open(NAME)).text
    config = json.dumps({"os": evil, "architecture": evil}).encode()
    await visitor.api.push_blob(NAME, config)
    await visitor.api.push_manifest(NAME, "b", image_manifest(config), OCI_MANIFEST)
    page = await visitor.open(NAME)
    assert f"{evil}/{evil}" in page.text
    assert "<script>alert" not in page.html


async def test_visitor_without_rights_sees_no_buttons(start_with_users):
    visitor = Visitor(await start_with_users())
    await visitor.sign_in("alice", "secret")
    services = visitor.api.services
    await services.tag_links.point(RepositoryName("public/app"), Tag("v"), Digest.of(b"x"))
    await services.tag_links.point(RepositoryName(NAME), Tag("t"), Digest.of(b"x"))
    assert (await visitor.open(NAME)).form(f"{NAME}/_delete").boxes == [("tag", "t")]
    assert "Delete the repository" in (await visitor.open(NAME)).text
    await visitor.sign_in("bob", "b")
    page = await visitor.open(NAME)
    assert not re.search("Delete (selected|the rep)", page.text)
    assert page.form(f"{NAME}/_delete").boxes == []
    anonymous = Visitor(visitor.api)
    assert (await anonymous.open("public/app")).status == 200
    for name in (NAME, "team/none"):
        assert "Sign in" in (await anonymous.open(name)).text


async def test_immutable_tags_have_no_box(visitor):
    await push_image(visitor.api, NAME, "v1", "latest")
    page = await visitor.open(NAME)
    assert page.form(f"{NAME}/_delete").boxes == [("tag", "latest")]
    assert "immutable" in page.text


async def test_deletion_that_is_disabled_is_not_offered(start):
    visitor = Visitor(await start(Settings(storage=StorageSettings(delete_enabled=False))))
    await push_image(visitor.api, NAME, "a")
    assert not re.search("Delete (selected|the rep)", (await visitor.open(NAME)).text)


async def test_own_size_of_each_image(visitor):
    await push_image(visitor.api, NAME, "a", label="a")
    await push_image(visitor.api, NAME, "b", label="b")
    await visitor.open(NAME)
    page = await visitor.open(NAME)
    assert page.text.count(" own ") == 2
